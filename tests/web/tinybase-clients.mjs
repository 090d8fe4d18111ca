// Real TinyBase clients of several versions, and what is asked of them.

import { createMergeableStore as store6 } from "tinybase6";
import { createWsSynchronizer as sync6 } from "tinybase6/synchronizers/synchronizer-ws-client";
import { createMergeableStore as store9 } from "tinybase9";
import { createWsSynchronizer as sync9 } from "tinybase9/synchronizers/synchronizer-ws-client";
import { createMergeableStore as store10 } from "tinybase10";
import { createWsSynchronizer as sync10 } from "tinybase10/synchronizers/synchronizer-ws-client";
import { WebSocket } from "ws";

const VERSIONS = { 6: [store6, sync6], 9: [store9, sync9], 10: [store10, sync10] };

/** A store that goes online and offline at one path. */
export class Client {
  /** Seconds to wait for an answer; a relay gives none. */
  timeout = 5;

  constructor(url, version = 10) {
    const [createStore, createSynchronizer] = VERSIONS[version];
    Object.assign(this, { url, createSynchronizer, store: createStore() });
  }

  static async online(url, version, timeout = 5) {
    const client = Object.assign(new Client(url, version), { timeout });
    await client.connect();
    return client;
  }

  async connect(fragmentSize) {
    this.socket = new WebSocket(this.url);
    /** The close code and reason. */
    this.closed = new Promise((done) => this.socket.on("close", (code, reason) => done([code, `${reason}`])));
    // Its end is seen by the synchronizer.
    this.socket.on("error", () => {});
    const more = fragmentSize === undefined ? [] : [undefined, undefined, undefined, fragmentSize];
    this.synchronizer = await this.createSynchronizer(this.store, this.socket, this.timeout, ...more);
    await this.synchronizer.startSync();
  }

  /** Closes the connection; answers with the close code and reason. */
  async leave() {
    this.socket.close(1000);
    const end = await this.closed;
    await this.synchronizer.destroy();
    return end;
  }

  /** Breaks the connection off, as a crash does. */
  async vanish() {
    this.socket.terminate();
    await this.closed;
    await this.synchronizer.destroy();
  }

  content() {
    return content(this.store);
  }
}

/** What a store holds, as plain objects. */
export function content(store) {
  const [tables, values] = JSON.parse(JSON.stringify(store.getContent()));
  return { tables, values, hashes: store.getMergeableContentHashes() };
}

/** Waits until all hold the same, and answers with it. */
export async function same(...clients) {
  const contents = () => clients.map((client) => JSON.stringify(sorted(client.content())));
  await until("the same content everywhere", () => new Set(contents()).size === 1, contents);
  return clients[0].content();
}

/** Waits until the server's own store has the hashes of a client's. */
export async function kept(client) {
  const wanted = JSON.stringify(client.store.getMergeableContentHashes());
  await until("the server's hashes", async () => JSON.stringify(await hashes(client.url)) === wanted);
}

/** The hashes of the server's own store. */
export async function hashes(url) {
  const socket = new WebSocket(url);
  const answer = new Promise((found, failed) => {
    socket.on("error", failed);
    socket.on("message", (frame) => {
      const [id, message, body] = JSON.parse(frame.toString().split("\n")[1]);
      if (id === "test.hash" && message === 0) found(body);
    });
    socket.on("open", () => socket.send('S\n["test.hash",1,""]'));
  });
  const found = await answer;
  socket.terminate();
  return found;
}

export async function until(what, condition, report = () => "") {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not in time: ${what}: ${await report()}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

/** Objects with their keys in order, so that equal ones have equal texts. */
function sorted(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const keys = Object.keys(value).sort();
  return keys.map((key) => [key, sorted(value[key])]);
}

export { WebSocket };
