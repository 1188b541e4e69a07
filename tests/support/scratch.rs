//! Directories for a test's files. They go when they are dropped; those of processes that were killed are swept
//! away by the next process. `TEST_KEEP=1` keeps them all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

const PREFIX: &str = "external-ca-tests-";

/// A directory of one owner.
pub struct Scratch {
    path: PathBuf,
    // Locked for as long as the owner lives: that is how a sweeper knows.
    _lock: File,
}

impl Scratch {
    /// Makes an empty directory; its name contains `what`.
    pub fn new(what: &str) -> std::io::Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let path = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{what}-"))
            .tempdir()?
            .keep();
        let lock = File::create(path.join(".lock"))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and returns the file's path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> std::io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn sweep() {
    if std::env::var_os("TEST_KEEP").is_some() {
        return;
    }
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|m| m.elapsed().ok());
        if !entry.file_name().to_string_lossy().starts_with(PREFIX)
            || old < Some(Duration::from_secs(60))
        {
            continue;
        }
        if let Ok(lock) = File::open(entry.path().join(".lock"))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
