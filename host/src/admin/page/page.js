// The page of the admin door: asks the same operations as the command line.
//
// The token comes from the form or behind `#token=` and stays in this tab. Everything
// that comes from the host is put in as text, never as HTML.

import { SCHEMA, complete } from "./completion.js";
import { history as historyOf } from "./history.js";

const $ = (id) => document.getElementById(id);
const PAGES = ["overview", "objects", "sql", "versions", "log"];
const POINTS = 120;
const EVERY_MS = 2000;

let token = sessionStorage.getItem("token") ?? "";
let app = "";
let apps = [];
let timer = 0;
let following;

class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail ?? problem.title ?? `the host answered ${status}`);
    this.status = status;
  }
}

/** Integers past 2^53 stay exact: they become BigInt. */
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context
      ? BigInt(context.source) : value);
}

async function send(path, options = {}) {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) {
    const text = await response.text();
    let problem = {};
    try { problem = JSON.parse(text); } catch { /* not from the host */ }
    throw new Refused(problem, response.status);
  }
  return response;
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  return parse(await (await send(path, options)).text());
}

const inApp = (rest) => `/v1/apps/${encodeURIComponent(app)}${rest}`;

function objectPath(text) {
  const at = text.indexOf("/");
  if (at < 1 || at === text.length - 1) throw new Error("write the object as Class/name");
  const parts = [text.slice(0, at), text.slice(at + 1)];
  return inApp(`/objects/${parts.map(encodeURIComponent).join("/")}`);
}

function say(error) {
  const problem = $("problem");
  problem.hidden = !error;
  problem.textContent = error ? error.message : "";
  if (error instanceof Refused && error.status === 401) leave();
}

/** Runs something and shows what went wrong. */
async function attempt(work) {
  try { await work(); say(); } catch (error) { if (error.name !== "AbortError") say(error); }
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function row(cells) {
  const made = document.createElement("tr");
  for (const cell of cells) made.append(cell instanceof Node ? cell : element("td", cell));
  return made;
}

const cell = (child) => { const td = document.createElement("td"); td.append(child); return td; };
const number = (text) => element("td", text, { class: "number" });
const time = (ms) => ms === null || ms === undefined ? "–" : new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z/, "Z");

function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let size = count;
  while (size >= 1024 && unit < 4) { size /= 1024; unit += 1; }
  return unit ? `${size.toFixed(1)} ${units[unit]}` : `${count} bytes`;
}

// --- entering ---------------------------------------------------------------

async function enter() {
  apps = await ask("/v1/apps");
  if (!apps.length) throw new Error("this token may see no app");
  app = apps.some((one) => one.name === app) ? app : (apps.find((one) => one.main) ?? apps[0]).name;
  $("app").replaceChildren(...apps.map((one) => element("option", one.name)));
  $("app").value = app;
  $("app-choice").hidden = apps.length < 2;
  sessionStorage.setItem("token", token);
  $("enter").hidden = true;
  $("leave").hidden = false;
  fillClasses();
  show();
}

function leave() {
  token = "";
  sessionStorage.removeItem("token");
  stop();
  for (const page of PAGES) $(page).hidden = true;
  $("enter").hidden = false;
  $("leave").hidden = true;
  $("token").focus();
}

function fillClasses() {
  const classes = apps.find((one) => one.name === app).classes;
  const all = element("option", "all", { value: "" });
  $("class").replaceChildren(all, ...classes.map((one) => element("option", one.name)));
  const yes = (has) => has ? "yes" : "no";
  $("classes").tBodies[0].replaceChildren(
    ...classes.map((one) => row([one.name, yes(one.alarm), yes(one.websocket)])));
}

function stop() {
  clearInterval(timer);
  following?.abort();
}

function show() {
  if (!token || !app) return;
  stop();
  const wanted = location.hash.slice(1).split("?")[0];
  const page = PAGES.includes(wanted) ? wanted : "overview";
  for (const one of PAGES) $(one).hidden = one !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  say();
  ({ overview, objects, sql: () => $("text").focus(), versions, log })[page]();
}

// --- overview ---------------------------------------------------------------

const series = { rate: [], awake: [], memory: [] };
let before;

function overview() {
  const refresh = () => attempt(refreshOverview);
  refresh();
  timer = setInterval(refresh, EVERY_MS);
}

async function refreshOverview() {
  const [host, list, metrics] = await Promise.all([
    ask("/v1/host"), ask("/v1/apps"), send("/metrics").then((answer) => answer.text()),
  ]);
  const one = list.find((found) => found.name === app) ?? list[0];
  const facts = {
    "App": one.name,
    "Listens on": host.listen ?? "nowhere",
    "Data": host.data,
    "Version of the host": host.version,
    "Up for": `${Math.floor(host.uptime_ms / 1000)} s`,
    "Room for": `${host.awake_limit} objects awake`,
    "Open WebSockets": one.sockets,
    "Objects with alarms": one.objects_with_alarms,
    "Dead letters": one.dead_letters,
  };
  $("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const group = document.createElement("div");
    group.append(element("dt", name), element("dd", value));
    return group;
  }));
  const sum = (name) => metrics.split("\n")
    .filter((line) => line.startsWith(name) && " {".includes(line[name.length]))
    .reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);
  const now = { at: performance.now(), requests: sum("dormouse_http_requests_total") };
  if (before) point("rate", (now.requests - before.requests) / ((now.at - before.at) / 1000), (rate) => rate.toFixed(1));
  before = now;
  point("awake", one.awake, String);
  point("memory", sum("process_resident_memory_bytes"), bytes);
}

function point(name, value, format) {
  const points = series[name];
  points.push(value);
  if (points.length > POINTS) points.shift();
  $(name).textContent = format(value);
  const top = Math.max(...points, 1);
  const place = (one, at) => `${(300 - (points.length - 1 - at) * (300 / (POINTS - 1))).toFixed(1)},${(78 - one / top * 74).toFixed(1)}`;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  $(`chart-${name}`).replaceChildren(line);
}

// --- objects ----------------------------------------------------------------

let next;

function objects() {
  $("list").tBodies[0].replaceChildren();
  next = undefined;
  attempt(page);
}

async function page() {
  const query = new URLSearchParams();
  const wanted = { class: $("class").value, prefix: $("prefix").value, state: $("state").value, after: next };
  for (const [name, value] of Object.entries(wanted)) if (value) query.set(name, value);
  const found = await ask(inApp(`/objects?${query}`));
  const body = $("list").tBodies[0];
  body.append(...found.objects.map((one) => {
    const key = `${one.class}/${one.name ?? `id:${one.id}`}`;
    const open = element("button", key, { type: "button" });
    open.addEventListener("click", () => attempt(() => inspect(key)));
    const state = element("td", one.state, { class: one.state });
    return row([cell(open), state, number(bytes(one.bytes)), time(one.changed_ms), number(one.sockets)]);
  }));
  next = found.next;
  $("more").hidden = !next;
  $("found").textContent = `${body.rows.length} of ${found.total}`;
}

async function inspect(key) {
  const found = await ask(objectPath(key));
  const article = $("object");
  const query = element("button", "SQL", { type: "button" });
  query.addEventListener("click", () => { $("of").value = key; location.hash = "#sql"; });
  const past = element("button", "History", { type: "button" });
  past.addEventListener("click", () => attempt(() => openHistory(key, objectPath(key))));
  const buttons = element("p", undefined, { class: "row" });
  buttons.append(query, past);
  article.replaceChildren(element("h3", key), element("p", `id ${found.id}`), buttons);
  $("history").hidden = true;
  for (const table of found.tables) if (table.sql) article.append(element("pre", table.sql));
  for (const alarm of found.alarms) {
    const dead = alarm.dead ? `; dead letter: ${alarm.dead.error}` : "";
    article.append(element("p", `alarm ${alarm.name || "(default)"} due ${time(alarm.due_ms)}, ${alarm.retries} retries${dead}`));
  }
  for (const socket of found.open_sockets) {
    article.append(element("p", `socket ${socket.id} ${socket.state} [${socket.tags.join(", ")}], ${bytes(socket.buffered_bytes)} waiting`));
  }
  article.hidden = false;
  article.scrollIntoView({ block: "nearest" });
}

// --- SQL --------------------------------------------------------------------

/** What writes is shown first, with its plan, and done when that is confirmed. */
async function run() {
  const path = `${objectPath($("of").value)}/sql`;
  const sql = $("text").value;
  $("rehearsal").hidden = true;
  if ($("unlock").checked) {
    const would = await ask(path, { sql, write: true, dry_run: true });
    if (would.rows_written > 0 || !READS.test(sql)) {
      $("effect").textContent = `This would write ${would.rows_written} rows and index entries, and read ${would.rows_read}.`;
      $("plan").textContent = would.plan?.join("\n") || "no plan: the statement is not one that searches";
      $("commit").onclick = () => attempt(() => perform(path, sql, true));
      $("rehearsal").hidden = false;
      $("commit").focus();
      return;
    }
  }
  await perform(path, sql, false);
}

const READS = /^\s*(select|values|explain|pragma)\b/i;

async function perform(path, sql, write) {
  $("rehearsal").hidden = true;
  const began = performance.now();
  const found = await ask(path, { sql, write });
  const ms = Math.round(performance.now() - began);
  schemas.clear();
  $("rows").tHead.replaceChildren(row(found.columns.map((name) => element("th", name))));
  $("rows").tBodies[0].replaceChildren(...found.rows.map((values) => row(values.map(value))));
  $("answer").textContent = `${found.rows.length} rows${found.more ? ", and there are more" : ""}; ` +
    `${found.rows_read} read, ${found.rows_written} written; ${ms} ms`;
}

/** The tables of the objects that were asked, with their columns. */
const schemas = new Map();

async function schema() {
  const key = $("of").value;
  if (!schemas.has(key)) {
    schemas.set(key, new Map());
    try {
      const found = await ask(`${objectPath(key)}/sql`, { sql: SCHEMA, max_rows: 10000 });
      const tables = new Map();
      for (const [table, column] of found.rows) tables.set(table, [...tables.get(table) ?? [], column]);
      schemas.set(key, tables);
    } catch { /* no such object yet: words of SQL are left */ }
  }
  return schemas.get(key);
}

/** A value in a line of text. */
function text(content) {
  if (content === null) return "NULL";
  if (typeof content === "object") return content.blob === undefined ? content.real : `x'${content.blob}'`;
  return typeof content === "string" ? `'${content}'` : String(content);
}

function value(content) {
  if (content === null) return element("td", "NULL", { class: "null" });
  if (typeof content === "object") return element("td", content.blob === undefined ? content.real : `x'${content.blob}'`, { class: "code" });
  return element("td", String(content), { class: "code" });
}

// --- versions ---------------------------------------------------------------

function versions() {
  attempt(async () => {
    const list = await ask(inApp("/deployments"));
    $("deployments").tBodies[0].replaceChildren(...list.versions.map((one) => {
      const current = one.version === list.current;
      const back = element("button", "Serve this one", { type: "button" });
      back.addEventListener("click", () => {
        if (confirm(`Serve version ${one.version} from now on?`)) {
          attempt(async () => { await ask(inApp("/rollback"), { version: one.version }); versions(); });
        }
      });
      const made = row([one.version, time(one.created_ms), one.component.slice(0, 12), number(bytes(one.bytes)),
        one.by, one.note, current ? "current" : cell(back)]);
      if (current) made.className = "current";
      return made;
    }));
  });
}

// --- log --------------------------------------------------------------------

const MAX_LINES = 1000;
let paused = false;

function log() {
  $("records").replaceChildren();
  following?.abort();
  following = new AbortController();
  attempt(() => follow(following.signal));
}

async function follow(signal) {
  const query = new URLSearchParams({ follow: "true", tail: "200", level: $("level").value });
  if ($("log-object").value) query.set("object", $("log-object").value);
  if ($("log-text").value) query.set("text", $("log-text").value);
  const response = await send(inApp(`/logs?${query}`), { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value: part } = await reader.read();
    if (done) throw new Error("the host has ended the log; load the page again");
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) if (!paused) record(JSON.parse(line));
  }
}

function record(one) {
  const list = $("records");
  const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 20;
  const line = element("li", undefined, { class: one.level });
  const source = one.object === undefined ? one.target : `${one.class}/${one.object}`;
  const fields = Object.entries(one.fields ?? {}).map(([name, text]) => `  ${name}=${text}`).join("");
  line.append(element("time", time(one.time_ms)), ` ${one.level.toUpperCase().padStart(5)} ${source}: ${one.message}${fields}`);
  list.append(line);
  while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

// --- wiring -----------------------------------------------------------------

function on(id, kind, act) {
  $(id).addEventListener(kind, (event) => { if (kind === "submit") event.preventDefault(); act(event); });
}

on("enter", "submit", () => { token = $("token").value.trim(); $("token").value = ""; attempt(enter); });
on("leave", "click", leave);
on("app", "change", () => { app = $("app").value; fillClasses(); show(); });
on("search", "submit", objects);
on("more", "click", () => attempt(page));
on("query", "submit", () => attempt(run));
on("text", "keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) attempt(run); });
on("filter", "submit", log);
on("pause", "click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
});
addEventListener("hashchange", show);

on("cancel", "click", () => { $("rehearsal").hidden = true; $("text").focus(); });
complete($("text"), $("complete"), schema);
const openHistory = historyOf({ $, ask, attempt, element, row, time, bytes, text });

const given = location.hash.match(/^#token=(\S+)$/);
if (given) {
  token = given[1];
  history.replaceState(null, "", "#overview");
}
if (token) attempt(enter);
else leave();
