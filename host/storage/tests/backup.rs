//! A copy of the folder, made while objects go on, is one moment of all of them.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use common::{Folder, key};
use dormouse_storage::{Backup, Error, Storage, Value};

fn set(storage: &Storage, number: u8, value: &str) -> String {
    let mut db = storage.database(key(number));
    let table = "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v, filler)";
    db.exec(table, &[]).unwrap();
    let row = "INSERT OR REPLACE INTO t VALUES (1, ?, randomblob(20000))";
    db.exec(row, &[value.into()]).unwrap();
    db.end_turn().unwrap();
    db.current_bookmark().to_string()
}

fn get(storage: &Storage, number: u8) -> Option<String> {
    let mut db = storage.database(key(number));
    let found = db.exec("SELECT v FROM t WHERE k = 1", &[]).ok()?;
    match &found.rows.first()?[0] {
        Value::Text(text) => Some(text.clone()),
        other => panic!("no text: {other:?}"),
    }
}

/// A copy in memory.
#[derive(Debug, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn keep(&mut self, path: &str, bytes: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut read = Vec::new();
        content.read_to_end(&mut read)?;
        assert_eq!(read.len() as u64, bytes, "{path}");
        self.0.insert(path.to_owned(), read);
        Ok(())
    }

    fn write_out(&self, backup: &Backup, to: &Path) {
        for (path, bytes) in &self.0 {
            let path = to.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(to).unwrap();
        std::fs::write(to.join("MANIFEST"), &backup.manifest).unwrap();
    }
}

#[test]
fn what_changes_while_it_is_copied_is_copied_again() {
    let folder = Folder::new();
    let storage = folder.storage();
    let first = (1..=4).map(|number| set(&storage, number, "first"));
    let first: Vec<String> = first.collect();
    storage.checkpoint().unwrap();
    let (mut files, mut changed) = (Files::default(), false);
    let backup = storage
        .backup(&folder.path().join("spool"), &mut |path, bytes, content| {
            files.keep(path, bytes, content)?;
            // One file is copied, the others are not yet.
            if !std::mem::replace(&mut changed, true) {
                for number in [1, 3, 4, 5] {
                    set(&storage, number, "second");
                }
                storage.delete(&key(2)).unwrap();
                storage.checkpoint().unwrap();
                set(&storage, 3, "third");
            }
            Ok(())
        })
        .unwrap();
    assert!(changed && backup.files > 5, "{backup:?}");
    set(&storage, 4, "too late");
    drop(storage);

    let copy = Folder::new();
    files.write_out(&backup, copy.path());
    let storage = copy.storage();
    let values = [1, 2, 3, 4, 5].map(|number| get(&storage, number));
    let wanted = [
        Some("second"),
        None,
        Some("third"),
        Some("second"),
        Some("second"),
    ];
    assert_eq!(values.each_ref().map(Option::as_deref), wanted);
    let listed: Vec<_> = storage.list("chat").unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");
    // Its past came along, too.
    for number in [1, 3, 4] {
        let bookmark = &first[usize::from(number) - 1];
        storage.restore(&key(number), bookmark).unwrap();
        assert_eq!(get(&storage, number).as_deref(), Some("first"));
    }
}

#[test]
fn a_copy_goes_on_like_any_folder() {
    let folder = Folder::new();
    let (mut files, storage) = (Files::default(), folder.storage());
    let spool = folder.path().join("spool");
    let empty = storage.backup(&spool, &mut |path, bytes, content| {
        files.keep(path, bytes, content)
    });
    let copy = Folder::new();
    files.write_out(&empty.unwrap(), copy.path());
    for round in 0..3 {
        let storage = copy.storage();
        set(&storage, round, "new");
        storage.close().unwrap();
    }
    let storage = copy.storage();
    assert_eq!(
        [0, 1, 2].map(|number| get(&storage, number).is_some()),
        [true; 3]
    );
}

#[test]
fn one_backup_runs_at_a_time_and_one_that_fails_leaves_nothing_behind() {
    let folder = Folder::new();
    let storage = folder.storage();
    set(&storage, 1, "first");
    storage.checkpoint().unwrap();
    let spool = folder.path().join("spool");
    let failed = storage.backup(&spool, &mut |_, _, _| {
        let second = storage.backup(&spool, &mut |_, _, _| Ok(()));
        assert!(matches!(second, Err(Error::BackupRuns)), "{second:?}");
        Err(io::ErrorKind::BrokenPipe.into())
    });
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    storage.backup(&spool, &mut |_, _, _| Ok(())).unwrap();
}
