// The contract of `bench/contract.md` on Cloudflare's runtime: a worker in front, one
// class of objects with SQLite storage.
import { DurableObject } from "cloudflare:workers";

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/hello") return new Response("Hello, world!\n");
    const name = url.pathname.split("/")[2];
    if (!name) return new Response("not found\n", { status: 404 });
    return env.BENCH.get(env.BENCH.idFromName(name)).fetch(request);
  },
};

export class Bench extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.count = 0;
    this.hasTable = false;
  }

  async fetch(request) {
    const url = new URL(request.url);
    const [, area, , action] = url.pathname.split("/");
    switch (area) {
      case "mem":
        return text(++this.count);
      case "sql":
        return text(this.onSql(action, Number(url.searchParams.get("k"))));
      case "alarm":
        return text(action === "set" ? await this.setAlarm(url) : this.firings());
      case "ws": {
        const [client, server] = Object.values(new WebSocketPair());
        this.ctx.acceptWebSocket(server);
        return new Response(null, { status: 101, webSocket: client });
      }
      default:
        return new Response("not found\n", { status: 404 });
    }
  }

  webSocketMessage(socket, message) {
    if (message.startsWith("b")) {
      for (const each of this.ctx.getWebSockets()) each.send(message);
    } else {
      socket.send(message);
    }
  }

  onSql(action, k) {
    const { sql } = this;
    if (!this.hasTable) {
      sql.exec("CREATE TABLE IF NOT EXISTS kv (k INTEGER PRIMARY KEY, v INTEGER NOT NULL)");
      this.hasTable = true;
    }
    switch (action) {
      case "seed":
        this.ctx.storage.transactionSync(() => {
          for (let n = 0; n < k; n++) sql.exec("INSERT OR REPLACE INTO kv VALUES (?, 0)", n);
        });
        return k;
      case "fill":
        sql.exec("CREATE TABLE IF NOT EXISTS ballast (b BLOB NOT NULL)");
        for (let n = 0; n < k; n++) sql.exec("INSERT INTO ballast VALUES (randomblob(1048576))");
        return k;
      case "read": {
        const row = sql.exec("SELECT v FROM kv WHERE k = ?", k).next();
        return row.done ? "none" : row.value.v;
      }
      case "write":
        return sql.exec(
          "INSERT INTO kv VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET v = v + 1 RETURNING v",
          k,
        ).one().v;
      case "n1": {
        let sum = 0;
        for (let n = 0; n < k; n++) {
          const row = sql.exec("SELECT v FROM kv WHERE k = ?", n % 1000).next();
          if (!row.done) sum += row.value.v;
        }
        return sum;
      }
      case "sum":
        return sql.exec("SELECT coalesce(sum(v), 0) AS s FROM kv").one().s;
    }
  }

  async setAlarm(url) {
    const due = Date.now() + Number(url.searchParams.get("in"));
    this.sql.exec("CREATE TABLE IF NOT EXISTS due (due INTEGER NOT NULL)");
    this.sql.exec("CREATE TABLE IF NOT EXISTS fired (due INTEGER NOT NULL, at INTEGER NOT NULL)");
    this.sql.exec("DELETE FROM due");
    this.sql.exec("INSERT INTO due VALUES (?)", due);
    await this.ctx.storage.setAlarm(due);
    return due;
  }

  firings() {
    const exists = this.sql.exec("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'fired'").one().n;
    if (!exists) return "none";
    return this.sql.exec("SELECT group_concat(due || ',' || at, ';') AS all_ FROM fired").one().all_ ?? "none";
  }

  async alarm() {
    this.sql.exec("INSERT INTO fired SELECT due, ? FROM due", Date.now());
  }
}

const text = (value) => new Response(String(value));
