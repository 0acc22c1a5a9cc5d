//! The node's folder: whose it is, which format it has, and that only one process uses it.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::disk::{Disk, DiskError, DiskErrorKind, DiskLock};
use crate::files::{FileError, TEMPORARY, read_bounded, write_atomic};

/// The format this program writes. A folder of an older one that is read is migrated by its opener.
pub const FOLDER_VERSION: u32 = 2;
/// The oldest format this program reads. In format 1 pins were encoded otherwise; no release wrote it.
const OLDEST_VERSION: u32 = 2;

const VERSION_FILE: &str = "version";
const LOCK_FILE: &str = "lock";
const VERSION_PREFIX: &str = "ipfs-kit folder ";
const MAX_VERSION_BYTES: u64 = 64;

/// The folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A newer program wrote it. It was not touched; use that program.
    #[error("the folder has format version {found}, newer than {supported}; it was left untouched")]
    Newer {
        /// The folder's format.
        found: u32,
        /// The newest format this program knows.
        supported: u32,
    },
    /// A program of before the first release wrote it. It was not touched; use that program.
    #[error("the folder has format version {found}, older than {oldest}; it was left untouched")]
    Older {
        /// The folder's format.
        found: u32,
        /// The oldest format this program reads.
        oldest: u32,
    },
    /// It holds other files and no version. It was not touched; choose another folder.
    #[error("the folder is not empty and not a node's folder (it holds {found})")]
    Foreign {
        /// One of the names in it.
        found: String,
    },
    /// The version file is unreadable. It was not touched; restore the file.
    #[error("the folder's version file is damaged")]
    BadVersion,
    /// There is no node in this folder. It was not touched; initialise it first.
    #[error("the folder holds no node")]
    Missing,
    /// There is a node in this folder already. It was not touched.
    #[error("the folder holds a node already")]
    Exists,
    /// Another process uses it. It was not touched; retry when that process has ended.
    #[error("the folder is in use: {holder}")]
    Locked {
        /// Who holds the lock, with the process id where it is known.
        holder: String,
    },
    /// The disk failed; see its kind.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Whether [`Folder::open`] makes a new node's folder or wants an existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// An empty folder, which gets a version file.
    New,
    /// A folder with a version file.
    Existing,
    /// Either.
    Any,
}

/// A locked folder of a known format.
#[derive(Debug)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    version: u32,
    _lock: Box<dyn DiskLock>,
}

impl Folder {
    /// Checks the version, takes the lock and, for a new folder, writes the version.
    ///
    /// # Errors
    /// See [`FolderError`]; a refused folder is as it was before.
    pub fn open(disk: Arc<dyn Disk>, expect: Expect) -> Result<Self, FolderError> {
        // Before the lock file is created: a folder that is refused must stay untouched.
        check(&*disk, expect)?;
        let lock = disk.lock(LOCK_FILE).map_err(|error| match error.kind {
            DiskErrorKind::Locked => FolderError::Locked { holder: error.source.to_string() },
            _ => error.into(),
        })?;
        // Again, because another process may have initialised it between the check and the lock.
        let version = match check(&*disk, expect)? {
            Some(version) => version,
            None => {
                let line = format!("{VERSION_PREFIX}{FOLDER_VERSION}\n");
                write_atomic(&*disk, VERSION_FILE, line.as_bytes())?;
                FOLDER_VERSION
            }
        };
        // What a killed process had renamed counts from now on, so it must outlive a power cut.
        disk.sync_dir("")?;
        Ok(Self { disk, version, _lock: lock })
    }

    /// The disk whose root is this folder.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder's format, at most [`FOLDER_VERSION`].
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// The version found, or `None` for an empty folder; refuses what doesn't fit.
fn check(disk: &dyn Disk, expect: Expect) -> Result<Option<u32>, FolderError> {
    let bytes = match read_bounded(disk, VERSION_FILE, MAX_VERSION_BYTES) {
        Ok(bytes) => bytes,
        Err(FileError::Disk(error)) => return Err(error.into()),
        Err(_) => return Err(FolderError::BadVersion),
    };
    let Some(bytes) = bytes else {
        if expect == Expect::Existing {
            return Err(FolderError::Missing);
        }
        // What an interrupted initialisation leaves is no reason to refuse.
        let own = [LOCK_FILE.to_owned(), format!("{VERSION_FILE}{TEMPORARY}")];
        return match disk.list("")?.into_iter().find(|entry| !own.contains(&entry.name)) {
            Some(entry) => Err(FolderError::Foreign { found: entry.name }),
            None => Ok(None),
        };
    };
    let version = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|line| line.strip_prefix(VERSION_PREFIX)?.trim_end().parse::<u32>().ok())
        .filter(|version| *version > 0)
        .ok_or(FolderError::BadVersion)?;
    if version > FOLDER_VERSION {
        return Err(FolderError::Newer { found: version, supported: FOLDER_VERSION });
    }
    if version < OLDEST_VERSION {
        return Err(FolderError::Older { found: version, oldest: OLDEST_VERSION });
    }
    if expect == Expect::New {
        return Err(FolderError::Exists);
    }
    Ok(Some(version))
}
