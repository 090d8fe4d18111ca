// One edit, from client to client: our host against TinyBase's own class in workerd.
//
//     node edit.mjs DORMOUSE TINYBASE.WASM [ROUNDS [EDITS]]
//
// `bench/src/lines/edit.rs` runs it. Both servers run at once on 127.0.0.1, keep the
// store in fragments on the disk, and take turns, so that both meet the same machine.
// A round is so many edits of one cell, each made when the one before has arrived.
// Prints one line of JSON: for each server the quantiles of each round, in ms.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMergeableStore } from "tinybase10";
import { createWsSynchronizer } from "tinybase10/synchronizers/synchronizer-ws-client";
import { WebSocket } from "ws";

const WARM_UP = 2;

const [, , dormouse, component, ...counts] = process.argv;
const [rounds = 20, edits = 200] = counts.map(Number);
const folder = mkdtempSync(join(tmpdir(), "edit-"));
const children = [];
// At once: asked to end, workerd waits for its clients, which are here.
const stop = (child) => child.kill("SIGKILL");
process.on("exit", () => children.forEach(stop));

const servers = { dormouse: await ours(), workerd: await theirs() };
const figures = { dormouse: { p50: [], p99: [] }, workerd: { p50: [], p99: [] } };
for (const [name, url] of Object.entries(servers)) servers[name] = await pair(url);
for (let round = 0; round < rounds + WARM_UP; round++) {
  for (const [name, clients] of Object.entries(servers)) {
    const times = [];
    for (let edit = 0; edit < edits; edit++) times.push(await one(clients, round * edits + edit));
    times.sort((a, b) => a - b);
    if (round < WARM_UP) continue;
    figures[name].p50.push(quantile(times, 0.5));
    figures[name].p99.push(quantile(times, 0.99));
  }
}
console.log(JSON.stringify(figures));
await Promise.all(children.map((child) => (stop(child), once(child, "exit"))));
rmSync(folder, { recursive: true, force: true });
process.exit(0);

async function ours() {
  const port = await freePort();
  const app = join(folder, "dormouse.toml");
  writeFileSync(app, `name = "tinybase"\nbuild.component = ${JSON.stringify(component)}\n`);
  const data = join(folder, "ours");
  await started(port, dormouse, ["serve", folder, "--data", data, "--listen", `127.0.0.1:${port}`]);
  return `ws://127.0.0.1:${port}/Fragmented/room`;
}

async function theirs() {
  const port = await freePort();
  const data = mkdtempSync(join(folder, "theirs-"));
  const address = [`--socket-addr=http=127.0.0.1:${port}`, `--directory-path=disk=${data}`];
  const binary = join(import.meta.dirname, "node_modules/.bin/workerd");
  await started(port, binary, ["serve", join(import.meta.dirname, "workerd.capnp"), ...address]);
  return `ws://127.0.0.1:${port}/room`;
}

async function started(port, command, parameters) {
  const child = spawn(command, parameters, { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  const end = Date.now() + 120_000;
  for (;;) {
    try {
      await fetch(`http://127.0.0.1:${port}/`);
      return;
    } catch (error) {
      if (Date.now() > end || child.exitCode !== null) throw error;
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function pair(url) {
  const online = async () => {
    const store = createMergeableStore();
    const synchronizer = await createWsSynchronizer(store, new WebSocket(url));
    await synchronizer.startSync();
    return store;
  };
  return [await online(), await online()];
}

async function one([from, to], number) {
  const arrived = new Promise((done) => {
    const listener = to.addCellListener("t", "r", "c", () => {
      if (to.getCell("t", "r", "c") !== number) return;
      to.delListener(listener);
      done(performance.now());
    });
  });
  const sent = performance.now();
  from.setCell("t", "r", "c", number);
  return (await arrived) - sent;
}

function quantile(sorted, share) {
  return Number(sorted[Math.floor(share * (sorted.length - 1))].toFixed(3));
}
