// TinyBase's own server as its documentation has it, with a store in fragments.

import { createMergeableStore } from "mergeable-store";
import { createDurableObjectSqlStoragePersister } from "persister";
import { WsServerDurableObject, getWsServerDurableObjectFetch } from "server";

export class Room extends WsServerDurableObject {
  createPersister() {
    const store = createMergeableStore();
    return createDurableObjectSqlStoragePersister(store, this.ctx.storage.sql, { mode: "fragmented" });
  }
}

export default { fetch: getWsServerDurableObjectFetch("ROOM") };
