//! Files: read whole, written whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Reads a regular file. A device or pipe is refused: it may never end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    std::fs::read(path).map_err(failed)
}

/// The same of what is explained or evaluated: where it can't be read, that is the input's fault, not a model's.
pub fn read_input(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|error| match error {
        Error::Read { path, source } => Error::Input { path, reason: format!("cannot be read: {source}") },
        other => other,
    })
}

/// Writes `bytes` beside `path` and renames, so that no reader ever sees half a file and a failure leaves
/// what was there. What is no regular file (`/dev/stdout`, a pipe) is written to, never replaced.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::Write { path: path.into(), source };
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = std::fs::metadata(&target);
    if existing.is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        let mut file = std::fs::OpenOptions::new().write(true).open(&target).map_err(failed)?;
        return file.write_all(bytes).map_err(failed);
    }
    let part = part(&target).map_err(failed)?;
    let written = std::fs::File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, &target));
    written.map_err(|source| {
        // Nothing to be done where even the removal fails; the first error is the one to tell.
        let _ = std::fs::remove_file(&part);
        failed(source)
    })
}

/// Whether [`write_atomically`] could write there now: what takes long is not begun where its result could not be kept.
pub fn check_writable(path: &Path) -> Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let failed = |source| Error::Write { path: path.into(), source };
    match std::fs::metadata(&target) {
        Ok(data) if data.is_dir() => Err(failed(std::io::ErrorKind::IsADirectory.into())),
        // A pipe or device is not opened twice.
        Ok(data) if !data.is_file() => Ok(()),
        _ => {
            let part = part(&target).map_err(failed)?;
            std::fs::File::create(&part).and_then(|_| std::fs::remove_file(&part)).map_err(failed)
        }
    }
}

/// What is written beside a file before it takes its place.
fn part(target: &Path) -> std::io::Result<PathBuf> {
    let mut name = target.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Ok(target.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(write_atomically(&taken, b"x").is_err());
        assert!(write_atomically(&folder.path().join("no/such/folder"), b"x").is_err());
        assert!(check_writable(&taken).is_err() && check_writable(&folder.path().join("no/such/folder")).is_err());
        check_writable(&folder.path().join("free")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_devices_stay_devices() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        write_atomically(Path::new("/dev/null"), b"new").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
    }
}
