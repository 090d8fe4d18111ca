//! Project: an app's folder (or a single component) as the user named it.
//!
//! Read afresh for every build; nothing here runs a guest or cargo, but for the
//! question where cargo puts things.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{cargo, terminal};
use crate::host::App;
use crate::manifest::{self, Manifest};

#[derive(Clone, Debug)]
pub(super) struct Project {
    /// Absolute.
    pub(super) root: PathBuf,
    pub(super) manifest: Manifest,
    /// The text of its `dormouse.toml`; empty if there is none.
    pub(super) manifest_text: String,
    pub(super) source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// cargo builds it and knows where it is, unless the manifest says so.
    Cargo { component: Option<PathBuf> },
    /// This shell command leaves it there.
    Command { command: String, component: PathBuf },
    /// It is there.
    File(PathBuf),
}

impl Project {
    /// A folder with `dormouse.toml` or `Cargo.toml`, to be built.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Project> {
        let root = dir
            .canonicalize()
            .with_context(|| format!("no folder {}", dir.display()))?;
        if !root.is_dir() {
            bail!(
                "{} is not a folder; name the app's folder, or use `dormouse serve` for a component",
                dir.display()
            );
        }
        let (manifest, manifest_text) = read_manifest(&root)?;
        let source = source(&root, &manifest)?;
        Ok(Project {
            root,
            manifest,
            manifest_text,
            source,
        })
    }

    /// Whether a folder looks like an app's.
    pub(super) fn is_at(dir: &Path) -> bool {
        dir.join(manifest::FILE_NAME).is_file() || dir.join("Cargo.toml").is_file()
    }

    /// As `open`, or a `.wasm` file by itself.
    pub(super) fn open_or_file(path: &Path) -> anyhow::Result<Project> {
        if path.extension().is_none_or(|extension| extension != "wasm") {
            return Project::open(path);
        }
        let file = path
            .canonicalize()
            .with_context(|| format!("no component {}", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = manifest::name_from(&stem).unwrap_or_else(|| "app".to_owned());
        Ok(Project {
            root: std::env::current_dir().context("no working folder")?,
            manifest: Manifest::named(name),
            manifest_text: String::new(),
            source: Source::File(file),
        })
    }

    /// What is served, once it is built.
    pub(super) fn app(&self, component: PathBuf) -> anyhow::Result<App> {
        let mut manifest = self.manifest.clone();
        if let Some(folder) = &mut manifest.assets {
            *folder = self.root.join(&*folder);
            if !folder.is_dir() {
                bail!(
                    "no folder {}, which `assets.folder` in {} names",
                    terminal::short(folder).display(),
                    manifest::FILE_NAME
                );
            }
        }
        if let Some(file) = &mut manifest.outgoing.ca {
            *file = self.root.join(&*file);
        }
        Ok(App {
            worker: self.worker_component()?,
            manifest,
            component,
        })
    }

    /// What `worker.component` names, if anything.
    fn worker_component(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(path) = &self.manifest.worker.component else {
            return Ok(None);
        };
        let path = self.root.join(path);
        if !path.is_file() {
            bail!(
                "no component at {}, which `worker.component` in {} names",
                terminal::short(&path).display(),
                manifest::FILE_NAME
            );
        }
        Ok(Some(path))
    }

    /// The component as the last build left it.
    pub(super) async fn built_component(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.source {
            Source::File(path)
            | Source::Command {
                component: path, ..
            }
            | Source::Cargo {
                component: Some(path),
            } => path.clone(),
            Source::Cargo { component: None } => cargo::expected_component(&self.root).await?,
        };
        if !path.is_file() {
            bail!(
                "no component at {}; run `dormouse build {}` first",
                terminal::short(&path).display(),
                terminal::short(&self.root).display()
            );
        }
        Ok(path)
    }
}

/// The manifest and its text.
fn read_manifest(root: &Path) -> anyhow::Result<(Manifest, String)> {
    let file = root.join(manifest::FILE_NAME);
    let package = package_name(&root.join("Cargo.toml"))?;
    let name = package.as_deref().and_then(manifest::name_from);
    if file.is_file() {
        let manifest = Manifest::load(terminal::short(&file), name.as_deref())?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        return Ok((manifest, text));
    }
    match (package, name) {
        (_, Some(name)) => Ok((Manifest::named(name), String::new())),
        (Some(package), None) => bail!(
            "the package name {package:?} cannot name an app; add a {} with `name = \"...\"`",
            manifest::FILE_NAME
        ),
        (None, None) => bail!(
            "no {} and no package in {}; name an app's folder, or make one with `dormouse new NAME`",
            manifest::FILE_NAME,
            root.display()
        ),
    }
}

/// The package in a `Cargo.toml`, if there is such a file with a package in it.
fn package_name(path: &Path) -> anyhow::Result<Option<String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let document: toml::Table =
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let name = document
        .get("package")
        .and_then(|package| package.get("name"));
    Ok(name.and_then(toml::Value::as_str).map(str::to_owned))
}

fn source(root: &Path, manifest: &Manifest) -> anyhow::Result<Source> {
    let has_cargo = root.join("Cargo.toml").is_file();
    let component = manifest
        .build
        .component
        .as_ref()
        .map(|path| root.join(path));
    match (manifest.build.command.clone(), component) {
        (Some(command), Some(component)) => Ok(Source::Command { command, component }),
        (Some(_), None) => bail!(
            "`build.command` in {} says how to build, not what comes out; add `component = \"path/to/app.wasm\"` under [build]",
            manifest::FILE_NAME
        ),
        (None, component) if has_cargo => Ok(Source::Cargo { component }),
        (None, Some(component)) => Ok(Source::File(component)),
        (None, None) => bail!(
            "nothing to build or serve in {}: no Cargo.toml, and {} names no `component` under [build]",
            root.display(),
            manifest::FILE_NAME
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const PACKAGE: (&str, &str) = ("Cargo.toml", "[package]\nname = \"My_App\"\n");

    #[test]
    fn a_package_needs_no_manifest() {
        let folder = folder(&[PACKAGE]);
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.manifest, Manifest::named("my-app"));
        assert_eq!(project.source, Source::Cargo { component: None });
    }

    #[test]
    fn an_empty_folder_is_no_app() {
        let folder = folder(&[]);
        let error = Project::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("dormouse new NAME"), "{error}");
    }

    #[test]
    fn a_command_must_say_what_comes_out() {
        let folder = folder(&[("dormouse.toml", "name = 'a'\nbuild.command = 'make'")]);
        let error = Project::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("add `component"), "{error}");
    }

    #[test]
    fn a_component_alone_is_served_from_the_working_folder() {
        let folder = folder(&[("My Chat.wasm", "")]);
        let project = Project::open_or_file(&folder.path().join("My Chat.wasm")).unwrap();
        assert_eq!(project.manifest, Manifest::named("my-chat"));
        assert_eq!(project.root, std::env::current_dir().unwrap());
    }
}
