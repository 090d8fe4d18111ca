//! List: `apps/apps.json` in the data folder, the apps beside the main one.
//!
//! Replaced as a whole and synced, so a crash leaves the old list or the new one. An app
//! that is being deleted says so until its folder is gone; the next start ends what a
//! crash has interrupted. One process writes: the one that holds the data folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// In the data folder; each app has a folder of its own in it, named after the app.
pub(super) const FOLDER: &str = "apps";
const FILE: &str = "apps.json";
const FORMAT: u32 = 1;

/// Where an app is reached: at any of the names, behind the beginning of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// `shop.example.com`, or `*.example.com` for all names that end so. None: any name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Such as `/shop`; the app does not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) routes: Routes,
    #[serde(default)]
    pub(super) paused: bool,
    /// Its folder may be gone already, in part.
    #[serde(default)]
    pub(super) deleting: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Content {
    format: u32,
    #[serde(default)]
    pub(super) main_paused: bool,
    pub(super) apps: BTreeMap<String, Entry>,
}

#[derive(Debug)]
pub(super) struct List {
    data: PathBuf,
    content: Mutex<Content>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{} is damaged: {why}; put back a copy, or write {{\"format\": 1, \"apps\": {{\"NAME\": {{}}}}}} \
         with the names of the folders beside it",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
}

impl Routes {
    /// In lower case, without what means nothing.
    ///
    /// # Errors
    /// In words, what no request could match.
    pub fn checked(self) -> Result<Self, String> {
        let hosts = self.hosts.iter().map(|host| checked_host(host));
        let mut hosts: Vec<_> = hosts.collect::<Result<_, _>>()?;
        hosts.sort();
        hosts.dedup();
        let path = self.path.filter(|path| !path.is_empty());
        path.as_deref().map_or(Ok(()), check_path)?;
        Ok(Self { hosts, path })
    }

    /// Each as a name of a host, if it is for one, and the beginning of a path.
    pub(super) fn pairs(&self) -> Vec<(Option<&str>, &str)> {
        let path = self.path.as_deref().unwrap_or_default();
        match self.hosts.as_slice() {
            [] if path.is_empty() => Vec::new(),
            [] => vec![(None, path)],
            hosts => hosts.iter().map(|host| (Some(&**host), path)).collect(),
        }
    }

    /// A route of both, in words.
    pub(super) fn shared_with(&self, other: &Self) -> Option<String> {
        let (own, others) = (self.pairs(), other.pairs());
        let shared = own.into_iter().find(|pair| others.contains(pair));
        shared.map(|(host, path)| format!("{}{path}", host.unwrap_or_default()))
    }
}

fn checked_host(host: &str) -> Result<String, String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !part.is_empty() && part.len() <= 63 && part.chars().all(allowed)
    };
    match name.len() <= 253 && name.split('.').all(is_part) {
        true => Ok(host.to_ascii_lowercase()),
        false => Err(format!(
            "{host:?} is no name of a host; write `shop.example.com`, or `*.example.com` for all \
             names that end so, without scheme and port"
        )),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_~.!$&'()*+,;=:@".contains(c);
        !matches!(part, "" | "." | "..") && part.chars().all(allowed)
    };
    let parts = path.strip_prefix('/');
    match parts.is_some_and(|parts| parts.split('/').all(is_part)) {
        true => Ok(()),
        false => Err(format!(
            "{path:?} begins no path; write `/shop` or `/shop/eu`, without a `/` at the end"
        )),
    }
}

impl List {
    /// Reads the list of a data folder; makes nothing.
    pub(super) fn open(data: &Path) -> Result<Self, ListError> {
        let content = read(data)?;
        Ok(Self {
            data: data.to_owned(),
            content: Mutex::new(content),
        })
    }

    pub(super) fn content(&self) -> Content {
        self.lock().clone()
    }

    /// Changes the list on the disk, then here.
    pub(super) fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), ListError> {
        let mut content = self.lock();
        let mut changed = content.clone();
        change(&mut changed);
        changed.format = FORMAT;
        let mut text = serde_json::to_vec_pretty(&changed).expect("a list is plain data");
        text.push(b'\n');
        let path = file(&self.data);
        replace(&path, &text).map_err(io_error("writing", &path))?;
        *content = changed;
        Ok(())
    }

    /// Its path in the data folder and its text, unless there are no apps.
    pub(super) fn file(&self) -> Option<(String, Vec<u8>)> {
        let text = fs::read(file(&self.data)).ok()?;
        Some((format!("{FOLDER}/{FILE}"), text))
    }

    /// The folder of an app.
    pub(super) fn folder(&self, app: &str) -> PathBuf {
        self.data.join(FOLDER).join(app)
    }

    /// Deletes an app's folder with all that is in it, then takes it out of the list.
    pub(super) fn forget(&self, app: &str) -> Result<(), ListError> {
        self.remove_folder(app)?;
        self.change(|content| drop(content.apps.remove(app)))
    }

    fn remove_folder(&self, app: &str) -> Result<(), ListError> {
        let folder = self.folder(app);
        let removed = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed,
        };
        let parent = self.data.join(FOLDER);
        removed
            .and_then(|()| fs::File::open(&parent)?.sync_all())
            .map_err(io_error("deleting", &folder))
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder that holds what belongs to an app: one of its own, unless it is the main
/// app of the data folder.
pub fn data_of(data: &Path, app: &str) -> Result<PathBuf, ListError> {
    Ok(match read(data)?.apps.contains_key(app) {
        true => data.join(FOLDER).join(app),
        false => data.to_owned(),
    })
}

/// The folders of all apps of a data folder but the main one, by name.
pub fn folders(data: &Path) -> Result<BTreeMap<String, PathBuf>, ListError> {
    let names = read(data)?.apps.into_keys();
    let with_folder = |name: String| {
        let folder = data.join(FOLDER).join(&name);
        (name, folder)
    };
    Ok(names.map(with_folder).collect())
}

fn file(data: &Path) -> PathBuf {
    data.join(FOLDER).join(FILE)
}

fn read(data: &Path) -> Result<Content, ListError> {
    let path = file(data);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(source) => return Err(io_error("reading", &path)(source)),
    };
    let damaged = |why: String| ListError::Damaged {
        path: path.clone(),
        why,
    };
    let content: Content =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if content.format != FORMAT {
        let why = format!("its format is {}, not {FORMAT}", content.format);
        return Err(damaged(why));
    }
    match content
        .apps
        .keys()
        .find_map(|name| crate::manifest::check_name(name).err())
    {
        Some(why) => Err(damaged(why)),
        None => Ok(content),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("the file is in a folder");
    let partial = path.with_extension("partial");
    fs::create_dir_all(folder)?;
    let mut file = fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    fs::File::open(folder)?.sync_all()?;
    // The folder may be new in its own.
    folder
        .parent()
        .map_or(Ok(()), |data| fs::File::open(data)?.sync_all())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListError + use<> {
    let path = path.to_owned();
    move |source| ListError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(hosts: &[&str], path: &str) -> Result<Routes, String> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let path = Some(path.to_owned());
        Routes { hosts, path }.checked()
    }

    #[test]
    fn a_list_is_there_after_a_restart_and_a_damaged_one_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let list = List::open(data.path()).unwrap();
        let entry = Entry {
            routes: routes(&["Shop.Example.com"], "/eu").unwrap(),
            paused: true,
            deleting: false,
        };
        let add = |content: &mut Content| drop(content.apps.insert("shop".into(), entry.clone()));
        list.change(add).unwrap();
        let again = List::open(data.path()).unwrap().content();
        assert_eq!(again.apps["shop"], entry);
        assert_eq!(entry.routes.hosts, ["shop.example.com"]);
        assert_eq!(data_of(data.path(), "shop").unwrap(), list.folder("shop"));
        assert_eq!(data_of(data.path(), "main").unwrap(), data.path());
        for text in [
            "{",
            r#"{"format": 2, "apps": {}}"#,
            r#"{"format": 1, "apps": {"..": {}}}"#,
        ] {
            fs::write(file(data.path()), text).unwrap();
            let error = List::open(data.path()).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for host in ["", "a b", "http://a", "a:80", "*", "*.*.a", "a..b", "a/b"] {
            assert!(routes(&[host], "").is_err(), "{host}");
        }
        for path in ["shop", "/", "/a/", "/a//b", "/a?b", "/%41", "/../a"] {
            assert!(routes(&[], path).is_err(), "{path}");
        }
        assert_eq!(
            routes(&["*.a.b", "a.b", "a.b"], "/x/y")
                .unwrap()
                .hosts
                .len(),
            2
        );
    }

    #[test]
    fn only_the_same_name_with_the_same_path_is_a_conflict() {
        let one = routes(&["a.b", "*.b"], "/x").unwrap();
        let shared = |hosts, path| one.shared_with(&routes(hosts, path).unwrap());
        assert_eq!(shared(&["*.b"], "/x").as_deref(), Some("*.b/x"));
        assert_eq!(shared(&["a.b"], ""), None);
        assert_eq!(shared(&[], "/x"), None);
        assert_eq!(Routes::default().shared_with(&Routes::default()), None);
    }
}
