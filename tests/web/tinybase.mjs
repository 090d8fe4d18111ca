// Real TinyBase clients against guests/tinybase: one scenario for each run, by name.

import { deepEqual, equal, ok } from "node:assert/strict";
import { pause, run } from "./test.mjs";
import { Client, WebSocket, hashes, kept, same, until } from "./tinybase-clients.mjs";

const [, , , name, ...rest] = process.argv;

const scenarios = {
  together, relay, late, offline, entry, frames, large, leaver, sleep, twins, restart, edits, hooks, refused,
};

await run(async (host) => {
  const url = (path) => new URL(path, host).href.replace(/^http/, "ws");
  await scenarios[name](url, ...rest);
});

/** Two to five clients of three versions edit at once, delete, and agree. */
async function together(url, kind) {
  for (const versions of [[6, 10], [10, 9, 6], [6, 9, 10, 10, 9]]) {
    const path = url(`/${kind}/together/${versions.join("-")}`);
    const clients = await Promise.all(versions.map((version) => Client.online(path, version)));
    clients.forEach(({ store }, number) => {
      store.setRow("own", `${number}`, { from: number, 'k"é😀\n': "ü\u0001" });
      store.setCell("shared", "row", "cell", number);
      store.setValue("open", number % 2 === 0);
      store.setCell("numbers", "row", `n${number}`, [0.1 + 0.2, -0, 1e21, 1e-7, 5e-324][number]);
    });
    await same(...clients);
    clients[0].store.delRow("own", "1");
    clients[1].store.delValue("open");
    clients[1].store.setValue("after", 1);
    const { tables, values } = await same(...clients);
    equal(tables.own["1"], undefined);
    deepEqual(values, { after: 1 });
    equal(Object.keys(tables.own).length, versions.length - 1);
    await kept(clients[0]);
    for (const client of clients) deepEqual(await client.leave(), [1000, ""]);
  }
}

/** A relay keeps nothing: only who is there hears. */
async function relay(url) {
  const path = url("/Relay/room");
  const [ada, bob] = [await Client.online(path, 10, 0.2), await Client.online(path, 6, 0.2)];
  ada.store.setCell("t", "r", "c", 1);
  bob.store.setValue("v", "x");
  await same(ada, bob);
  await Promise.all([ada.leave(), bob.leave()]);
  const late = await Client.online(path, 10, 0.2);
  late.store.setValue("mine", 1);
  deepEqual((await same(late)).tables, {});
  await late.leave();
}

/** One who comes when all others have left gets everything, deletes included. */
async function late(url, kind) {
  const path = url(`/${kind}/late`);
  const stale = await Client.online(path, 9);
  const [ada, bob] = [await Client.online(path), await Client.online(path, 6)];
  ada.store.setTables({ pets: { fido: { species: "dog", age: 3 }, felix: { species: "cat" } } });
  ada.store.setValues({ open: true, employees: 3 });
  await same(ada, bob, stale);
  await stale.leave();
  bob.store.delRow("pets", "felix");
  bob.store.delValue("open");
  const before = await same(ada, bob);
  await kept(bob);
  await Promise.all([ada.leave(), bob.leave()]);
  for (const version of [6, 9, 10]) {
    const client = new Client(path, version);
    await client.connect();
    await until("the content", () => client.store.getValue("employees") === 3);
    await until("all of it", () => JSON.stringify(client.content().hashes) === JSON.stringify(before.hashes));
    deepEqual(client.content().tables, { pets: { fido: { species: "dog", age: 3 } } });
    await client.leave();
  }
  // A stale copy must not bring back what was deleted.
  await stale.connect();
  const after = new Client(path);
  await after.connect();
  const { tables } = await same(stale, after);
  equal(tables.pets.felix, undefined);
  await Promise.all([stale.leave(), after.leave()]);
}

/** Both sides go on while one is offline. */
async function offline(url, kind) {
  const path = url(`/${kind}/offline`);
  const [ada, bob] = [await Client.online(path), await Client.online(path, 9)];
  ada.store.setCell("t", "r", "c", 1);
  await same(ada, bob);
  await ada.vanish();
  ada.store.setCell("t", "r", "mine", "offline");
  ada.store.setCell("t", "r", "c", 2);
  bob.store.setCell("t", "other", "c", 3);
  bob.store.setValue("v", 1);
  bob.store.delCell("t", "r", "c");
  await kept(bob);
  await ada.connect();
  const { tables } = await same(ada, bob);
  deepEqual(tables.t.other, { c: 3 });
  equal(tables.t.r.mine, "offline");
  await kept(ada);
  await Promise.all([ada.leave(), bob.leave()]);
}

/** Paths are apart, whatever characters they have; a plain request gets 426. */
async function entry(url) {
  const paths = ["a", "a/b%20c", "a%2Fb%20c", "", "a/", "é"].map((path) => url(`/Json/${path}`));
  const clients = await Promise.all(paths.map((path) => Client.online(`${path}?token=x`)));
  clients.forEach(({ store }, number) => store.setValue("number", number));
  for (const [number, path] of paths.entries()) {
    const late = await Client.online(path);
    await until("the path's own value", () => late.store.getValue("number") === number);
    await late.leave();
  }
  await Promise.all(clients.map((client) => client.leave()));
  for (const path of paths.slice(0, 2)) {
    const answer = await fetch(path.replace(/^ws/, "http"));
    deepEqual([answer.status, await answer.text()], [426, "Upgrade required"]);
  }
  const long = await fetch(url(`/Json/${"x".repeat(2000)}`).replace(/^ws/, "http"));
  equal(long.status, 426);
  const refused = new WebSocket(url(`/Json/${"x".repeat(2000)}`));
  const status = await new Promise((done) => refused.on("unexpected-response", (_, answer) => done(answer.statusCode)));
  equal(status, 414);
}

/** Raw frames: who gets what, and what ends a connection. */
async function frames(url) {
  for (const kind of ["Relay", "Json"]) {
    const path = url(`/${kind}/frames`);
    const [ada, bob, eve] = await Promise.all([1, 2, 3].map(() => raw(path)));
    equal(await ada.next(), 'S\n[null,1,""]');
    ada.send('\n["one",2,[0,0]]');
    const from = await bob.until(/"one"/);
    equal(await eve.until(/"one"/), from);
    const [id] = from.split("\n");
    bob.send(`${id}\n["two",2,[0,0]]`);
    ok(/^[^\n]+\n\["two",2,\[0,0\]\]$/.test(await ada.until(/"two"/)));
    bob.send('nobody\n["lost",2,[0,0]]');
    // Pieces are handed on as they are, in their own order.
    bob.send(`${id}\n0123456789abcdef\n1\n2\n,[0,0]]`);
    bob.send(`${id}\n0123456789abcdef\n0\n2\n["three",2`);
    ok((await ada.until(/\n0\n2\n/)).endsWith('0123456789abcdef\n0\n2\n["three",2'));
    ok((await ada.until(/\n1\n2\n/)).endsWith("0123456789abcdef\n1\n2\n,[0,0]]"));
    for (const wrong of ["no separator", "\nnonsense", '\n["x",8,""]', '\n["x",3,[[{}],[{"v":[1e999]}],1]]']) {
      const mallory = await raw(path);
      mallory.send(wrong);
      deepEqual(await mallory.end, [1007, "tinybase:14"]);
    }
    const bytes = await raw(path);
    bytes.send(Buffer.from('\n["x",1,""]'));
    deepEqual(await bytes.end, [1007, "tinybase:14"]);
    const long = await raw(path);
    long.send(`\n${"x".repeat(16 << 20)}`);
    deepEqual(await long.end, [1013, "tinybase:15:socket"]);
    eve.send('\n["last",2,[0,0]]');
    await bob.until(/"last"/);
    // An edit from too far in the future is passed on and not kept.
    if (kind === "Json") {
      eve.send('\n["future",3,[[{}],[{"v":[1,"zzzzzzzzzzzmmxrx"]}],1]]');
      await bob.until(/"future"/);
      deepEqual(await hashes(path), [0, 0]);
    }
    [ada, bob, eve].forEach((socket) => socket.close());
  }
}

/** 3 MB of rows in fragmented mode, for one who comes late, in fragments, too. */
async function large(url) {
  const path = url("/Fragmented/large");
  const ada = await Client.online(path);
  ada.store.transaction(() => {
    for (let row = 0; row < 3000; row++) {
      ada.store.setRow("big", `row${row}`, { text: "0123456789".repeat(100), row });
    }
  });
  await kept(ada);
  ada.store.setCell("big", "row17", "text", "short");
  await kept(ada);
  const { hashes: wanted } = ada.content();
  await ada.leave();
  await pause("asleep");
  for (const fragmentSize of [undefined, 100_000]) {
    const late = new Client(path);
    await late.connect(fragmentSize);
    await until("3 MB", () => JSON.stringify(late.content().hashes) === JSON.stringify(wanted));
    equal(late.store.getCell("big", "row17", "text"), "short");
    equal(late.store.getRowCount("big"), 3000);
    late.store.setCell("big", "row0", "row", fragmentSize ?? 0);
    await kept(late);
    wanted.splice(0, 2, ...late.content().hashes);
    await late.leave();
  }
}

/** A client that sends fragments is understood by the relay and by the server. */
async function edits(url, kind) {
  const path = url(`/${kind}/edits`);
  const [ada, bob] = [new Client(path), await Client.online(path)];
  await ada.connect(40);
  ada.store.setCell("pets", "fido", "note", "aé漢😀".repeat(20));
  await same(ada, bob);
  await kept(bob);
  await Promise.all([ada.leave(), bob.leave()]);
}

/** An edit wakes the object, and its sender is gone at once: it is not lost. */
async function leaver(url, kind) {
  const path = url(`/${kind}/leaver`);
  const ada = await Client.online(path);
  ada.store.setValue("count", 1);
  await kept(ada);
  await pause("asleep");
  ada.store.setValue("count", 2);
  await new Promise((done) => setImmediate(done));
  await ada.leave();
  const late = await Client.online(path);
  await until("the edit", () => late.store.getValue("count") === 2);
  await late.leave();
}

/** Nobody notices that the object sleeps. */
async function sleep(url, kind) {
  const path = url(`/${kind}/sleep`);
  const clients = [await Client.online(path), await Client.online(path, 9), await Client.online(path, 6)];
  for (let round = 0; round < 3; round++) {
    const { store } = clients[round];
    store.setCell("t", "r", "c", round);
    store.setValue(`v${round}`, round);
    const { values } = await same(...clients);
    equal(values[`v${round}`], round);
    await kept(clients[0]);
    await pause("asleep");
  }
  ok(clients.every(({ socket }) => socket.readyState === WebSocket.OPEN));
  for (const client of clients) deepEqual(await client.leave(), [1000, ""]);
}

/** Two write the same before they hear of each other; then the store is reloaded. */
async function twins(url, kind) {
  const path = url(`/${kind}/twins`);
  const [ada, bob] = [new Client(path), new Client(path)];
  ada.store.setCell("t", "twin", "c", "same");
  await new Promise((done) => setTimeout(done, 5));
  bob.store.setCell("t", "twin", "c", "same");
  await ada.connect();
  await kept(ada);
  await bob.connect();
  await same(ada, bob);
  await kept(bob);
  ada.store.setCell("t", "other", "c", 1);
  await same(ada, bob);
  await kept(bob);
  await pause("asleep");
  ada.store.setCell("t", "other", "c", 2);
  await same(ada, bob);
  await kept(ada);
  await Promise.all([ada.leave(), bob.leave()]);
}

/** The host is killed or restarted in the middle; whatever anybody has survives. */
async function restart(url, kind) {
  const path = url(`/${kind}/restart`);
  const clients = [new Client(path), new Client(path, 9), new Client(path, 6)];
  for (let round = 0; round < 3; round++) {
    await Promise.all(clients.map((client) => client.connect()));
    for (let edit = 0; edit < 20; edit++) {
      clients.forEach(({ store }, number) => store.setCell(`t${number}`, `r${round}`, `c${edit}`, edit));
    }
    // What another client has heard is on the disk.
    const heard = clients[1];
    await until("an edit of another", () => heard.store.getCell("t0", `r${round}`, "c0") === 0);
    await pause("down");
    await Promise.all(clients.map((client) => client.vanish()));
    const alone = await Client.online(path);
    await until("what was heard", () => alone.store.getCell("t0", `r${round}`, "c0") === 0);
    await alone.leave();
  }
  await Promise.all(clients.map((client) => client.connect()));
  const { tables } = await same(...clients);
  for (const table of ["t0", "t1", "t2"]) {
    for (const row of ["r0", "r1", "r2"]) equal(Object.keys(tables[table][row]).length, 20);
  }
  await kept(clients[0]);
  await Promise.all(clients.map((client) => client.leave()));
}

/** What a class overrides is asked and told. */
async function hooks(url) {
  const at = (path) => url(`/TinyHooks/room${path}`);
  const get = (path) => fetch(at(path).replace(/^ws/, "http"));
  const heard = async () => (await get("/heard")).json();
  const ada = await raw(at("/sync"));
  const bob = await raw(at("/sync"));
  const [adaId, bobId] = (await heard()).clients.map(([, id]) => id);
  const edit = '["e1",3,[[{}],[{"v":["0123456789012345678901234567890123456789","03E3B------mmxrx"]}],1]]';
  ada.send(`\n${edit}`);
  equal(await bob.until(/"e1"/), `${adaId}\n${edit}`);
  // Messages of the server above 40 bytes go in fragments.
  bob.send('S\n["q1.mmmm",7,{}]');
  const [, , index, total] = (await bob.until(/^S\n.{16}\n/)).split("\n");
  deepEqual([index, total], ["0", "3"]);
  // The pieces of a message may be so far apart as the class says.
  ada.send('S\n0123456789abcdef\n0\n2\n["q2.mmmm"');
  ada.send(`${bobId}\n["p1",2,[0,0]]`);
  await bob.until(/"p1"/);
  await pause("later");
  ada.send('S\n0123456789abcdef\n1\n2\n,1,""]');
  ok((await ada.until(/"q2.mmmm"/)).startsWith("S\n"));
  // An edit of the server's own is kept and told, or it fails and nothing changes.
  const before = await hashes(at("/sync"));
  const refused = await get("/edit?bytes=5000000");
  equal(refused.status, 507);
  ok(/cannot be saved.*one row.*5000\d{3} bytes.*value_bytes/.test(await refused.text()));
  deepEqual(await hashes(at("/sync")), before);
  equal(await (await get("/edit?bytes=3")).text(), "done");
  ok((await bob.until(/"xxx"/)).startsWith("S\n"));
  ada.send("no separator");
  deepEqual(await ada.end, [1007, "tinybase:14"]);
  bob.close();
  await until("that all have left", async () => (await heard()).paths.some(([, came]) => !came), heard);

  const { commands, errors, paths, clients, messages } = await heard();
  const [create, select, ...more] = commands;
  deepEqual(create, ['CREATE TABLE IF NOT EXISTS "tinybase"("_id" PRIMARY KEY,"store")', 0]);
  deepEqual(select, ['SELECT "store" FROM "tinybase" WHERE "_id"=?', 1]);
  // The empty store, the edit, the one that failed, and the server's own.
  equal(more.filter(([command, parameters]) => command.startsWith("INSERT") && parameters === 2).length, 4);
  deepEqual(errors, ["tinybase:14"]);
  deepEqual([paths[0], paths.at(-1)], [["room", true], ["room", false]]);
  for (const id of [adaId, bobId]) {
    deepEqual(clients.filter((client) => client[1] === id), [["room", id, true], ["room", id, false]]);
  }
  deepEqual(messages[0], [adaId, "", edit]);
  ok(messages.some(([from, to]) => from === "S" && to === bobId));
}

/** What cannot be saved nobody else hears; its sender is told. */
async function refused(url, kind) {
  const path = url(`/${kind}/refused`);
  const [ada, bob] = [await Client.online(path), await Client.online(path)];
  ada.store.setValue("small", 1);
  await same(ada, bob);
  ada.store.setCell("t", "r", "c", "x".repeat(70_000));
  deepEqual(await ada.closed, [1011, "the change cannot be saved"]);
  await ada.synchronizer.destroy();
  bob.store.setValue("after", 1);
  await kept(bob);
  deepEqual(bob.content().tables, {});
  // What is small again is taken, with all that was edited meanwhile.
  ada.store.setCell("t", "r", "c", "short");
  await ada.connect();
  const { tables, values } = await same(ada, bob);
  deepEqual([tables, values], [{ t: { r: { c: "short" } } }, { small: 1, after: 1 }]);
  await kept(ada);
  await pause("asleep");
  equal(ada.socket.readyState, WebSocket.OPEN);
  deepEqual(await hashes(path), ada.content().hashes);
  if (kind === "Json") {
    // Edits that are small, until the store as a whole is too large.
    let row = 0;
    ada.closed.then(() => { row = -1; });
    for (; row >= 0 && row < 1000; row++) {
      ada.store.setCell("many", `${row}`, "c", "x".repeat(1000));
      await new Promise((done) => setTimeout(done, 1));
    }
    deepEqual(await ada.closed, [1011, "the change cannot be saved"]);
    await kept(bob);
    ok(bob.store.getRowCount("many") > 50);
  }
}

/** A socket whose frames are read one by one. */
async function raw(url) {
  const socket = new WebSocket(url);
  const heard = [];
  socket.on("message", (frame) => heard.push(frame.toString()));
  const end = new Promise((done) => socket.on("close", (code, reason) => done([code, reason.toString()])));
  await new Promise((open, failed) => socket.on("open", open).on("error", failed));
  const next = async () => {
    await until("a frame", () => heard.length > 0);
    return heard.shift();
  };
  return {
    end,
    next,
    send: (frame) => socket.send(frame),
    close: () => socket.close(),
    until: async (pattern) => {
      for (;;) {
        const frame = await next();
        if (pattern.test(frame)) return frame;
      }
    },
  };
}
