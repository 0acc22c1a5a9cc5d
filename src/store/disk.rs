//! The port to a disk: the only way this package touches files.
//!
//! Paths are relative to a root folder, `/`-separated, without `.`, `..` or empty components.
//! Durability is explicit, as POSIX has it: bytes survive a crash after [`DiskFile::sync`], names
//! (creations, renames, removals) after [`Disk::sync_dir`] of their folder.

mod aligned;
#[cfg(any(test, feature = "testkit"))]
pub mod contract;
mod real;
#[cfg(any(test, feature = "testkit"))]
mod sim;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub use aligned::{ALIGN_BYTES, AlignedBuf, align_up};
pub use real::RealDisk;
#[cfg(any(test, feature = "testkit"))]
pub use sim::{Aftermath, CrashReport, Full, Loss, SimDisk};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use sim::{NO_ROOM, SYNC_FAILED};

/// What went wrong on the disk, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No space is left (or a quota is used up). State is intact; retry after space was freed.
    Full,
    /// The file system refuses writes. State is intact; an operator has to act.
    ReadOnly,
    /// A sync failed: what was written since the last sync may be lost although reads still show
    /// it. Final: never retry, close and reopen what was being written.
    Sync,
    /// Nothing is there under this name. State is intact.
    NotFound,
    /// Another process holds the lock. State is intact; retry when it has ended.
    Locked,
    /// Anything else, such as an I/O error or a refused permission. A write may be half done.
    Other,
}

/// A failed disk operation: what was tried, on which path, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} {path}: {source}")]
pub struct DiskError {
    /// What a caller can do about it.
    pub kind: DiskErrorKind,
    /// The operation, as a verb.
    pub op: &'static str,
    /// The path, relative to the disk's root.
    pub path: String,
    /// The cause.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Whether this is [`DiskErrorKind::Full`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind == DiskErrorKind::Full
    }

    /// Whether this is [`DiskErrorKind::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == DiskErrorKind::NotFound
    }

    /// Classifies an I/O error; a caller that syncs overrides the kind with `Sync`.
    #[must_use]
    pub fn new(op: &'static str, path: &str, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::Full,
            io::ErrorKind::ReadOnlyFilesystem => DiskErrorKind::ReadOnly,
            io::ErrorKind::NotFound => DiskErrorKind::NotFound,
            _ => DiskErrorKind::Other,
        };
        Self { kind, op, path: path.to_owned(), source }
    }

    /// The same, as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: DiskErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file for reading and writing; an existing one is emptied.
    Create,
}

/// How writes reach the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Through the page cache.
    Buffered,
    /// Past the page cache where the file system allows it and where the buffer, its length and
    /// the offset are multiples of [`ALIGN_BYTES`]; otherwise buffered. Reads are always buffered.
    Direct,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The last component of the path.
    pub name: String,
    /// File or folder.
    pub kind: ListedKind,
}

/// What a [`Listed`] name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListedKind {
    /// A regular file (or anything else that is not a folder).
    File,
    /// A folder.
    Dir,
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total_bytes: u64,
    /// What an unprivileged process may still allocate.
    pub free_bytes: u64,
}

/// Files under one root folder. New files are readable by their owner only (0600, folders 0700).
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file. A created name is durable after [`Disk::sync_dir`] of its folder.
    fn open(&self, path: &str, how: Open, io: Io) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Atomically replaces `to` by `from`, within one folder.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file. Open handles stay readable.
    fn remove(&self, path: &str) -> Result<(), DiskError>;
    /// Names in a folder, sorted. The root is the empty path.
    fn list(&self, dir: &str) -> Result<Vec<Listed>, DiskError>;
    /// Creates one folder whose parent exists; an existing folder is left as it is.
    fn create_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Room on the file system of the root.
    fn space(&self) -> Result<Space, DiskError>;
    /// Takes the exclusive lock that `path` stands for, creating the file, or fails with
    /// [`DiskErrorKind::Locked`] and a source that names the holder. Ends with the guard or the process.
    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, DiskError>;
}

/// An open file. All methods take `&self`; writers of one file agree on offsets among themselves.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Fills `buf` from `offset`; less than its length only where the file ends.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError>;
    /// Up to `len` bytes from `offset`; fewer only where the file ends. For large pieces that nobody is
    /// expected to read again soon: where the disk can, they go past its cache.
    fn read_once(&self, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        self.read_again(offset, len)
    }
    /// The same for large pieces that are read again and again: the disk's cache keeps them.
    fn read_again(&self, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let mut bytes = vec![0; len];
        let read = self.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes.into())
    }
    /// Writes all of `bytes` at `offset`, growing the file. On failure a part may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes all that was written durable (data and length).
    fn sync(&self) -> Result<(), DiskError>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len_bytes: u64) -> Result<(), DiskError>;
    /// Grows the file to at least `len_bytes` of allocated zeros, so that later writes within
    /// can't run out of space where the file system supports it.
    fn preallocate(&self, len_bytes: u64) -> Result<(), DiskError>;
    /// Current length.
    fn len(&self) -> Result<u64, DiskError>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Writes at the end and returns the offset. For files with one writer.
    fn append(&self, bytes: &[u8]) -> Result<u64, DiskError> {
        let offset = self.len()?;
        self.write_at(offset, bytes)?;
        Ok(offset)
    }
}

/// An exclusive lock, held until it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// Creates `dir` and its missing parents, and makes each of the names durable.
///
/// # Errors
/// The failed step; what was created before it stays.
pub fn create_dir_durable(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
    let mut parent = "";
    for end in dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]) {
        let path = &dir[..end];
        if !path.is_empty() {
            disk.create_dir(path)?;
            disk.sync_dir(parent)?;
            parent = path;
        }
    }
    Ok(())
}

/// The folder part of a path; empty for a name in the root.
#[must_use]
pub fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Joins a folder and a name; the root folder is the empty path.
#[must_use]
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Refuses paths that could leave the root, for whoever implements [`Disk`].
///
/// # Errors
/// The path is not relative and plain; the error names `op`.
pub fn check_path(op: &'static str, path: &str) -> Result<(), DiskError> {
    let fine = path.is_empty()
        || path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    if fine {
        Ok(())
    } else {
        let cause = io::Error::new(io::ErrorKind::InvalidInput, "path is not relative and plain");
        Err(DiskError::new(op, path, cause))
    }
}
