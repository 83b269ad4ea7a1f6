//! Files that one run alone may write.

use std::fs::{File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{beside, followed};
use crate::error::{Error, Result};

/// That a file is this run's to write, again and again, as long as this lives: `NAME.busy` beside it is locked, and goes with it. Where
/// a run is killed it stays, without the lock, and holds nobody up.
pub struct Hold {
    file: File,
    name: PathBuf,
}

/// How often a lock may turn out to be of a file that was taken away meanwhile. More often than that the file system does not know its
/// own files again.
const TRIES: usize = 100;

impl Hold {
    /// Takes a file that is written whole ([`write_atomically`](super::write_atomically)), or will be; none where the file system gives no
    /// locks.
    ///
    /// Errors: another run has it, it is no regular file, or nothing can be written beside it.
    pub fn of(path: &Path) -> Result<Option<Hold>> {
        let refused = |path: &Path, source| Error::Write { path: path.into(), source };
        let irregular = || std::io::Error::other("it is not a regular file");
        let target = followed(path);
        if std::fs::metadata(&target).is_ok_and(|data| !data.is_file()) {
            return Err(refused(path, irregular()));
        }
        let name = beside(&target, ".busy").map_err(|source| refused(path, source))?;
        for _ in 0..TRIES {
            // A pipe would wait, and a link may lead to what is somebody else's.
            if std::fs::symlink_metadata(&name).is_ok_and(|data| !data.is_file()) {
                return Err(refused(&name, irregular()));
            }
            let opened = File::options().write(true).create(true).truncate(false).open(&name);
            let file = opened.map_err(|source| refused(&name, source))?;
            match file.try_lock() {
                Ok(()) => {
                    let hold = Hold { file, name: name.clone() };
                    // The last one that had it may have taken the file away since it was opened.
                    if hold.is_named() {
                        return Ok(Some(hold));
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    let reason = format!("another run has it, and {} until it ends; name another file", name.display());
                    return Err(refused(path, std::io::Error::new(ErrorKind::ResourceBusy, reason)));
                }
                // Of the many ways in which file systems say that they have no locks.
                Err(TryLockError::Error(_)) => {
                    drop(Hold { file, name });
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Whether what is locked still has its name.
    fn is_named(&self) -> bool {
        let named = std::fs::metadata(&self.name);
        self.file.metadata().is_ok_and(|own| named.is_ok_and(|named| is_same(&own, &named)))
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere nobody takes it away.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What has something in it is somebody else's, and so is another file of its name.
        if cfg!(unix) && self.is_named() && self.file.metadata().is_ok_and(|data| data.len() == 0) {
            // An empty file that stays is in nobody's way.
            let _ = std::fs::remove_file(&self.name);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_run_alone_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        for name in ["state", &"n".repeat(255)] {
            let path = folder.path().join(name);
            let first = Hold::of(&path).unwrap().unwrap();
            assert!(Hold::of(&path).is_err_and(|error| error.to_string().contains("another run has it")));
            let other = Hold::of(&folder.path().join("other")).unwrap();
            assert_eq!(count(), 2, "a file for each, and none for who was refused");
            drop((first, other));
            assert_eq!(count(), 0);
            assert!(Hold::of(&path).unwrap().is_some(), "it is free again");
        }
        // What a run that was killed has left, and what is no run's.
        for (left, stays) in [("", 0), ("words", 1)] {
            std::fs::write(folder.path().join("state.busy"), left).unwrap();
            assert!(Hold::of(&folder.path().join("state")).unwrap().is_some());
            assert_eq!(count(), stays);
        }
    }

    /// Whose lock was taken away by hand takes away nobody else's.
    #[test]
    fn who_comes_later_has_a_lock_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (state, lock) = (folder.path().join("state"), folder.path().join("state.busy"));
        let first = Hold::of(&state).unwrap().unwrap();
        std::fs::remove_file(&lock).unwrap();
        assert!(!first.is_named());
        let second = Hold::of(&state).unwrap().unwrap();
        drop(first);
        assert!(lock.exists() && second.is_named() && Hold::of(&state).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let (state, link) = (folder.path().join("state"), folder.path().join("state.busy"));
        std::os::unix::fs::symlink("elsewhere", &link).unwrap();
        let refused = |path: &Path| Hold::of(path).err().unwrap().to_string();
        assert!(refused(&state).contains("state.busy") && !folder.path().join("elsewhere").exists());
        assert!(refused(folder.path()).contains("not a regular file"));
        assert!(refused(Path::new("/dev/null")).contains("not a regular file"));
        assert!(refused(&folder.path().join("no/such/folder")).contains("folder"));
    }
}
