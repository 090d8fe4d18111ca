//! Secrets: texts that an app's code may read and nobody else, encrypted in the data
//! folder.
//!
//! Written by `cli` and the admin door, read by `host` when an app is loaded. The file `secrets.json`
//! holds, for each app and name, a nonce and the text under ChaCha20-Poly1305, both as
//! hexadecimal digits; app and name are authenticated with it, so an entry cannot be
//! passed off as another. The key is given from outside, or made once and kept beside
//! the file: then the encryption guards copies of the file, not the folder. Where the
//! key stands others may stand behind it, apart by spaces or lines: all of them read,
//! the first one writes.
//! A text is never shown: not by `Debug`, not in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Where the key comes from if it is not kept in the data folder.
pub const KEY_VARIABLE: &str = "DORMOUSE_SECRETS_KEY";
/// Names and values longer than this are no secrets (bytes).
pub const MAX_NAME_BYTES: usize = 128;
pub const MAX_VALUE_BYTES: usize = 64 << 10;

const FILE: &str = "secrets.json";
const KEY_FILE: &str = "secrets.key";
const LOCK_FILE: &str = "secrets.lock";

/// A text that is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The secrets of all apps in one data folder. Every change is on disk when it returns.
#[derive(Clone, Debug)]
pub struct Secrets {
    folder: PathBuf,
    /// 64 hexadecimal digits from outside.
    key: Option<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not a file of secrets: {why}; restore it from a copy, or delete it and set the secrets anew", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("a key in {place} is not 64 hexadecimal digits; make one with `openssl rand -hex 32`")]
    BadKey { place: String },
    #[error(
        "there are secrets but no key: {} is missing and {KEY_VARIABLE} is not set; give the \
         key they were written with, or delete {FILE} and set the secrets anew", path.display()
    )]
    NoKey { path: PathBuf },
    #[error(
        "the secret `{name}` of app `{app}` cannot be decrypted with the key in {place}; give \
         the key it was written with, or set it anew"
    )]
    WrongKey {
        app: String,
        name: String,
        place: String,
    },
    #[error(
        "`{name}` cannot name a secret: letters, digits and `_`, no digit first, at most \
         {MAX_NAME_BYTES}"
    )]
    BadName { name: String },
    #[error("a secret has at most {MAX_VALUE_BYTES} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("the source of random bytes failed: {0}")]
    Random(String),
}

/// Reads with each, writes with the first.
struct Keys {
    ciphers: Vec<LessSafeKey>,
    /// Where they come from.
    place: String,
}

/// Encrypted texts by app and name.
type Entries = BTreeMap<String, BTreeMap<String, String>>;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    apps: Entries,
}

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secrets {
    /// Those in a data folder; touches nothing yet. The key is taken from
    /// `DORMOUSE_SECRETS_KEY` if that is set.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let key = std::env::var(KEY_VARIABLE).ok().map(Secret);
        Self::with_key(folder, key)
    }

    /// The same with a key, 64 hexadecimal digits, or with the one in the folder.
    #[must_use]
    pub fn with_key(folder: &Path, key: Option<Secret>) -> Self {
        Self {
            folder: folder.to_owned(),
            key,
        }
    }

    /// Names of an app's secrets. Needs no key.
    pub fn names(&self, app: &str) -> Result<Vec<String>, Error> {
        let entries = self.read()?.remove(app).unwrap_or_default();
        Ok(entries.into_keys().collect())
    }

    /// An app's secrets, decrypted.
    pub fn all(&self, app: &str) -> Result<BTreeMap<String, Secret>, Error> {
        let entries = self.read()?.remove(app).unwrap_or_default();
        if entries.is_empty() {
            return Ok(BTreeMap::new());
        }
        let keys = self.keys(false)?;
        let decrypted = entries.into_iter().map(|(name, sealed)| {
            let text = keys.open(app, &name, &sealed)?;
            Ok((name, text))
        });
        decrypted.collect()
    }

    /// Keeps a secret; whether there was one of this name.
    pub fn set(&self, app: &str, name: &str, value: &Secret) -> Result<bool, Error> {
        check_name(name)?;
        let bytes = value.reveal().len();
        if bytes > MAX_VALUE_BYTES {
            return Err(Error::TooLong { bytes });
        }
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        let sealed = self.keys(entries.is_empty())?.seal(app, name, value)?;
        let of_app = entries.entry(app.to_owned()).or_default();
        let replaced = of_app.insert(name.to_owned(), sealed).is_some();
        self.write(entries)?;
        Ok(replaced)
    }

    /// Forgets a secret; whether there was one.
    pub fn remove(&self, app: &str, name: &str) -> Result<bool, Error> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        let of_app = entries.get_mut(app);
        if of_app.and_then(|of_app| of_app.remove(name)).is_none() {
            return Ok(false);
        }
        self.write(entries)?;
        Ok(true)
    }

    /// Encrypts all secrets of all apps with a new key, which takes the old one's place
    /// in the folder. A key from outside is not changed: put a new one in front of it,
    /// and the old one can be taken away after this. How many secrets there are.
    pub fn rotate(&self) -> Result<usize, Error> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        if entries.is_empty() {
            return Ok(0);
        }
        let old = self.keys(false)?;
        let path = self.folder.join(KEY_FILE);
        let mut key = None;
        if self.key.is_none() {
            let before =
                fs::read_to_string(&path).map_err(|source| failed("read", &path, source))?;
            let new = to_hex(&random::<32>()?);
            // Whichever of the two files a crash leaves, its key is there.
            self.replace(KEY_FILE, format!("{new}\n{before}").as_bytes())?;
            key = Some(new);
        }
        let new = self.keys(false)?;
        let mut count = 0;
        for (app, of_app) in &mut entries {
            for (name, sealed) in of_app {
                *sealed = new.seal(app, name, &old.open(app, name, sealed)?)?;
                count += 1;
            }
        }
        self.write(entries)?;
        if let Some(key) = key {
            self.replace(KEY_FILE, format!("{key}\n").as_bytes())?;
        }
        Ok(count)
    }

    fn read(&self) -> Result<Entries, Error> {
        let path = self.folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(source) => return Err(failed("read", &path, source)),
        };
        let damaged = |why: String| Error::Damaged {
            path: path.clone(),
            why,
        };
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if content.format != 1 {
            return Err(damaged(format!("its format is {}, not 1", content.format)));
        }
        Ok(content.apps)
    }

    /// The old content, or the new: never a part.
    fn write(&self, apps: Entries) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec_pretty(&Content { format: 1, apps })
            .expect("a map of texts can be written");
        bytes.push(b'\n');
        self.replace(FILE, &bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        let new = path.with_extension("new");
        let written = private_file(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        });
        written.map_err(|source| failed("write", &path, source))
    }

    /// Held while entries are changed, so that no change is lost.
    fn lock(&self) -> Result<File, Error> {
        fs::create_dir_all(&self.folder).map_err(|source| failed("make", &self.folder, source))?;
        let path = self.folder.join(LOCK_FILE);
        let locked = private_file(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| failed("lock", &path, source))
    }

    /// `may_make`: a missing key is made.
    fn keys(&self, may_make: bool) -> Result<Keys, Error> {
        if let Some(keys) = &self.key {
            return Keys::parse(keys.reveal(), KEY_VARIABLE.to_owned());
        }
        let path = self.folder.join(KEY_FILE);
        let mut text = String::new();
        match File::open(&path).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => Keys::parse(&text, path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !may_make {
                    return Err(Error::NoKey { path });
                }
                let key = to_hex(&random::<32>()?);
                self.replace(KEY_FILE, format!("{key}\n").as_bytes())?;
                Keys::parse(&key, path.display().to_string())
            }
            Err(source) => Err(failed("read", &path, source)),
        }
    }
}

impl Keys {
    fn parse(text: &str, place: String) -> Result<Self, Error> {
        let ciphers: Option<Vec<_>> = text.split_whitespace().map(cipher).collect();
        match ciphers {
            Some(ciphers) if !ciphers.is_empty() => Ok(Self { ciphers, place }),
            _ => Err(Error::BadKey { place }),
        }
    }

    fn seal(&self, app: &str, name: &str, value: &Secret) -> Result<String, Error> {
        // Random ones do not meet as long as there are fewer than 2^32 for one key.
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = value.reveal().as_bytes().to_vec();
        let (unique, about) = (Nonce::assume_unique_for_key(nonce), about(app, name));
        let done = self.ciphers[0].seal_in_place_append_tag(unique, Aad::from(about), &mut sealed);
        done.expect("a short text can be encrypted");
        Ok(to_hex(&nonce) + &to_hex(&sealed))
    }

    fn open(&self, app: &str, name: &str, sealed: &str) -> Result<Secret, Error> {
        let mut opened = self.ciphers.iter();
        let opened = opened.find_map(|cipher| open(cipher, app, name, sealed));
        opened.ok_or_else(|| Error::WrongKey {
            app: app.to_owned(),
            name: name.to_owned(),
            place: self.place.clone(),
        })
    }
}

/// Whether a text can name a secret.
pub fn check_name(name: &str) -> Result<(), Error> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| !c.is_ascii_digit());
    if begins && name.chars().all(word) && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Error::BadName {
        name: name.to_owned(),
    })
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A file for its owner alone.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

fn cipher(key: &str) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &from_hex(key)?);
    key.ok().map(LessSafeKey::new)
}

fn open(cipher: &LessSafeKey, app: &str, name: &str, sealed: &str) -> Option<Secret> {
    let mut bytes = from_hex(sealed)?;
    let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
    let (nonce, about) = (Nonce::assume_unique_for_key(*nonce), about(app, name));
    let text = cipher.open_in_place(nonce, Aad::from(about), sealed).ok()?;
    String::from_utf8(text.to_vec()).ok().map(Secret)
}

/// What an entry is about; no name holds a zero byte.
fn about(app: &str, name: &str) -> Vec<u8> {
    format!("dormouse secret\0{app}\0{name}").into_bytes()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok()?;
        let both = pair.iter().all(u8::is_ascii_hexdigit);
        u8::from_str_radix(text, 16).ok().filter(|_| both)
    };
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn a_secret_is_kept_encrypted_for_one_app() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::with_key(folder.path(), None);
        assert!(!secrets.set("shop", "KEY", &secret("hunter2")).unwrap());
        assert!(secrets.set("shop", "KEY", &secret("hunter3")).unwrap());
        let all = secrets.all("shop").unwrap();
        assert_eq!(all["KEY"].reveal(), "hunter3");
        assert_eq!(format!("{all:?}"), r#"{"KEY": Secret(…)}"#);
        assert!(secrets.all("other").unwrap().is_empty());
        for file in fs::read_dir(folder.path()).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains("hunter"), "{text}");
        }
        assert!(secrets.remove("shop", "KEY").unwrap());
        assert!(!secrets.remove("shop", "KEY").unwrap());
        assert!(secrets.names("shop").unwrap().is_empty());
    }

    #[test]
    fn an_entry_cannot_stand_in_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::with_key(folder.path(), None);
        secrets.set("shop", "KEY", &secret("a")).unwrap();
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("KEY", "YEK")).unwrap();
        assert!(matches!(secrets.all("shop"), Err(Error::WrongKey { name, .. }) if name == "YEK"));
    }

    #[test]
    fn another_key_is_refused_and_names_do_without() {
        let folder = tempfile::tempdir().unwrap();
        let key = |digit: &str| Some(secret(&digit.repeat(64)));
        let with = |key| Secrets::with_key(folder.path(), key);
        with(key("a")).set("shop", "KEY", &secret("x")).unwrap();
        assert!(matches!(
            with(key("b")).all("shop"),
            Err(Error::WrongKey { .. })
        ));
        assert!(matches!(with(None).all("shop"), Err(Error::NoKey { .. })));
        assert!(matches!(
            with(Some(secret("short"))).all("shop"),
            Err(Error::BadKey { .. })
        ));
        assert_eq!(with(None).names("shop").unwrap(), ["KEY"]);
        assert_eq!(with(key("a")).all("shop").unwrap()["KEY"].reveal(), "x");
    }

    #[test]
    fn a_new_key_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let own = Secrets::with_key(folder.path(), None);
        own.set("shop", "KEY", &secret("x")).unwrap();
        let key = || fs::read_to_string(folder.path().join(KEY_FILE)).unwrap();
        let entries = || fs::read_to_string(folder.path().join(FILE)).unwrap();
        let before = (key(), entries());
        assert_eq!(own.rotate().unwrap(), 1);
        assert_eq!(own.all("shop").unwrap()["KEY"].reveal(), "x");
        assert_ne!(key(), before.0);
        assert_eq!(key().lines().count(), 1);
        // The old key is of no use any more.
        let with = |keys: &str| Secrets::with_key(folder.path(), Some(secret(keys)));
        assert!(with(&before.0).all("shop").is_err());
        // As a crash between the two files would leave it.
        fs::write(folder.path().join(KEY_FILE), key() + &before.0).unwrap();
        assert_eq!(own.all("shop").unwrap()["KEY"].reveal(), "x");
        fs::write(folder.path().join(FILE), &before.1).unwrap();
        assert_eq!(own.all("shop").unwrap()["KEY"].reveal(), "x");
        // From outside: the new one stands in front.
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        fs::remove_file(folder.path().join(FILE)).unwrap();
        with(&a).set("shop", "KEY", &secret("y")).unwrap();
        assert_eq!(with(&format!("{b} {a}")).rotate().unwrap(), 1);
        assert_eq!(with(&b).all("shop").unwrap()["KEY"].reveal(), "y");
        assert!(with(&a).all("shop").is_err());
    }

    #[test]
    fn names_and_sizes_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::with_key(folder.path(), None);
        for name in ["", "1A", "A-B", &"A".repeat(129)] {
            assert!(secrets.set("shop", name, &secret("x")).is_err(), "{name}");
        }
        let long = secret(&"x".repeat(MAX_VALUE_BYTES + 1));
        assert!(matches!(
            secrets.set("shop", "KEY", &long),
            Err(Error::TooLong { .. })
        ));
    }
}
