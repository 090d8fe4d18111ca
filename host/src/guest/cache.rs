//! Cache of compiled code: machine code by digest of the component.
//!
//! Used by `code`. A file holds the SHA-256 of the machine code, then the code;
//! it is trusted only when the sum fits, since running damaged machine code is
//! worse than compiling again. Lives in the data folder; may be deleted any time.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

const SUM_BYTES: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// One folder per compiler version and setting, so that an upgrade of the
    /// host never reads code of another.
    pub(super) fn new(dir: &Path, engine: &wasmtime::Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self {
            dir: dir.join(format!("{:016x}", hasher.finish())),
        }
    }

    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let bytes = fs::read(self.path(digest)).ok()?;
        let (sum, code) = bytes.split_at_checked(SUM_BYTES)?;
        if Sha256::digest(code).as_slice() != sum {
            tracing::warn!(digest, "compiled code is damaged; compiling again");
            return None;
        }
        // SAFETY: the sum shows that these are the bytes which `put` wrote, made
        // by this very compiler; who can write into the data folder owns the host.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(engine, code) };
        component.ok()
    }

    /// A cache that cannot be written is only slow.
    pub(super) fn put(&self, digest: &str, component: &Component) {
        let written = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(digest, &code));
        if let Err(error) = written {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code was not kept");
        }
    }

    fn write(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut bytes = Sha256::digest(code).to_vec();
        bytes.extend_from_slice(code);
        let path = self.path(digest);
        let partial = path.with_extension(format!("tmp{}", std::process::id()));
        fs::write(&partial, bytes)?;
        fs::rename(partial, path)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.cwasm"))
    }
}
