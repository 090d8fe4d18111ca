//! New: writes a project to start from, the counter under another name.
//!
//! Touches nothing that exists: the folder must be absent or empty. The project
//! builds with plain cargo, because the SDK is written beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::{args, terminal, vendor};

const TEMPLATE: &str = "guests/counter/src/lib.rs";
const TEMPLATE_CLASS: &str = "Counter";
const README: &str = include_str!("template/README.md");
const TESTS: &str = include_str!("template/tests.rs");
const VENDORED: &str = "vendor/dormouse";

pub(super) fn run(args: &args::New) -> anyhow::Result<()> {
    let folder = args
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let plan = Plan::new(&args.name, &folder, args.sdk.as_deref())?;
    for (path, text) in plan.files() {
        write(&folder.join(path), &text)?;
    }
    terminal::status(
        "Created",
        format_args!("{} in {}", args.name, folder.display()),
    );
    terminal::status(
        "Next",
        format_args!("cd {} && dormouse dev", folder.display()),
    );
    Ok(())
}

/// What to write, once it is clear that it can be written.
#[derive(Debug)]
struct Plan {
    name: String,
    class: String,
    sdk: Sdk,
    inside_workspace: bool,
}

#[derive(Debug)]
enum Sdk {
    Vendored,
    At(PathBuf),
}

impl Plan {
    fn new(name: &str, folder: &Path, sdk: Option<&Path>) -> anyhow::Result<Plan> {
        check_package_name(name)?;
        check_vacant(folder)?;
        Ok(Plan {
            name: name.to_owned(),
            class: class_name(name, vendor::text(TEMPLATE)),
            sdk: sdk.map_or(Ok(Sdk::Vendored), find_sdk)?,
            inside_workspace: is_inside_workspace(folder)?,
        })
    }

    fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![
            ("Cargo.toml".to_owned(), self.cargo_manifest()),
            (
                "dormouse.toml".to_owned(),
                format!("name = \"{}\"\n", self.name),
            ),
            (".gitignore".to_owned(), "/target\n/.dormouse\n".to_owned()),
            ("README.md".to_owned(), self.readme()),
            (
                "src/lib.rs".to_owned(),
                self.renamed(vendor::text(TEMPLATE)),
            ),
            (format!("tests/{}.rs", self.name), self.renamed(TESTS)),
            // The versions that the kit was tested with.
            (
                "Cargo.lock".to_owned(),
                vendor::text("Cargo.lock").to_owned(),
            ),
        ];
        if matches!(self.sdk, Sdk::Vendored) {
            let vendored = vendor::files().into_iter();
            files.extend(vendored.map(|(path, text)| (format!("{VENDORED}/{path}"), text)));
        }
        files
    }

    fn cargo_manifest(&self) -> String {
        let sdk = match &self.sdk {
            Sdk::Vendored => format!("{VENDORED}/sdk"),
            Sdk::At(path) => path.to_string_lossy().into_owned(),
        };
        let name = &self.name;
        let kit = toml::Value::String(format!("{sdk}/testing"));
        let sdk = toml::Value::String(sdk);
        let own = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n\
             [dependencies]\ndormouse-sdk = {{ path = {sdk} }}\n\n\
             [dev-dependencies]\ndormouse-testing = {{ path = {kit} }}\n\n\
             # Tests compile the component, which is slow in a compiler without optimization.\n\
             [profile.dev.package.cranelift-codegen]\nopt-level = 2\n"
        );
        // Without this cargo would look for the package among the outer members.
        let root = "\n[workspace]\nexclude = [\"vendor\"]\n";
        if self.inside_workspace {
            own + root
        } else {
            own
        }
    }

    fn readme(&self) -> String {
        README
            .replace("{name}", &self.name)
            .replace("{class}", &self.class)
    }

    fn renamed(&self, template: &str) -> String {
        words(template)
            .map(|piece| match piece.strip_prefix(TEMPLATE_CLASS) {
                Some(rest) if !rest.starts_with(is_word) => format!("{}{rest}", self.class),
                _ => piece.to_owned(),
            })
            .collect()
    }
}

/// Refuses what cargo refuses, and what would shadow a crate the project needs.
fn check_package_name(name: &str) -> anyhow::Result<()> {
    const TAKEN: &str = "
        abstract alloc as async await become box break const continue core crate do dormouse-
        macros dormouse-sdk dyn else enum extern false final fn for gen if impl in let loop
        macro match mod move mut override priv proc-macro pub ref return self static std struct
        super test trait true try type typeof unsafe unsized use virtual where while yield";
    ensure!(
        TAKEN.split_whitespace().all(|taken| taken != name),
        "a Rust package cannot be called `{name}`; choose another name, such as `my-{name}`"
    );
    Ok(())
}

fn check_vacant(folder: &Path) -> anyhow::Result<()> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot use {}", folder.display()));
        }
    };
    if entries.next().is_some() {
        bail!(
            "{} exists and is not empty; choose another name, or another folder with --path",
            folder.display()
        );
    }
    Ok(())
}

fn find_sdk(path: &Path) -> anyhow::Result<Sdk> {
    let is_sdk = fs::read_to_string(path.join("Cargo.toml"))
        .is_ok_and(|text| text.contains("name = \"dormouse-sdk\""));
    ensure!(
        is_sdk,
        "{} is not the SDK; name the folder `sdk` of a checkout of Dormouse",
        path.display()
    );
    let path = path
        .canonicalize()
        .with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Sdk::At(path))
}

/// Whether a cargo workspace lies around the folder.
fn is_inside_workspace(folder: &Path) -> anyhow::Result<bool> {
    let folder = std::path::absolute(folder).context("no working folder")?;
    Ok(folder.ancestors().skip(1).any(|parent| {
        fs::read_to_string(parent.join("Cargo.toml")).is_ok_and(|text| {
            text.lines()
                .any(|line| line.trim_start().starts_with("[workspace"))
        })
    }))
}

/// `chat-room` makes `ChatRoom`; a word the template uses itself gets a suffix.
fn class_name(name: &str, template: &str) -> String {
    const PRELUDE: [&str; 12] = [
        "Box", "Clone", "Default", "Drop", "Err", "Fn", "Iterator", "None", "Option", "Some",
        "String", "Vec",
    ];
    let class: String = name.split('-').map(capitalized).collect();
    let is_used = words(template).any(|piece| piece.trim_end_matches(|c| !is_word(c)) == class);
    let is_free = class == TEMPLATE_CLASS || !(is_used || PRELUDE.contains(&class.as_str()));
    if is_free {
        class
    } else {
        format!("{class}Object")
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The words of a text, each with the character that ends it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c| !is_word(c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().expect("a file of the project has a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, folder: &Path) -> anyhow::Result<()> {
        run(&args::New {
            name: name.to_owned(),
            path: Some(folder.to_owned()),
            sdk: None,
        })
    }

    #[test]
    fn a_project_is_small_and_named_throughout() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("chat-room");
        new("chat-room", &folder).unwrap();
        let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
        let cargo = read("Cargo.toml");
        assert!(
            cargo.lines().filter(|line| !line.is_empty()).count() <= 12,
            "{cargo}"
        );
        assert_eq!(read("dormouse.toml"), "name = \"chat-room\"\n");
        assert!(read("src/lib.rs").contains("impl DurableObject for ChatRoom"));
        assert!(!read("src/lib.rs").contains("Counter"));
        let tests = read("tests/chat-room.rs");
        assert!(tests.contains("\"ChatRoom\"") && !tests.contains("Counter"));
        assert_eq!(tests.matches("#[test]").count(), 3);
        assert!(read("README.md").contains("/ChatRoom/alice"));
        assert!(folder.join("vendor/dormouse/sdk/src/lib.rs").is_file());
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        new("a", folder.path()).expect("an empty folder will do");
        let error = new("a", folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("with --path"), "{error}");
        let file = folder.path().join("README.md");
        assert!(new("a", &file).is_err());
    }

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        let folder = Path::new("does-not-exist");
        for name in ["test", "async", "dormouse-sdk"] {
            let error = Plan::new(name, folder, None).unwrap_err().to_string();
            assert!(error.contains("choose another name"), "{error}");
        }
    }

    #[test]
    fn classes_are_named_after_the_app_and_collide_with_nothing() {
        let template = "struct Counter { state: State }";
        let classes =
            ["counter", "chat-room", "a-2b", "state", "vec"].map(|name| class_name(name, template));
        assert_eq!(
            classes,
            ["Counter", "ChatRoom", "A2b", "StateObject", "VecObject"]
        );
    }

    #[test]
    fn inside_a_workspace_the_project_is_its_own_root() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        let folder = outer.path().join("chat");
        new("chat", &folder).unwrap();
        let cargo = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(cargo.contains("[workspace]"), "{cargo}");
    }

    #[test]
    fn an_sdk_elsewhere_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = Plan::new("a", Path::new("does-not-exist"), Some(folder.path())).unwrap_err();
        assert!(error.to_string().contains("is not the SDK"), "{error}");
    }
}
