//! Export and import: an object as a plain SQLite file.
//!
//! The only place that touches files outside the data folder.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::Moment;
use crate::error::Error;
use crate::files::RESERVED_BYTES;
use crate::key::ObjectKey;
use crate::log::delta::PAGE_BYTES;
use crate::pages::{Holder, Pages, WHOLE_BYTES};
use crate::reserved;
use crate::sqlite::Connection;
use crate::storage::{Shared, Storage};
use crate::value::Value;
use crate::vfs;

impl Storage {
    /// Writes what an object was at a moment, or is, to a new file that any SQLite opens. The
    /// object may be awake and goes on.
    pub fn export(&self, key: &ObjectKey, bookmark: Option<&str>, to: &Path) -> Result<(), Error> {
        let moment = self.shared().moment_of(key, bookmark)?;
        if moment.past.size == 0 {
            let object = key.to_string();
            return Err(Error::Missing { object });
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let result = write_out(&moment, Path::new(&partial), to);
        if result.is_err() {
            // What is left of it is of no use, and says so by its name.
            let _ = fs::remove_file(&partial);
        }
        result
    }

    /// Makes an object of a SQLite file of any page size, checked first. One that has data is
    /// replaced only if `replace` says so; its history stays. Alarms come along if the file
    /// was exported from an object.
    pub fn import(&self, key: &ObjectKey, from: &Path, replace: bool) -> Result<(), Error> {
        let shared = self.shared();
        let source = open_source(from)?;
        let claim = shared.claim(key)?;
        let pages = claim.pages();
        if !replace {
            shared.check_empty(pages)?;
        }
        shared.replace(
            pages,
            false,
            || copy(shared, &source, from, pages),
            |connection| reserved::adopt(connection, key.name.as_deref()),
        )
    }
}

fn write_out(moment: &Moment<'_>, partial: &Path, to: &Path) -> Result<(), Error> {
    let failed = |source| Error::io("writing", to, source);
    if to.try_exists().map_err(failed)? {
        return Err(failed(io::Error::from(ErrorKind::AlreadyExists)));
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(partial).map_err(failed)?);
    for number in 1..=moment.past.size {
        out.write_all(&moment.page(number)?[..]).map_err(failed)?;
    }
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all()
        .and_then(|()| fs::rename(partial, to))
        .map_err(failed)
}

/// Opens a file that SQLite finds in order.
fn open_source(path: &Path) -> Result<Connection, Error> {
    let refuse = |found: String| Error::Import {
        path: path.to_owned(),
        found,
    };
    fs::metadata(path).map_err(|source| Error::io("reading", path, source))?;
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| refuse("its name has a NUL character".into()))?;
    let open = || -> Result<(Connection, Vec<Vec<Value>>), Error> {
        let connection = Connection::open_plain(&name)?;
        let rows = connection.rows("PRAGMA quick_check", &[])?;
        Ok((connection, rows))
    };
    let (connection, rows) = open().map_err(|error| refuse(error.to_string()))?;
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Text(text)) if text == "ok" => Ok(connection),
        Some(Value::Text(text)) => Err(refuse(format!("it is damaged: {text}"))),
        _ => Err(refuse("SQLite does not say that it is in order".into())),
    }
}

/// Lets SQLite write the content of `source`, in our page size, into the open transaction.
fn copy(
    shared: &Shared,
    source: &Connection,
    path: &Path,
    pages: &Arc<Pages>,
) -> Result<(), Error> {
    pages.truncate(0);
    source.run_trusted(&format!("PRAGMA page_size = {PAGE_BYTES}"))?;
    source.reserve(RESERVED_BYTES);
    let copied = vfs::with_pages(Arc::clone(pages), Holder::Claimant, |vfs| {
        let vfs = vfs.to_string_lossy();
        source.run_trusted(&format!("VACUUM INTO 'file:import?vfs={vfs}'"))
    });
    let too_much = |limit_bytes, advice| Error::TooMuch {
        what: "importing that file",
        limit_bytes,
        advice,
    };
    match copied {
        Err(Error::Sql { code, .. }) if code & 0xff == rusqlite::ffi::SQLITE_FULL => {
            return Err(too_much(WHOLE_BYTES, "make it smaller first"));
        }
        Err(error) => {
            return Err(Error::Import {
                path: path.to_owned(),
                found: error.to_string(),
            });
        }
        Ok(()) => (),
    }
    let limit_bytes = shared.limits().database_bytes;
    match u64::from(pages.size()) * PAGE_BYTES as u64 > limit_bytes {
        true => Err(too_much(
            limit_bytes,
            "raise the limit of the database's size",
        )),
        false => Ok(()),
    }
}
