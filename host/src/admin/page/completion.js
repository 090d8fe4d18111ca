// Completion for the SQL field: words of SQL, and the tables and columns of the object.
//
// Opens while a word is typed, or by Ctrl + Space; arrows choose, Tab or Enter takes,
// Escape closes. Columns of tables that the statement names come first.

const WORDS = ("SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET JOIN LEFT INNER ON AS AND OR NOT IN IS NULL " +
  "LIKE BETWEEN EXISTS DISTINCT UNION ALL CASE WHEN THEN ELSE END COUNT SUM MIN MAX AVG COALESCE INSERT INTO VALUES " +
  "UPDATE SET DELETE RETURNING CREATE TABLE INDEX DROP ALTER PRIMARY KEY INTEGER TEXT REAL BLOB WITH RECURSIVE " +
  "EXPLAIN QUERY PLAN").split(" ");
const MOST = 8;
export const SCHEMA = `SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c
  WHERE m.type IN ('table', 'view') AND m.name NOT LIKE '\\_dormouse\\_%' ESCAPE '\\'`;

/** What fits behind the word that ends at the caret, best first. `schema`: table → columns. */
export function candidates(text, caret, schema) {
  const word = text.slice(0, caret).match(/(?:([A-Za-z_]\w*)\.)?([A-Za-z_]\w*)?$/);
  const [, table, typed = ""] = word;
  const begins = (name) => name.toLowerCase().startsWith(typed.toLowerCase()) && name !== typed;
  const columns = (name) => schema.get(name) ?? [];
  if (table !== undefined) return { typed, found: columns(table).filter(begins).slice(0, MOST) };
  const named = [...schema.keys()].filter((name) => new RegExp(`\\b${name.replace(/\W/g, "\\$&")}\\b`, "i").test(text));
  const others = [...schema.keys()].filter((name) => !named.includes(name));
  const all = [...named.flatMap(columns), ...schema.keys(), ...others.flatMap(columns), ...WORDS];
  return { typed, found: [...new Set(all)].filter(begins).slice(0, MOST) };
}

/** `schema()` answers with the map of the object that is asked. */
export function complete(field, list, schema) {
  let at = 0;

  function close() {
    list.hidden = true;
    list.replaceChildren();
    field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-expanded", "false");
  }

  function choose(next) {
    const items = [...list.children];
    at = (next + items.length) % items.length;
    items.forEach((item, nth) => item.setAttribute("aria-selected", nth === at));
    field.setAttribute("aria-activedescendant", items[at].id);
  }

  function take() {
    const { typed } = candidates(field.value, field.selectionStart, new Map());
    const end = field.selectionStart;
    field.setRangeText(list.children[at].textContent, end - typed.length, end, "end");
    close();
  }

  async function open(always) {
    const known = await schema();
    const { typed, found } = candidates(field.value, field.selectionStart, known);
    if (!found.length || (!always && !typed) || document.activeElement !== field) return close();
    list.replaceChildren(...found.map((name, nth) => {
      const item = document.createElement("li");
      item.textContent = name;
      item.id = `complete-${nth}`;
      item.setAttribute("role", "option");
      // The field keeps the focus.
      item.addEventListener("mousedown", (event) => { event.preventDefault(); at = nth; take(); });
      return item;
    }));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    choose(0);
  }

  field.addEventListener("input", () => open(false));
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); open(true); return; }
    if (list.hidden || event.ctrlKey || event.metaKey) return;
    const acts = {
      ArrowDown: () => choose(at + 1), ArrowUp: () => choose(at - 1), Tab: take, Enter: take, Escape: close,
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
}
