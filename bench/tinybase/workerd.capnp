using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .tinybase),
    (name = "disk", disk = (writable = true)),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const tinybase :Workerd.Worker = (
  modules = [
    (name = "server.js", esModule = embed "server.js"),
    (name = "server", esModule =
      embed "node_modules/tinybase10/synchronizers/synchronizer-ws-server-durable-object/index.js"),
    (name = "persister", esModule =
      embed "node_modules/tinybase10/persisters/persister-durable-object-sql-storage/index.js"),
    (name = "mergeable-store", esModule =
      embed "node_modules/tinybase10/mergeable-store/index.js"),
  ],
  compatibilityDate = "2026-06-01",
  durableObjectNamespaces = [(className = "Room", uniqueKey = "room", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ROOM", durableObjectNamespace = "Room")],
);
