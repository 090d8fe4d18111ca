//! Config: every setting of `serve` with where its value comes from.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};
use serde::Serialize;

use super::args;
use crate::cli::project::Project;
use crate::cli::{Cli, terminal};
use crate::manifest::{FILE_NAME, Manifest};

/// One setting.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    value: String,
    /// `flag`, the variable, `dormouse.toml` or `default`.
    from: String,
}

pub(super) fn run(args: &args::Config) -> anyhow::Result<()> {
    let args::ConfigAction::Show(args) = &args.action;
    let project = Project::open(&args.dir)?;
    // Only the matches know whether a value came by flag or by variable.
    let matches = Cli::command().get_matches();
    let show = matches
        .subcommand()
        .and_then(|(_, config)| config.subcommand());
    let (_, matches) = show.expect("clap has parsed this command");
    let settings = settings(args, &project, matches);
    if args.json {
        let json = serde_json::to_string_pretty(&settings)?;
        terminal::print(format_args!("{json}\n"));
        return Ok(());
    }
    let widest = |of: fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or_default();
    let (names, values) = (widest(|one| one.name.len()), widest(|one| one.value.len()));
    for Setting { name, value, from } in &settings {
        terminal::print(format_args!("{name:names$}  {value:values$}  {from}\n"));
    }
    Ok(())
}

fn settings(args: &args::ConfigShow, project: &Project, matches: &ArgMatches) -> Vec<Setting> {
    let manifest = &project.manifest;
    let written = Written::read(&project.manifest_text);
    let door = &args.door;
    let listen = door.listen(manifest);
    let admin = match door.admin(listen).first() {
        Some(address) => address.to_string(),
        None => "off".to_owned(),
    };
    let of_machine = [
        ("serve.listen", "listen", listen.to_string()),
        (
            "serve.data",
            "data",
            door.data(manifest, &project.root).display().to_string(),
        ),
        ("", "admin", admin),
        ("", "certificates", file(args.tls.certificates.as_deref())),
        ("", "key", file(args.tls.key.as_deref())),
        (
            "",
            "admin_certificates",
            file(args.admin_tls.admin_certificates.as_deref()),
        ),
        ("", "admin_key", file(args.admin_tls.admin_key.as_deref())),
        (
            "",
            "shutdown_timeout",
            format!("{} s", door.shutdown_timeout.as_secs_f64()),
        ),
        ("", "filter", args.log.filter.clone()),
        (
            "",
            "format",
            format!("{:?}", args.log.format).to_lowercase(),
        ),
    ];
    let of_machine = of_machine.into_iter().map(|(key, id, value)| {
        let argument = argument(id);
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => format!("flag --{}", argument.0),
            Some(ValueSource::EnvVariable) => format!("variable {}", argument.1),
            _ => written.source(key),
        };
        let name = if key.is_empty() {
            argument.0
        } else {
            key.to_owned()
        };
        Setting { name, value, from }
    });
    let mut settings: Vec<Setting> = of_machine.collect();
    let of_app = of_app(manifest).into_iter();
    // A list that the file gives is shown as it stands there.
    let of_app = of_app.filter(|(key, _)| !LISTS.contains(key) || written.source(key) == "default");
    settings.extend(of_app.map(|(key, value)| Setting {
        from: written.source(key),
        name: key.to_owned(),
        value,
    }));
    let rest = written.rest(&settings);
    settings.extend(rest);
    settings.extend(of_traces());
    settings
}

/// The variables of OpenTelemetry that are set. Headers hold keys, so they are not shown.
fn of_traces() -> Vec<Setting> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let value = match name.ends_with("_HEADERS") {
            true => "(set)".to_owned(),
            false => value.to_string_lossy().into_owned(),
        };
        let from = format!("variable {name}");
        name.starts_with("OTEL_")
            .then_some(Setting { name, value, from })
    });
    let mut variables: Vec<_> = variables.collect();
    variables.sort_by(|one, other| one.name.cmp(&other.name));
    variables
}

fn file(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

fn of_app(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let limits = &manifest.limits;
    let worker = &manifest.worker;
    vec![
        ("name", manifest.name.clone()),
        ("limits.memory_mib", limits.memory_mib.to_string()),
        ("limits.cpu_ms", limits.cpu_ms.to_string()),
        ("limits.idle_ms", limits.idle_ms.to_string()),
        ("limits.mailbox_events", limits.mailbox_events.to_string()),
        (
            "limits.concurrent_events",
            limits.concurrent_events.to_string(),
        ),
        (
            "limits.request_body_bytes",
            limits.request_body_bytes.to_string(),
        ),
        (
            "limits.request_header_bytes",
            limits.request_header_bytes.to_string(),
        ),
        (
            "limits.concurrent_requests",
            limits.concurrent_requests.to_string(),
        ),
        ("limits.database_mib", limits.database_mib.to_string()),
        ("limits.history_days", limits.history_days.to_string()),
        ("limits.history_mib", limits.history_mib.to_string()),
        ("limits.call_depth", limits.call_depth.to_string()),
        ("limits.slow_sql_ms", limits.slow_sql_ms.to_string()),
        ("worker.instances", worker.instances.to_string()),
        (
            "worker.concurrent_requests",
            worker.concurrent_requests.to_string(),
        ),
        ("worker.response_ms", worker.response_ms.to_string()),
    ]
    .into_iter()
    .chain(of_sql(&limits.sql))
    .chain(LISTS.map(|list| (list, "[]".to_owned())))
    .collect()
}

/// What is empty unless the manifest says something; what it says comes from there.
const LISTS: [&str; 3] = [
    "outgoing.hosts",
    "outgoing.private_hosts",
    "router.whole_path",
];

fn of_sql(limits: &dormouse_storage::Limits) -> Vec<(&'static str, String)> {
    let small = [
        ("limits.sql.value_bytes", limits.value_bytes),
        ("limits.sql.statement_bytes", limits.statement_bytes),
        ("limits.sql.columns", limits.columns),
        ("limits.sql.parameters", limits.parameters),
        ("limits.sql.function_arguments", limits.function_arguments),
        ("limits.sql.like_pattern_bytes", limits.like_pattern_bytes),
        (
            "limits.sql.compound_select_terms",
            limits.compound_select_terms,
        ),
        ("limits.sql.expression_depth", limits.expression_depth),
        ("limits.sql.trigger_depth", limits.trigger_depth),
        ("limits.sql.program_ops", limits.program_ops),
    ];
    let large = [
        ("limits.sql.result_rows", limits.result_rows),
        ("limits.sql.result_bytes", limits.result_bytes),
    ];
    let small = small.map(|(key, value)| (key, u64::from(value)));
    let all = small.into_iter().chain(large);
    all.map(|(key, value)| (key, value.to_string())).collect()
}

/// The flag and the variable of an argument.
fn argument(id: &str) -> (String, String) {
    let command = Cli::command();
    let serve = command.find_subcommand("serve");
    let found = serve.and_then(|serve| serve.get_arguments().find(|one| one.get_id() == id));
    let flag = found.and_then(|one| one.get_long()).unwrap_or(id);
    let variable = found.and_then(|one| one.get_env());
    let variable = variable.map(|name| name.to_string_lossy().into_owned());
    (flag.to_owned(), variable.unwrap_or_default())
}

/// The keys that stand in the file.
struct Written(toml::Table);

impl Written {
    fn read(text: &str) -> Self {
        // The manifest was read before; what is wrong with it has been told.
        Self(text.parse().unwrap_or_default())
    }

    /// The keys that no other setting has shown, and the lists that it gives.
    fn rest(&self, shown: &[Setting]) -> Vec<Setting> {
        let mut found = Vec::new();
        flatten("", &self.0, &mut found);
        found.retain(|(name, _)| shown.iter().all(|setting| setting.name != *name));
        let setting = |(name, value): (String, &toml::Value)| Setting {
            name,
            value: match value {
                toml::Value::String(text) => text.clone(),
                value => value.to_string(),
            },
            from: FILE_NAME.to_owned(),
        };
        found.into_iter().map(setting).collect()
    }

    fn source(&self, key: &str) -> String {
        let mut table = &self.0;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            match table.get(part) {
                Some(toml::Value::Table(inner)) if parts.peek().is_some() => table = inner,
                Some(_) if parts.peek().is_none() => return FILE_NAME.to_owned(),
                _ => break,
            }
        }
        "default".to_owned()
    }
}

fn flatten<'a>(head: &str, table: &'a toml::Table, found: &mut Vec<(String, &'a toml::Value)>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(&format!("{head}{key}."), inner, found),
            value => found.push((format!("{head}{key}"), value)),
        }
    }
}
