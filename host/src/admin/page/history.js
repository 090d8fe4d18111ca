// An object's past: a moment is picked on a slider, what has changed since is shown, and
// the object is brought back to it once that is unlocked.

const COMMITS = 1000;
const CHANGES = 200;
const SIGNS = { added: "+", removed: "−", updated: "~", schema: "schema" };

/** `page` is what the page can do: `$`, `ask`, `attempt`, `element`, `row`, `value`, `bytes`, `time`. */
export function history(page) {
  const { $, ask, attempt, element, row, time, bytes } = page;
  let object = "";
  let path = "";
  let commits = [];
  let shown = 0;

  async function open(key, at) {
    [object, path] = [key, at];
    $("undo").hidden = true;
    $("restored").textContent = "";
    await load();
    $("history").hidden = false;
    $("history").scrollIntoView({ block: "nearest" });
    $("moment").focus();
  }

  async function load() {
    const found = await ask(`${path}/history?limit=${COMMITS}`);
    commits = found.commits.reverse();
    const last = Math.max(commits.length - 1, 0);
    Object.assign($("moment"), { max: last, value: last, disabled: !commits.length });
    $("history-of").textContent = `History of ${object}`;
    $("older").hidden = !found.next;
    lock();
    point();
    await differences();
  }

  const chosen = () => commits[Number($("moment").value)];

  /** Says where the slider stands. */
  function point() {
    const one = chosen();
    const text = one
      ? `${time(one.time_ms)}, ${bytes(one.bytes)}, ${one.pages} pages changed${one.restored ? ", a restore" : ""}`
      : "no commit is kept";
    $("when").textContent = text;
    $("moment").setAttribute("aria-valuetext", text);
    $("restore").disabled = !one || !$("unlock-restore").checked;
  }

  function lock() {
    $("unlock-restore").checked = false;
    $("restore").disabled = true;
  }

  async function differences() {
    const one = chosen();
    const turn = ++shown;
    if (!one) return;
    $("history").setAttribute("aria-busy", "true");
    const query = new URLSearchParams({ from: one.bookmark, limit: CHANGES });
    const found = await ask(`${path}/diff?${query}`);
    // The slider has moved on.
    if (turn !== shown) return;
    $("history").setAttribute("aria-busy", "false");
    const more = found.more ? `more than ${found.changes.length} rows` : `${found.changes.length} rows`;
    $("differs").textContent = found.changes.length ? `Since then ${more} have changed:` : "Nothing has changed since then.";
    $("changes").tBodies[0].replaceChildren(...found.changes.map(change));
  }

  function change(one) {
    const cells = (values) => values
      ? one.columns.map((name, at) => `${name} = ${page.text(values[at])}`).join(", ")
      : "–";
    const made = row([SIGNS[one.changed], one.table, cells(one.before), cells(one.after)]);
    made.className = one.changed;
    return made;
  }

  async function bring(to, what) {
    const done = await ask(`${path}/restore`, { to });
    const again = element("button", "Undo", { type: "button", id: "undo" });
    again.addEventListener("click", () => attempt(() => bring(done.undo, "Undone")));
    $("undo").replaceWith(again);
    await load();
    $("restored").textContent = `${what}: ${object} is what it was at bookmark ${done.bookmark}.`;
  }

  $("moment").addEventListener("input", () => { point(); attempt(differences); });
  $("unlock-restore").addEventListener("change", point);
  $("restore").addEventListener("click", () => {
    const one = chosen();
    attempt(() => bring(one.bookmark, `Restored to ${time(one.time_ms)}`));
  });
  return open;
}
