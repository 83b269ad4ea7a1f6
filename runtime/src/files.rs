//! Files: read whole, written whole, and [`Hold`] by one run alone.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::hash::sha256;

pub use hold::Hold;

mod hold;

/// Opens a regular file. A device or pipe is refused: it may never end.
pub fn open(path: &Path) -> Result<File> {
    let failed = |source| Error::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    File::open(path).map_err(failed)
}

/// Reads a regular file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let (mut file, mut bytes) = (open(path)?, vec![]);
    file.read_to_end(&mut bytes).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(bytes)
}

/// Reads a regular file of text.
pub fn read_text(path: &Path) -> Result<String> {
    let not_text = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(read(path)?).map_err(not_text).map_err(|source| Error::Read { path: path.into(), source })
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
    let target = followed(path);
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
    let target = followed(path);
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

/// Where a path leads, through links, whether or not there is something.
fn followed(path: &Path) -> PathBuf {
    let mut target = path.to_path_buf();
    // What is there is found, pipes among it, whose links have no names; links in a ring lead nowhere.
    for _ in 0..LINKS {
        match std::fs::metadata(&target).is_err().then(|| std::fs::read_link(&target)) {
            Some(Ok(next)) => target = target.parent().map_or(next.clone(), |folder| folder.join(&next)),
            _ => break,
        }
    }
    std::fs::canonicalize(&target).unwrap_or(target)
}

/// Links that are followed, as Linux does.
const LINKS: usize = 40;

/// What is written beside a file before it takes its place.
fn part(target: &Path) -> std::io::Result<PathBuf> {
    // Programs on different machines, or in different containers, may have the same number.
    static BEGUN: LazyLock<u128> =
        LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos()));
    beside(target, &format!(".{}-{:x}.part", std::process::id(), *BEGUN))
}

/// A file whose name is another's with an ending.
fn beside(target: &Path, ending: &str) -> std::io::Result<PathBuf> {
    let mut name = target.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    // A name that is nearly as long as names can be has no room for an ending.
    if name.len() + ending.len() > LONGEST {
        name = sha256([name.as_encoded_bytes()]).into();
    }
    name.push(ending);
    Ok(target.with_file_name(name))
}

/// Bytes that a name has at most.
const LONGEST: usize = 255;

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
        // One that leads to nothing yet, from its own folder on, and one to itself.
        let (dangling, ring) = (folder.path().join("dangling"), folder.path().join("ring"));
        std::os::unix::fs::symlink("later", &dangling).unwrap();
        std::os::unix::fs::symlink("ring", &ring).unwrap();
        check_writable(&dangling).unwrap();
        write_atomically(&dangling, b"new").unwrap();
        assert!(std::fs::symlink_metadata(&dangling).unwrap().is_symlink());
        assert_eq!(std::fs::read(folder.path().join("later")).unwrap(), b"new");
        let long = folder.path().join("n".repeat(255));
        write_atomically(&long, b"new").unwrap();
        assert_eq!(std::fs::read(&long).unwrap(), b"new");
        write_atomically(Path::new("/dev/null"), b"new").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
    }
}
