//! Unpacks what `get` receives: all of it appears under its name, or nothing does.
//!
//! Content is foreign: names may be hostile. Everything is made in a new folder beside the destination,
//! where no link can lead out, and links are made last.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::CliError;
use crate::http::tarball::{EntryKind, TarError, read_entries};

/// Links are kept in memory until the end; more than this is no tree that anybody made by hand.
const SYMLINKS_MAX: usize = 1_000_000;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unpacked {
    /// Files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Nothing is overwritten.
pub fn refuse_existing(dest: &Path) -> Result<(), CliError> {
    match dest.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("look at", dest, &error)),
        Ok(_) => Err(CliError::new("E_DESTINATION", format!("{} exists already", dest.display()))
            .hint("name another one with -o, or move it away")),
    }
}

/// The folder that `dest` is to appear in: what is staged for it is made there, on one file system.
pub(super) fn folder_of(dest: &Path) -> &Path {
    match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Unpacks an archive as `dest`. On an error nothing is left behind.
pub fn unpack(
    archive: impl Read,
    dest: &Path,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Unpacked, CliError> {
    refuse_existing(dest)?;
    let staging = Staging::new(dest)?;
    let mut tree = Tree {
        root: staging.folder.join("content"),
        symlinks: Vec::new(),
        done: Unpacked::default(),
        on_bytes,
    };
    read_entries(archive, |path, kind, bytes| tree.entry(path, kind, bytes))?;
    let (root, done) = tree.finish()?;
    move_into_place(&root, dest)?;
    Ok(done)
}

impl From<TarError> for CliError {
    fn from(error: TarError) -> Self {
        Self::new("E_PROTOCOL", error.to_string()).because_source(&error)
    }
}

/// A folder beside the destination, on the same file system; it goes with everything still in it.
struct Staging {
    folder: PathBuf,
}

impl Staging {
    fn new(dest: &Path) -> Result<Self, CliError> {
        let parent = folder_of(dest);
        let name = dest.file_name().unwrap_or(OsStr::new("root")).to_string_lossy();
        let short: String = name.chars().take(50).collect();
        let folder = parent.join(format!(".{short}.{}.partial", std::process::id()));
        let created = fs::DirBuilder::new().mode(0o700).create(&folder);
        created.map_err(|error| cannot("create", &folder, &error))?;
        Ok(Self { folder })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

struct Tree<'a> {
    root: PathBuf,
    symlinks: Vec<(PathBuf, Vec<u8>)>,
    done: Unpacked,
    on_bytes: &'a mut dyn FnMut(u64),
}

impl Tree<'_> {
    fn entry(
        &mut self,
        names: &[Vec<u8>],
        kind: &EntryKind,
        bytes: &mut dyn Read,
    ) -> Result<(), CliError> {
        let mut path = self.root.clone();
        path.extend(names.iter().map(|name| OsStr::from_bytes(name)));
        match kind {
            EntryKind::Directory => {
                fs::create_dir(&path).map_err(|error| cannot("create", &path, &error))?;
                self.done.directories += 1;
            }
            EntryKind::File { .. } => self.file(&path, bytes)?,
            EntryKind::Handed => {
                let message = format!("the archive leaves the bytes of {} out", path.display());
                return Err(CliError::new("E_PROTOCOL", message));
            }
            EntryKind::Symlink { target } => {
                if self.symlinks.len() == SYMLINKS_MAX {
                    let message = format!("more than {SYMLINKS_MAX} symbolic links");
                    return Err(CliError::new("E_TOO_LARGE", message));
                }
                self.symlinks.push((path, target.clone()));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, bytes: &mut dyn Read) -> Result<(), CliError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = file.map_err(|error| cannot("create", path, &error))?;
        let before = self.done.bytes;
        let mut counted = Counted { inner: bytes, count: before, on_bytes: &mut *self.on_bytes };
        let written = copy(&mut counted, &mut file, path)?;
        self.done.bytes = before + written;
        self.done.files += 1;
        Ok(())
    }

    /// Makes the links, now that nothing is written through them any more.
    fn finish(mut self) -> Result<(PathBuf, Unpacked), CliError> {
        for (path, target) in &self.symlinks {
            std::os::unix::fs::symlink(OsStr::from_bytes(target), path)
                .map_err(|error| cannot("create", path, &error))?;
            self.done.symlinks += 1;
        }
        if self.root.symlink_metadata().is_err() {
            return Err(CliError::new("E_PROTOCOL", "the node sent an empty archive"));
        }
        Ok((self.root, self.done))
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    count: u64,
    on_bytes: &'a mut dyn FnMut(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        (self.on_bytes)(self.count);
        Ok(read)
    }
}

/// Copies, and tells an archive that breaks off from a disk that is full.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<u64, CliError> {
    const BUFFER_LEN_BYTES: usize = 256 * 1024;
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    let mut written_bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| {
                let message = format!("the archive breaks off in {}", path.display());
                CliError::new("E_IO", message).because(&error)
            })?,
        };
        if read == 0 {
            return Ok(written_bytes);
        }
        io::Write::write_all(to, &buffer[..read]).map_err(|error| cannot("write", path, &error))?;
        written_bytes += read as u64;
    }
}

/// Renames without overwriting what may have appeared meanwhile.
fn move_into_place(from: &Path, dest: &Path) -> Result<(), CliError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, dest, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every file system knows the flag; then looking first is the best there is.
        Err(Errno::INVAL | Errno::NOSYS) => {
            refuse_existing(dest)?;
            fs::rename(from, dest).map_err(|error| cannot("create", dest, &error))
        }
        Err(Errno::EXIST) => refuse_existing(dest),
        Err(error) => Err(cannot("create", dest, &error.into())),
    }
}

pub(super) fn cannot(verb: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::new("E_DESTINATION", format!("cannot {verb} {}", path.display())).because(error)
}

#[cfg(test)]
mod tests;
