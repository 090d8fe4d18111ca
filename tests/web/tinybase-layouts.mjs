// TinyBase's own persisters at work on the database of our object, statement by
// statement over HTTP: each side reads what the other one wrote.

import { deepEqual, equal } from "node:assert/strict";
import { MessageChannel, Worker, receiveMessageOnPort } from "node:worker_threads";
import { createMergeableStore } from "tinybase10";
import { createDurableObjectSqlStoragePersister } from "tinybase10/persisters/persister-durable-object-sql-storage";
import { createDurableObjectStoragePersister } from "tinybase10/persisters/persister-durable-object-storage";
import { pause, run } from "./test.mjs";
import { Client, content, kept, until } from "./tinybase-clients.mjs";

const [, , , kind] = process.argv;

const OWN = [
  { sql: "CREATE TABLE IF NOT EXISTS mine (id INTEGER PRIMARY KEY, text TEXT)" },
  { sql: "INSERT INTO mine (text) VALUES ('untouched')" },
  { kv_put: "other", value: "untouched" },
  { kv_put: "my:tuna", value: "untouched" },
];

await run(async (host) => {
  const object = (name) => new URL(`/Tiny${kind}/${name}`, host).href;
  await oursReadByTheirs(object("ours"));
  await theirsReadByOurs(object("theirs"));
});

async function oursReadByTheirs(url) {
  await steps(url, OWN);
  const ada = await Client.online(socket(url));
  fill(ada.store);
  await kept(ada);
  const wanted = ada.content();
  await ada.leave();
  const store = createMergeableStore();
  const persister = original(store, url);
  await persister.load();
  deepEqual(content(store), wanted);
  await untouched(url);
}

async function theirsReadByOurs(url) {
  await steps(url, OWN);
  const store = createMergeableStore();
  const persister = original(store, url);
  fill(store);
  await persister.save();
  const late = await Client.online(socket(url));
  await agree(late, store);
  late.store.delRow("pets", "felix");
  late.store.setCell("pets", "fido", "age", 4);
  await kept(late);
  await late.leave();
  await persister.load();
  deepEqual(content(store), late.content());
  // Behind the back of an object that sleeps.
  await pause("asleep");
  store.setCell("pets", "rex", "species", "t-rex");
  store.setValue("open", true);
  await persister.save();
  const last = await Client.online(socket(url));
  await agree(last, store);
  await kept(last);
  await last.leave();
  await untouched(url);
}

function fill(store) {
  store.setTables({
    pets: { fido: { species: "dog", age: 3, o: { b: 1, a: [null, "x"] } }, felix: { species: "cat" } },
    "a/b:\"c\n": { "": { "é😀": 1e21 } },
  });
  store.setValues({ open: false, "": -0.5, empty: "" });
  store.delCell("pets", "fido", "age", true);
  store.delValue("empty");
}

function original(store, url) {
  // What cannot be read must not be passed over.
  const failed = (error) => { throw error; };
  if (kind === "Kv") return createDurableObjectStoragePersister(store, keyValue(url), "my:", failed);
  const sql = {
    exec: (text, ...params) => {
      const rows = objects(ask(url, text, params));
      return { toArray: () => rows };
    },
  };
  const how = kind === "Json" ? 'my "store"' : { mode: "fragmented", storagePrefix: "My-é" };
  return createDurableObjectSqlStoragePersister(store, sql, how, undefined, failed);
}

function objects({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])));
}

function keyValue(url) {
  const put = (pairs) => {
    const entries = Object.entries(pairs).map(([key, stamp]) => [key, stamp.map(defined)]);
    return steps(url, [{ kv_put_many: entries }]);
  };
  return {
    list: async ({ prefix }) => {
      const [{ list }] = await steps(url, [{ kv_list: { prefix } }]);
      const stamps = list.filter(([, value]) => Array.isArray(value));
      return new Map(stamps.map(([key, stamp]) => [key, stamp.map((part) => (part === "\ufffc" ? undefined : part))]));
    },
    transaction: (work) => work({ put }),
  };
}

/** Our key-value pairs are JSON, which has no `undefined`. */
function defined(part) {
  return part === undefined ? "\ufffc" : part;
}

async function untouched(url) {
  const [rows, other, tuna] = await steps(url, [
    { sql: "SELECT text FROM mine" }, { kv_get: "other" }, { kv_get: "my:tuna" },
  ]);
  deepEqual(rows.rows, [["untouched"]]);
  deepEqual([other.value, tuna.value], ["untouched", "untouched"]);
}

async function agree(client, store) {
  const wanted = JSON.stringify(store.getMergeableContentHashes());
  await until("the stored content", () => JSON.stringify(client.content().hashes) === wanted);
  deepEqual(client.content(), content(store));
}

function socket(url) {
  return url.replace(/^http/, "ws");
}

async function steps(url, list) {
  const answer = await fetch(`${url}/run`, { method: "POST", body: JSON.stringify(list) });
  equal(answer.status, 200);
  const { results } = await answer.json();
  for (const result of results) if (result.error) throw new Error(JSON.stringify(result.error));
  return results;
}

/** One statement, waited for without a turn of the event loop: `exec` is synchronous. */
function ask(url, sql, params) {
  ask.ready ??= start();
  const { port, flag } = ask.ready;
  Atomics.store(flag, 0, 0);
  port.postMessage({ url: `${url}/run`, body: JSON.stringify([{ sql, params }]) });
  Atomics.wait(flag, 0, 0);
  const { result } = receiveMessageOnPort(port).message;
  if (result.error) throw new Error(`${sql}: ${JSON.stringify(result.error)}`);
  return result;
}

function start() {
  const { port1, port2 } = new MessageChannel();
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const source = `
    const { workerData: { port, flag } } = require("node:worker_threads");
    port.on("message", async ({ url, body }) => {
      let result;
      try {
        const answer = await fetch(url, { method: "POST", body });
        result = (await answer.json()).results[0];
      } catch (error) {
        result = { error: String(error) };
      }
      port.postMessage({ result });
      Atomics.store(flag, 0, 1);
      Atomics.notify(flag, 0);
    });`;
  new Worker(source, { eval: true, workerData: { port: port2, flag }, transferList: [port2] }).unref();
  return { port: port1, flag };
}
