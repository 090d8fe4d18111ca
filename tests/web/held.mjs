// A host that `dormouse dev --test` has started, in the hands of a test: the clock, crashes,
// what objects keep, and what the outside answers. Needs nothing but Node; copy it.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export class HeldHost {
  /** `data` is the host's data folder: `.dormouse/test` in that of the app. */
  static async open(data) {
    const held = new HeldHost(data);
    await held.#find();
    const [app] = await held.#call("GET", "/v1/apps");
    held.#app = `/v1/apps/${app.name}`;
    const { listen } = await held.#call("GET", "/v1/host");
    held.url = `http://${listen}`;
    return held;
  }

  #door;
  #app;
  #data;
  /** Where the app answers. */
  url;

  constructor(data) {
    this.#data = data;
  }

  /** The admin door says in the data folder where it is. */
  async #find() {
    const file = join(this.#data, "admin", "local.json");
    this.#door = JSON.parse(await readFile(file, "utf8"));
  }

  /** A request at the public door. */
  fetch(path, init) {
    return fetch(this.url + path, init);
  }

  /** `{now_ms, next_alarm_ms, starts}`. */
  state() {
    return this.#call("GET", `${this.#app}/test`);
  }

  /** Moves the clock; what is due on the way happens at its own time. */
  advance(ms) {
    return this.#call("POST", `${this.#app}/test/advance`, { ms });
  }

  /** Moves the clock to the next alarm and lets it run; its time, or nothing. */
  async runNextAlarm() {
    const { ran_ms } = await this.#call("POST", `${this.#app}/test/next-alarm`);
    return ran_ms ?? undefined;
  }

  /** Puts one object to sleep, or all of them. */
  evict(cls, object) {
    return this.#call("POST", `${this.#app}/test/evict`, { class: cls, object });
  }

  /** Ends an object's instance, whatever it does. */
  reset(cls, object) {
    return this.#call("POST", `${this.#app}/test/reset`, { class: cls, object });
  }

  /** As `kill -9`, and a new start on the same disk; comes back once it is up. */
  async crash() {
    const { starts } = await this.#call("POST", `${this.#app}/test/crash`);
    for (let tries = 0; tries < 600; tries++) {
      try {
        await this.#find();
        if ((await this.state()).starts > starts) return;
      } catch {
        // Down, or not yet up again.
      }
      await sleep(50);
    }
    throw new Error("the host did not come back");
  }

  /** Rows of an object's database. */
  async sql(cls, object, sql, ...params) {
    const path = `${this.#app}/objects/${cls}/${encodeURIComponent(object)}/sql`;
    return (await this.#call("POST", path, { sql, params })).rows;
  }

  /** An object's key-value pairs. */
  kv(cls, object) {
    return this.#call("GET", `${this.#app}/objects/${cls}/${encodeURIComponent(object)}/kv`);
  }

  /** What one object logged. */
  async logs(cls, object) {
    const query = new URLSearchParams({ class: cls, object });
    return this.#call("GET", `${this.#app}/logs?${query}`);
  }

  /** Answers requests to the outside by a route with these replies; the last one stays. */
  script(route, ...replies) {
    return this.#call("POST", `${this.#app}/test/outgoing`, { route, replies });
  }

  /** Forgets all routes and requests. */
  forget() {
    return this.#call("DELETE", `${this.#app}/test/outgoing`);
  }

  /** Every request to the outside so far. */
  sent() {
    return this.#call("GET", `${this.#app}/test/outgoing`);
  }

  async #call(method, path, body) {
    const response = await fetch(this.#door.url + path, {
      method,
      headers: { authorization: `Bearer ${this.#door.token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    const lines = response.headers.get("content-type")?.includes("ndjson");
    if (!lines) return JSON.parse(text);
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }
}
