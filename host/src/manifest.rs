//! Manifest: what `dormouse.toml` says about an app, checked.
//!
//! Read by `cli` and handed to `host` with the component. Knows no command line,
//! no environment and no cargo. Every value a `Manifest` holds is within its
//! bounds; all mistakes of a file are reported together, each with line and
//! column (both from 1, columns in characters). Units stand in the names.
//! Precedence, wherever a value can be given twice: flag, then environment
//! (`DORMOUSE_*`), then `dormouse.toml`, then the default.

mod bindings;
mod migrations;
mod reader;
mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

pub use migrations::{Migration, Rename};
pub use reader::Mistake;
use reader::{Mistakes, Section, integer, not_empty, string, strings};

use crate::egress::{Pattern, Policy};

pub const FILE_NAME: &str = "dormouse.toml";

const NAME_MAX: usize = 63;
const HOUR_MS: u64 = 60 * 60 * 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Lower-case letters, digits and `-`, at most 63; begins with a letter.
    pub name: String,
    pub build: Build,
    /// The guest's environment variables.
    pub vars: BTreeMap<String, String>,
    /// Bindings to namespaces: under which name the app's code finds which class.
    pub namespaces: BTreeMap<String, Binding>,
    /// `[share]`: classes that other apps of the host may call, and the names of these.
    pub share: BTreeMap<String, BTreeSet<String>>,
    /// Bindings to key-value stores of the app, by their names.
    pub kv: BTreeMap<String, String>,
    /// Bindings to SQL databases of the app, by their names.
    pub databases: BTreeMap<String, String>,
    pub limits: Limits,
    pub worker: Worker,
    /// Where the app's code may send requests; nowhere by default.
    pub outgoing: Policy,
    /// `[assets]`: a folder of files that are served as they are. Relative to the
    /// app's folder until the command line makes it absolute.
    pub assets: Option<PathBuf>,
    /// What became of classes, oldest first.
    pub migrations: Vec<Migration>,
    pub router: Router,
    pub serve: Serve,
}

/// What a binding of `[namespaces]` leads to: `"Class"`, or
/// `{ app = "name", class = "Class" }` for the objects of another app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub app: Option<String>,
    pub class: String,
}

impl From<&str> for Binding {
    /// A class of the app itself.
    fn from(class: &str) -> Self {
        Binding {
            app: None,
            class: class.to_owned(),
        }
    }
}

/// `[build]`: where the component comes from; cargo when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// A shell command, run in the app's folder instead of cargo.
    pub command: Option<String>,
    /// The component it leaves, relative to the app's folder.
    pub component: Option<PathBuf>,
}

/// `[limits]`: what one object may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_mib: u64,
    /// Computing time of one event; waiting does not count.
    pub cpu_ms: u64,
    /// How long an object without work stays in memory.
    pub idle_ms: u64,
    /// Events that may wait for one object; further ones are refused.
    pub mailbox_events: u64,
    /// Events that one object handles at once, interleaved at awaits.
    pub concurrent_events: u64,
    /// Largest request body; 100 MiB, as Cloudflare's Workers have it.
    pub request_body_bytes: u64,
    /// Headers of one request, names and values together.
    pub request_header_bytes: u64,
    /// Requests of all clients whose answers have not begun.
    pub concurrent_requests: u64,
    pub database_mib: u64,
    /// `[limits.sql]`; its `database_bytes` says nothing.
    pub sql: dormouse_storage::Limits,
    /// How far back every state of an object can be brought back; 0: not at all.
    pub history_days: u64,
    /// What that may take on disk for all objects together; 0: what it needs.
    pub history_mib: u64,
    /// Calls that wait for each other, one inside the other.
    pub call_depth: u64,
    /// SQL statements that take as long are logged; 0: all of them.
    pub slow_sql_ms: u64,
}

/// `[worker]`: the stateless code in front of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// A component of its own, relative to the app's folder; else the app's
    /// component may hold a worker beside its classes.
    pub component: Option<PathBuf>,
    /// Most instances at a time.
    pub instances: u64,
    /// Requests that one instance handles at once; with 1, a crash fails only the
    /// request that caused it.
    pub concurrent_requests: u64,
    /// How long a request may wait for the head of its answer.
    pub response_ms: u64,
}

/// `[router]`: which object a path leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// Classes whose objects are named by all of the path behind the class, as the
    /// client sent it.
    pub whole_path: BTreeSet<String>,
}

/// `[serve]`: this machine's side, overridden by flags and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    pub listen: SocketAddr,
    /// The data folder, relative to the app's folder.
    pub data: PathBuf,
}

impl Manifest {
    /// An app without a `dormouse.toml`: defaults under this name.
    pub fn named(name: impl Into<String>) -> Manifest {
        Manifest {
            name: name.into(),
            build: Build::default(),
            vars: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            share: BTreeMap::new(),
            kv: BTreeMap::new(),
            databases: BTreeMap::new(),
            limits: Limits::default(),
            worker: Worker::default(),
            outgoing: Policy::default(),
            assets: None,
            migrations: Vec::new(),
            router: Router::default(),
            serve: Serve::default(),
        }
    }

    /// Reads a file; `fallback_name` stands in when it gives no `name`.
    pub fn load(path: &Path, fallback_name: Option<&str>) -> Result<Manifest, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Manifest::parse(&text, fallback_name).map_err(|mistakes| Error::Mistakes {
            path: path.to_owned(),
            mistakes,
        })
    }

    pub fn parse(text: &str, fallback_name: Option<&str>) -> Result<Manifest, Vec<Mistake>> {
        let mut mistakes = Mistakes::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            mistakes.add(error.span().map_or(0, |span| span.start), error.message());
        }
        let syntax_is_sound = mistakes.is_empty();

        let mut root = Section::new("", document.into_inner());
        let name = root.take("name", &mut mistakes, |value| {
            let name = string(value)?;
            check_name(&name).map(|()| name)
        });
        let build = read_build(root.section("build", &mut mistakes), &mut mistakes);
        let vars = read_texts("vars", &mut root, &mut mistakes);
        let namespaces = bindings::read_namespaces(&mut root, &mut mistakes);
        let share = bindings::read_share(&mut root, &mut mistakes);
        let kv = read_texts("kv", &mut root, &mut mistakes);
        let databases = read_texts("databases", &mut root, &mut mistakes);
        let limits = read_limits(root.section("limits", &mut mistakes), &mut mistakes);
        let worker = read_worker(root.section("worker", &mut mistakes), &mut mistakes);
        let outgoing = read_outgoing(root.section("outgoing", &mut mistakes), &mut mistakes);
        let assets = read_assets(root.section("assets", &mut mistakes), &mut mistakes);
        let migrations = migrations::read(&mut root, &mut mistakes);
        let router = read_router(root.section("router", &mut mistakes), &mut mistakes);
        let serve = read_serve(root.section("serve", &mut mistakes), &mut mistakes);
        let name_was_written = root.was_written("name");
        root.finish(&mut mistakes);

        let name = name.or(fallback_name.map(str::to_owned));
        if name.is_none() && !name_was_written && syntax_is_sound {
            mistakes.add(0, "`name` is missing; write `name = \"my-app\"`");
        }
        mistakes.none_or_all()?;
        Ok(Manifest {
            name: name.unwrap_or_default(),
            build,
            vars,
            namespaces,
            share,
            kv,
            databases,
            limits,
            worker,
            outgoing,
            assets,
            migrations,
            router,
            serve,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_mib: 128,
            cpu_ms: 30_000,
            idle_ms: 10_000,
            mailbox_events: 1_024,
            concurrent_events: 64,
            request_body_bytes: 100 * 1024 * 1024,
            request_header_bytes: 64 * 1024,
            concurrent_requests: 10_000,
            database_mib: 10_240,
            sql: dormouse_storage::Limits::default(),
            history_days: 30,
            history_mib: 0,
            call_depth: 16,
            slow_sql_ms: 100,
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            component: None,
            instances: 64,
            concurrent_requests: 64,
            response_ms: 300_000,
        }
    }
}

impl Default for Serve {
    fn default() -> Self {
        Serve {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            data: PathBuf::from(".dormouse/data"),
        }
    }
}

/// Whether a text can name an app.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        format!("holds {wrong:?}")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "does not begin with a letter".to_owned()
    } else if name.ends_with('-') {
        "ends with `-`".to_owned()
    } else if name.len() > NAME_MAX {
        format!("has {} characters", name.len())
    } else {
        return Ok(());
    };
    Err(format!(
        "the name {name:?} {problem}; use lower-case letters, digits and `-`, a letter first, at most {NAME_MAX}"
    ))
}

/// The nearest app name to a text, such as a cargo package's or a file's name.
pub fn name_from(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .skip_while(|c| !c.is_ascii_lowercase())
        .take(NAME_MAX)
        .collect();
    let name = name.trim_end_matches('-');
    check_name(name).is_ok().then(|| name.to_owned())
}

/// An address to listen on: `127.0.0.1:8787`, `[::]:80`, `localhost:80`, or a port of this machine.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    let loopback = port
        .parse::<u16>()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse::<SocketAddr>().or(loopback).map_err(|_| {
        format!("{text:?} is no address; write `127.0.0.1:8787`, `0.0.0.0:80`, `[::]:80` or a port")
    })
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}", list_mistakes(path, mistakes))]
    Mistakes {
        path: PathBuf,
        mistakes: Vec<Mistake>,
    },
}

fn list_mistakes(path: &Path, mistakes: &[Mistake]) -> String {
    let path = path.display();
    let head = match mistakes.len() {
        1 => format!("a mistake in {path}"),
        count => format!("{count} mistakes in {path}"),
    };
    mistakes
        .iter()
        .fold(head, |text, mistake| format!("{text}\n  {path}:{mistake}"))
}

fn read_build(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Build {
    let build = Build {
        command: section.take("command", mistakes, not_empty),
        component: section.take("component", mistakes, |value| {
            not_empty(value).map(PathBuf::from)
        }),
    };
    section.finish(mistakes);
    build
}

/// A table of texts under names of the app's choice.
fn read_texts(
    table: &'static str,
    root: &mut Section<'_>,
    mistakes: &mut Mistakes<'_>,
) -> BTreeMap<String, String> {
    let section = root.section(table, mistakes);
    let mut texts = BTreeMap::new();
    for (key, value) in section.table {
        let name = key.get_ref().to_string();
        if !is_variable_name(&name) {
            let rule = "a name here has letters, digits and `_`, no digit first";
            mistakes.add(key.span().start, format!("`{table}.{name}`: {rule}"));
        }
        let offset = value.span().start;
        match string(value.into_inner()) {
            Ok(text) if text.contains('\0') => {
                mistakes.add(offset, format!("`{table}.{name}`: holds a zero byte"));
            }
            Ok(text) => {
                texts.insert(name, text);
            }
            Err(message) => mistakes.add(offset, format!("`{table}.{name}`: {message}")),
        }
    }
    texts
}

fn is_variable_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn read_limits(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Limits {
    let default = Limits::default();
    let sql = section.section("sql", mistakes).called("limits.sql");
    let sql = sql::read(sql, mistakes);
    let mut take = |key, default, range| {
        section
            .take(key, mistakes, |value| integer(value, range))
            .unwrap_or(default)
    };
    let limits = Limits {
        memory_mib: take("memory_mib", default.memory_mib, 1..=1_024),
        cpu_ms: take("cpu_ms", default.cpu_ms, 1..=HOUR_MS),
        idle_ms: take("idle_ms", default.idle_ms, 1..=24 * HOUR_MS),
        mailbox_events: take("mailbox_events", default.mailbox_events, 1..=1_000_000),
        concurrent_events: take("concurrent_events", default.concurrent_events, 1..=10_000),
        request_body_bytes: take(
            "request_body_bytes",
            default.request_body_bytes,
            0..=i64::MAX as u64,
        ),
        request_header_bytes: take(
            "request_header_bytes",
            default.request_header_bytes,
            1_024..=16 << 20,
        ),
        concurrent_requests: take(
            "concurrent_requests",
            default.concurrent_requests,
            1..=1_000_000,
        ),
        database_mib: take("database_mib", default.database_mib, 1..=1_048_576),
        sql,
        history_days: take("history_days", default.history_days, 0..=36_500),
        history_mib: take("history_mib", default.history_mib, 0..=1_073_741_824),
        call_depth: take("call_depth", default.call_depth, 1..=100),
        slow_sql_ms: take("slow_sql_ms", default.slow_sql_ms, 0..=HOUR_MS),
    };
    section.finish(mistakes);
    limits
}

fn read_router(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Router {
    let whole_path = section.take("whole_path", mistakes, strings);
    section.finish(mistakes);
    Router {
        whole_path: whole_path.into_iter().flatten().collect(),
    }
}

fn read_worker(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Worker {
    let default = Worker::default();
    let component = section.take("component", mistakes, |value| {
        not_empty(value).map(PathBuf::from)
    });
    let mut take = |key, default, range| {
        section
            .take(key, mistakes, |value| integer(value, range))
            .unwrap_or(default)
    };
    let worker = Worker {
        component,
        instances: take("instances", default.instances, 1..=10_000),
        concurrent_requests: take(
            "concurrent_requests",
            default.concurrent_requests,
            1..=10_000,
        ),
        response_ms: take("response_ms", default.response_ms, 1..=HOUR_MS),
    };
    section.finish(mistakes);
    worker
}

fn read_outgoing(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Policy {
    let mut take = |key| section.take(key, mistakes, patterns).unwrap_or_default();
    let (public, private) = (take("hosts"), take("private_hosts"));
    let ca = section.take("ca", mistakes, |value| not_empty(value).map(PathBuf::from));
    let policy = Policy {
        public,
        private,
        ca,
    };
    section.finish(mistakes);
    policy
}

fn patterns(value: DeValue<'_>) -> Result<Vec<Pattern>, String> {
    let items = strings(value)?;
    items.iter().map(|text| Pattern::parse(text)).collect()
}

fn read_assets(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<PathBuf> {
    let folder = section.take("folder", mistakes, |value| {
        not_empty(value).map(PathBuf::from)
    });
    section.finish(mistakes);
    folder
}

fn read_serve(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Serve {
    let default = Serve::default();
    let serve = Serve {
        listen: section
            .take("listen", mistakes, |value| listen_address(&string(value)?))
            .unwrap_or(default.listen),
        data: section
            .take("data", mistakes, |value| {
                not_empty(value).map(PathBuf::from)
            })
            .unwrap_or(default.data),
    };
    section.finish(mistakes);
    serve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let found = Manifest::parse(text, None).expect_err("the text has mistakes");
        found.iter().map(Mistake::to_string).collect()
    }

    #[test]
    fn a_name_is_enough() {
        let manifest = Manifest::parse("name = \"counter\"", None).unwrap();
        assert_eq!(manifest, Manifest::named("counter"));
    }

    #[test]
    fn the_package_name_stands_in_for_a_missing_name() {
        let manifest = Manifest::parse("", Some("counter")).unwrap();
        assert_eq!(manifest, Manifest::named("counter"));
        assert_eq!(
            mistakes(""),
            ["1:1: `name` is missing; write `name = \"my-app\"`"]
        );
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            name = "chat"
            build = { command = "make", component = "out/chat.wasm" }
            vars.GREETING = "hello"
            namespaces.ROOMS = "Room"
            namespaces.INVOICES = { app = "billing", class = "Invoice" }
            share.Room = ["billing", "front"]
            kv.CACHE = "cache"
            databases.DB = "main"
            [limits]
            memory_mib = 64
            cpu_ms = 1_000
            idle_ms = 200
            mailbox_events = 8
            concurrent_events = 1
            request_body_bytes = 0x10
            request_header_bytes = 2048
            concurrent_requests = 9
            database_mib = 1
            history_days = 7
            history_mib = 500
            call_depth = 3
            slow_sql_ms = 20
            [worker]
            component = "out/front.wasm"
            instances = 2
            concurrent_requests = 1
            response_ms = 500
            [outgoing]
            hosts = ["api.example.com", "*.example.org:8080"]
            private_hosts = ["localhost:9000"]
            ca = "ca.pem"
            [assets]
            folder = "public"
            [[migrations]]
            tag = "v1"
            deleted_classes = ["Old"]
            [router]
            whole_path = ["Room", "Store"]
            [serve]
            listen = "[::1]:80"
            data = "/srv/chat"
        "#;
        let manifest = Manifest::parse(text, None).unwrap();
        let expected = Manifest {
            name: "chat".into(),
            build: Build {
                command: Some("make".into()),
                component: Some("out/chat.wasm".into()),
            },
            vars: BTreeMap::from([("GREETING".into(), "hello".into())]),
            namespaces: BTreeMap::from([
                ("ROOMS".into(), "Room".into()),
                (
                    "INVOICES".into(),
                    Binding {
                        app: Some("billing".into()),
                        class: "Invoice".into(),
                    },
                ),
            ]),
            share: BTreeMap::from([("Room".into(), ["billing", "front"].map(String::from).into())]),
            kv: BTreeMap::from([("CACHE".into(), "cache".into())]),
            databases: BTreeMap::from([("DB".into(), "main".into())]),
            limits: Limits {
                memory_mib: 64,
                cpu_ms: 1_000,
                idle_ms: 200,
                mailbox_events: 8,
                concurrent_events: 1,
                request_body_bytes: 16,
                request_header_bytes: 2_048,
                concurrent_requests: 9,
                database_mib: 1,
                sql: dormouse_storage::Limits::default(),
                history_days: 7,
                history_mib: 500,
                call_depth: 3,
                slow_sql_ms: 20,
            },
            worker: Worker {
                component: Some("out/front.wasm".into()),
                instances: 2,
                concurrent_requests: 1,
                response_ms: 500,
            },
            outgoing: Policy {
                public: ["api.example.com", "*.example.org:8080"]
                    .map(|text| Pattern::parse(text).unwrap())
                    .to_vec(),
                private: vec![Pattern::parse("localhost:9000").unwrap()],
                ca: Some("ca.pem".into()),
            },
            assets: Some("public".into()),
            migrations: vec![Migration {
                tag: "v1".into(),
                deleted_classes: vec!["Old".into()],
                ..Migration::default()
            }],
            router: Router {
                whole_path: ["Room", "Store"].map(String::from).into(),
            },
            serve: Serve {
                listen: "[::1]:80".parse().unwrap(),
                data: "/srv/chat".into(),
            },
        };
        assert_eq!(manifest, expected);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        assert_eq!(
            mistakes("name = \"a\"\n[limits]\n  memory = 3\n"),
            ["3:3: unknown key `limits.memory`; did you mean `memory_mib`?"]
        );
        assert_eq!(
            mistakes("name = \"a\"\ncolour = 1\n"),
            [
                "2:1: unknown key `colour`; known here: name, build, vars, namespaces, share, kv, databases, limits, worker, outgoing, assets, migrations, router, serve"
            ]
        );
    }

    #[test]
    fn all_mistakes_are_reported_at_once_in_order() {
        let text = "name = \"My App\"\n\
            speed = 1\n\
            vars = { \"A B\" = \"x\", N = 1 }\n\
            [limits]\n\
            memory_mib = \"128\"\n\
            cpu_ms = -1\n\
            [serve]\n\
            listen = \"nowhere\"\n";
        assert_eq!(
            mistakes(text),
            [
                "1:8: `name`: the name \"My App\" holds 'M'; use lower-case letters, digits and `-`, a letter first, at most 63",
                "2:1: unknown key `speed`; known here: name, build, vars, namespaces, share, kv, databases, limits, worker, outgoing, assets, migrations, router, serve",
                "3:10: `vars.A B`: a name here has letters, digits and `_`, no digit first",
                "3:27: `vars.N`: expected a string, found integer",
                "5:14: `limits.memory_mib`: expected a whole number, found string",
                "6:10: `limits.cpu_ms`: -1 is not within 1 and 3600000",
                "8:10: `serve.listen`: \"nowhere\" is no address; write `127.0.0.1:8787`, `0.0.0.0:80`, `[::]:80` or a port",
            ]
        );
    }

    #[test]
    fn broken_syntax_does_not_hide_other_mistakes() {
        let found = mistakes("name = \"a\nsize = 1\n");
        assert!(found[0].starts_with("1:"), "{found:?}");
        assert!(
            found.iter().any(|m| m.starts_with("2:1: unknown key")),
            "{found:?}"
        );
    }

    #[test]
    fn names_of_packages_and_files_become_app_names() {
        assert_eq!(name_from("My_App2").as_deref(), Some("my-app2"));
        assert_eq!(name_from("9lives-").as_deref(), Some("lives"));
        assert_eq!(name_from("---"), None);
    }

    #[test]
    fn a_port_alone_means_this_machine() {
        assert_eq!(listen_address("80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(
            listen_address("localhost:80").unwrap().to_string(),
            "127.0.0.1:80"
        );
        assert_eq!(
            listen_address("0.0.0.0:80").unwrap().to_string(),
            "0.0.0.0:80"
        );
        assert!(listen_address("99999").is_err());
    }
}
