// Random edit histories of several npm `tinybase` stores that never hear of each
// other: the messages they would send, and what a store holds that got them all.

import { createMergeableStore } from "tinybase10";
import { createCustomSynchronizer } from "tinybase10/synchronizers";

const [, , first, count] = process.argv.map(Number);
for (let seed = first; seed < first + count; seed++) {
  console.log(JSON.stringify(await history(seed)));
}

async function history(seed) {
  const random = generator(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  let now = 1_795_183_200_000;
  const clock = () => now;
  const messages = [];
  const authors = await Promise.all(
    [1, 2, 3, 4].map(async (number) => {
      const store = createMergeableStore(`author${number}`, clock);
      await connected(store, (id, message, body) => {
        if (message === 3) messages.push(json([id, message, body]));
      });
      return store;
    }),
  );
  for (let step = 0; step < 60; step++) {
    now += pick([0, 0, 1, 1000]);
    edit(pick(authors), pick, random);
    await settled();
  }
  const reader = createMergeableStore("reader", clock);
  const { receive } = await connected(reader, () => {});
  for (const message of shuffled(messages, random)) {
    receive("author", ...restored(JSON.parse(message)));
    await settled();
  }
  return { seed, messages, content: json(encoded(reader.getMergeableContent())) };
}

async function connected(store, send) {
  let receive;
  const synchronizer = createCustomSynchronizer(
    store,
    (_to, id, message, body) => send(id, message, body),
    (given) => { receive = given; },
    () => {},
    0.001,
  );
  await synchronizer.startSync();
  return { receive };
}

function edit(store, pick, random) {
  const table = pick(["pets", "", "__proto__", "10", "a/b:\"c\n"]);
  const row = pick(["fido", "1", "é😀"]);
  const cell = pick(["species", "age", "", "note"]);
  const content = pick([
    () => "dog", () => "", () => "é\"\\\n\u2028😀\u0001", () => Math.floor(random() * 100),
    () => random(), () => 1e21, () => 1e-7, () => -0, () => 5e-324, () => true, () => false,
    () => null, () => ({ b: 1, a: [true, null, "x"] }), () => [1, 2, { c: 3 }],
  ])();
  pick([
    () => store.setCell(table, row, cell, content),
    () => store.setCell(table, row, cell, content),
    () => store.setRow(table, row, { species: content, age: 7 }),
    () => store.delCell(table, row, cell, true),
    () => store.delRow(table, row),
    () => store.delTable(table),
    () => store.setValue(cell, content),
    () => store.delValue(cell),
    () => store.transaction(() => {
      store.setCell(table, row, cell, content);
      store.setValue("open", random() < 0.5);
    }),
  ])();
}

/** As TinyBase writes its messages. */
function json(value) {
  return JSON.stringify(value, (_, value) => (value === undefined ? "\ufffc" : value));
}

/** Puts `undefined` where a message says so, which a reviver would drop. */
function restored(value) {
  if (value === "\ufffc") return undefined;
  if (Array.isArray(value)) return value.map(restored);
  if (value === null || typeof value !== "object") return value;
  const object = {};
  for (const key of Object.keys(value)) {
    const configurable = { enumerable: true, configurable: true, writable: true };
    Object.defineProperty(object, key, { value: restored(value[key]), ...configurable });
  }
  return object;
}

/** Content as it is stored: objects as marked text. */
function encoded([tables, values]) {
  const mapped = ([children, ...rest], map) => {
    const object = Object.create(null);
    for (const id of Object.keys(children)) object[id] = map(children[id]);
    return [object, ...rest];
  };
  const leaf = ([content, ...rest]) => {
    const isObject = content !== null && typeof content === "object";
    return [isObject ? "\ufffd" + JSON.stringify(content) : content, ...rest];
  };
  const cells = (row) => mapped(row, leaf);
  return [mapped(tables, (table) => mapped(table, cells)), cells(values)];
}

async function settled() {
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
}

function shuffled(list, random) {
  const keyed = list.map((item) => [random(), item]);
  return keyed.sort(([a], [b]) => a - b).map(([, item]) => item);
}

/** mulberry32: the same numbers for the same seed. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
