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

/// Makes the folder a node's.
const VERSION_FILE: &str = "version";
/// Says that all in the folder is of a node that is being made; the last step gives it the name above.
pub const UNFINISHED_FILE: &str = "unfinished";
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

/// A locked folder of a known format.
#[derive(Debug)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    version: u32,
    _lock: Box<dyn DiskLock>,
}

/// A locked folder in which a node is being made. Until [`NewFolder::finish`] it is no node's: dropped, or left by
/// a crash at any point, it can be begun again.
#[derive(Debug)]
pub struct NewFolder {
    disk: Arc<dyn Disk>,
    lock: Box<dyn DiskLock>,
}

impl NewFolder {
    /// Takes the lock of an empty folder, or of one in which the making of a node was interrupted; of that,
    /// everything but what is written anew stays.
    ///
    /// # Errors
    /// See [`FolderError`]; a refused folder is as it was before.
    pub fn begin(disk: Arc<dyn Disk>) -> Result<Self, FolderError> {
        // Before the lock file is created: a folder that is refused must stay untouched.
        check_free(&*disk)?;
        let lock = lock(&*disk)?;
        // Again, because another process may have made a node between the check and the lock.
        check_free(&*disk)?;
        let line = format!("{VERSION_PREFIX}{FOLDER_VERSION}\n");
        write_atomic(&*disk, UNFINISHED_FILE, line.as_bytes())?;
        Ok(Self { disk, lock })
    }

    /// Makes it the folder of the node whose files are in it; durable on return, with the names of all files
    /// in its root. What they hold is for their writers to sync before.
    ///
    /// # Errors
    /// The disk's. The folder is a node's or can be begun again.
    pub fn finish(self) -> Result<Folder, FolderError> {
        let Self { disk, lock } = self;
        // None of the names may come later than the one that says that all are there.
        disk.sync_dir("")?;
        disk.rename(UNFINISHED_FILE, VERSION_FILE)?;
        disk.sync_dir("")?;
        Ok(Folder { disk, version: FOLDER_VERSION, _lock: lock })
    }
}

impl Folder {
    /// Checks the version and takes the lock.
    ///
    /// # Errors
    /// See [`FolderError`]; a refused folder is as it was before.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, FolderError> {
        // Before the lock file is created: a folder that is refused must stay untouched.
        version_of(&*disk)?.ok_or(FolderError::Missing)?;
        let lock = lock(&*disk)?;
        let version = version_of(&*disk)?.ok_or(FolderError::Missing)?;
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

fn lock(disk: &dyn Disk) -> Result<Box<dyn DiskLock>, FolderError> {
    disk.lock(LOCK_FILE).map_err(|error| match error.kind {
        DiskErrorKind::Locked => FolderError::Locked { holder: error.source.to_string() },
        _ => error.into(),
    })
}

/// Refuses a folder in which no node may be made.
fn check_free(disk: &dyn Disk) -> Result<(), FolderError> {
    if version_of(disk)?.is_some() {
        return Err(FolderError::Exists);
    }
    let found = disk.list("")?;
    if found.iter().any(|entry| entry.name == UNFINISHED_FILE) {
        return Ok(());
    }
    // What is left of an attempt that ended before it had its name.
    let own = [LOCK_FILE.to_owned(), format!("{UNFINISHED_FILE}{TEMPORARY}")];
    match found.into_iter().find(|entry| !own.contains(&entry.name)) {
        Some(entry) => Err(FolderError::Foreign { found: entry.name }),
        None => Ok(()),
    }
}

/// The version found, or `None` where there is no node; refuses those that are not read.
fn version_of(disk: &dyn Disk) -> Result<Option<u32>, FolderError> {
    let bytes = match read_bounded(disk, VERSION_FILE, MAX_VERSION_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(FileError::Disk(error)) => return Err(error.into()),
        Err(_) => return Err(FolderError::BadVersion),
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
    Ok(Some(version))
}
