//! A data folder that goes away with its test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use dormouse_storage::{Limits, ObjectKey, Options, Storage};

#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("dormouse-storage-{}-{number}", std::process::id()));
        Folder { dir }
    }

    pub fn storage(&self) -> Storage {
        self.storage_with(Limits::default())
    }

    pub fn storage_with(&self, limits: Limits) -> Storage {
        Storage::open(Options {
            limits,
            ..self.options()
        })
        .unwrap()
    }

    /// Small segments, which a test need not wait for.
    pub fn options(&self) -> Options {
        Options {
            segment_bytes: 1 << 20,
            ..Options::new(&self.dir)
        }
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An object of the namespace `chat`, named `room <number>`.
pub fn key(number: u8) -> ObjectKey {
    ObjectKey {
        namespace: "chat".into(),
        id: [number; 32],
        name: Some(format!("room {number}")),
    }
}
