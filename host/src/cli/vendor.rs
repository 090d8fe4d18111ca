//! Vendor: the SDK and the test kit that the binary carries, to be written into a new
//! project. The kit holds the host, since a test runs it.
//!
//! In the repository the SDK's manifests inherit from the root's; a copy gets a
//! small root of its own that holds just what they inherit.

use toml::{Table, Value};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// The crates of the copy, from its root.
const MEMBERS: [&str; 5] = ["sdk", "sdk/macros", "sdk/testing", "host", "host/storage"];

/// The text of a file of the repository that was there when this was compiled.
pub(super) fn text(path: &str) -> &'static str {
    embedded::FILES
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, text)| *text)
        .expect("build.rs lists every file that is asked for")
}

/// The files of the copy, each with its path from the copy's root.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files: Vec<_> = embedded::FILES
        .iter()
        .filter(|(name, _)| *name != "Cargo.toml")
        .map(|(name, text)| {
            let is_manifest = MEMBERS
                .iter()
                .any(|one| *name == format!("{one}/Cargo.toml"));
            let text = match is_manifest {
                true => without_tests(text),
                false => (*text).to_owned(),
            };
            ((*name).to_owned(), text)
        })
        .collect();
    let members = MEMBERS.map(|member| text(&format!("{member}/Cargo.toml")));
    files.push((
        "Cargo.toml".to_owned(),
        root_manifest(text("Cargo.toml"), &members),
    ));
    files
}

/// A member's manifest without its tests, which are not carried.
fn without_tests(manifest: &str) -> String {
    let mut manifest = parse(manifest);
    for key in ["dev-dependencies", "test", "bench", "example"] {
        manifest.remove(key);
    }
    toml::to_string(&manifest).expect("a manifest that was read can be written")
}

/// A workspace manifest with what the members inherit from `root`.
fn root_manifest(root: &str, members: &[&str]) -> String {
    let mut workspace = parse(root)
        .remove("workspace")
        .and_then(table)
        .expect("the root manifest has a workspace");
    let inherited: Vec<String> = members
        .iter()
        .flat_map(|member| inherited(member))
        .collect();
    workspace.retain(|key, _| matches!(key, "resolver" | "package" | "dependencies"));
    if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
        dependencies.retain(|name, _| inherited.iter().any(|used| used == name));
    }
    let names = MEMBERS.map(|member| Value::String(member.to_owned()));
    workspace.insert("members".to_owned(), Value::Array(names.to_vec()));
    // The members say `lints.workspace = true`; our lints are not the user's.
    workspace.insert("lints".to_owned(), Value::Table(Table::new()));
    let mut manifest = Table::new();
    manifest.insert("workspace".to_owned(), Value::Table(workspace));
    let text = toml::to_string(&manifest).expect("a manifest that was read can be written");
    format!(
        "# The SDK of Dormouse as `dormouse new` wrote it; newer versions replace this folder.\n{text}"
    )
}

/// The names of the dependencies that a manifest takes from its workspace.
fn inherited(manifest: &str) -> Vec<String> {
    parse(manifest)
        .into_iter()
        .filter(|(key, _)| key.ends_with("dependencies"))
        .filter_map(|(_, value)| table(value))
        .flatten()
        .filter(|(_, value)| value.get("workspace").is_some())
        .map(|(name, _)| name)
        .collect()
}

fn parse(manifest: &str) -> Table {
    toml::from_str(manifest).expect("our own manifests are sound")
}

fn table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_holds_what_the_sdk_needs_and_no_more() {
        let files = files();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        for needed in [
            "Cargo.toml",
            "LICENSE",
            "sdk/Cargo.toml",
            "sdk/src/lib.rs",
            "sdk/macros/Cargo.toml",
            "wit/world.wit",
            "sdk/testing/src/lib.rs",
            "host/src/lib.rs",
            "host/storage/src/lib.rs",
            "Cargo.lock",
        ] {
            assert!(names.contains(&needed), "{needed} is not in {names:?}");
        }
        let root = &files.last().unwrap().1;
        assert!(
            root.contains("wit-bindgen") && !root.contains("hdrhistogram"),
            "{root}"
        );
        let tests = |name: &&&str| name.contains("/tests/");
        assert_eq!(names.iter().find(tests), None);
        let host = files.iter().find(|(name, _)| name == "host/Cargo.toml");
        assert!(!host.unwrap().1.contains("tests/main.rs"));
    }

    #[test]
    fn a_root_manifest_keeps_what_members_inherit() {
        let root = "[workspace]\nmembers = ['x']\nexclude = ['y']\n[workspace.package]\nedition = '2024'\n\
                    [workspace.dependencies]\na = '1'\nb = '2'\n[workspace.lints.rust]\nx = 'warn'\n[profile.dev]\ndebug = false\n";
        let member = "[dependencies]\na.workspace = true\nc = '3'\n";
        let manifest = parse(&root_manifest(root, &[member]));
        let expected = "[workspace]\nmembers = ['sdk', 'sdk/macros', 'sdk/testing', 'host', 'host/storage']\n[workspace.package]\nedition = '2024'\n\
                        [workspace.dependencies]\na = '1'\n[workspace.lints]\n";
        assert_eq!(manifest, parse(expected));
    }
}
