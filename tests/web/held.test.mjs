// Tests of guests/reminder and guests/front by `node --test`, each on a host of its own that
// `dormouse dev --test` holds still. REMINDER and FRONT name their data folders.

import { deepEqual, equal, match } from "node:assert/strict";
import { before, test } from "node:test";
import { HeldHost } from "./held.mjs";

let reminder, front;
before(async () => {
  reminder = await HeldHost.open(process.env.REMINDER);
  front = await HeldHost.open(process.env.FRONT);
});

const HOUR = 60 * 60 * 1000;
const START = Date.UTC(2030, 0, 1);

test("a reminder comes at its time, crash or no crash", async () => {
  equal((await reminder.state()).now_ms, START);
  const body = JSON.stringify({ at: "2030-01-01T09:00:00Z", text: "call Bob" });
  const added = await reminder.fetch("/Reminders/ada/", { method: "POST", body });
  equal(added.status, 201);
  equal((await reminder.state()).next_alarm_ms, START + 9 * HOUR);
  await reminder.crash();
  // What a host knows after its start may be up to 32 s early; the object is right.
  const early = START + 9 * HOUR - (await reminder.state()).next_alarm_ms;
  equal(early >= 0 && early < 32_000, true);
  await reminder.advance(9 * HOUR - 1);
  deepEqual(await reminder.sql("Reminders", "ada", "SELECT text, done FROM reminder"), [
    ["call Bob", 0],
  ]);
  equal(await reminder.runNextAlarm(), START + 9 * HOUR);
  deepEqual(await reminder.sql("Reminders", "ada", "SELECT done FROM reminder WHERE id = ?", 1), [
    [1],
  ]);
  const said = (await reminder.logs("Reminders", "ada")).map((record) => record.message);
  deepEqual(said, ["a reminder is due"]);
  equal(await reminder.runNextAlarm(), undefined);
  deepEqual(await reminder.kv("Reminders", "ada"), {});
});

test("an object sleeps, and is reset, when the test says so", async () => {
  const awake = async () => (await front.state()).awake;
  // How many requests to the outside this instance has begun.
  const begun = async () => (await front.fetch("/Asker/a")).text();
  const begin = () => front.fetch("/Asker/a?url=http://api.example.com/");
  await begin();
  equal(await begun(), "1");
  equal(await awake(), 1);
  await front.evict("Asker", "a");
  equal(await awake(), 0);
  await begin();
  equal(await begun(), "1");
  await front.reset("Asker", "a");
  equal(await begun(), "0");
});

test("the outside answers what the test has written", async () => {
  await front.forget();
  const ask = (path) => front.fetch(`/ask?url=http://api.example.com${path}`);
  await front.script("GET api.example.com/users/*", { json: { name: "Ada" } });
  deepEqual(await (await ask("/users/1")).json(), { name: "Ada" });
  const nobody = await (await ask("/nobody")).json();
  match(nobody.message, /no script answers `GET api\.example\.com\/nobody`/);

  await front.script("api.example.com/slow", { text: "at last", after_ms: 3000 });
  const slow = ask("/slow");
  while ((await front.sent()).length < 3) await new Promise((done) => setTimeout(done, 5));
  await front.advance(3000);
  equal(await (await slow).text(), "at last");

  await front.script("api.example.com/down", { fails: "refused" }, { status: 503 });
  equal((await (await ask("/down")).json()).kind, "Some(ErrorKind::Unreachable)");
  equal((await ask("/down")).status, 503);
  const sent = await front.sent();
  deepEqual(
    sent.map(({ method, url, route }) => [method, new URL(url).pathname, route ?? null]),
    [
      ["GET", "/users/1", "GET api.example.com/users/*"],
      ["GET", "/nobody", null],
      ["GET", "/slow", "api.example.com/slow"],
      ["GET", "/down", "api.example.com/down"],
      ["GET", "/down", "api.example.com/down"],
    ],
  );
});

test("a mistake is told with what to write", async () => {
  const wrong = (reply) => front.script("api.example.com", reply).catch((error) => error.message);
  match(await wrong({ staus: 1 }), /400.*staus/);
  match(await wrong({ status: 1 }), /three digits/);
  match(await front.script("nowhere at all").catch((error) => error.message), /is no route|needs a reply/);
});
