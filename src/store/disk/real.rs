//! The port over real files.

mod spares;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};

use super::{
    ALIGN_BYTES, AlignedBuf, Disk, DiskError, DiskErrorKind, DiskFile, DiskLock, Io, Listed,
    ListedKind, Open, Space, check_path,
};
use spares::Spares;

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Enough for a process id; what a stranger left in a lock file is not read further.
const MAX_LOCK_NOTE_BYTES: u64 = 32;

/// Files under a folder of this machine.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    spares: Arc<Spares>,
}

impl RealDisk {
    /// A disk rooted at `root`, which is created (0700, with its parents) if it is missing.
    ///
    /// # Errors
    /// The folder can't be created.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root = root.into();
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(&root)
            .map_err(|source| DiskError::new("create", &root.display().to_string(), source))?;
        Ok(Self { root, spares: Arc::default() })
    }

    /// The root folder.
    #[must_use]
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    fn full(&self, op: &'static str, path: &str) -> Result<PathBuf, DiskError> {
        check_path(op, path)?;
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, how: Open, io: Io) -> Result<Arc<dyn DiskFile>, DiskError> {
        let full = self.full("open", path)?;
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(&full).map_err(|source| DiskError::new("open", path, source))?;
        // A second descriptor for direct I/O: small reads and odd-sized writes stay on the first.
        let direct = match io {
            Io::Direct => OpenOptions::new()
                .read(true)
                .write(how != Open::Read)
                .custom_flags(OFlags::DIRECT.bits().cast_signed())
                .open(&full)
                .inspect_err(|error| {
                    tracing::debug!(path, %error, "direct I/O refused; buffered I/O is used");
                })
                .ok(),
            Io::Buffered => None,
        };
        let works = direct.is_some();
        Ok(Arc::new(RealFile {
            file,
            direct,
            direct_works: AtomicBool::new(works),
            direct_reads_work: AtomicBool::new(works),
            spares: Arc::clone(&self.spares),
            path: path.to_owned(),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.full("rename", from)?, self.full("rename", to)?)
            .map_err(|source| DiskError::new("rename", from, source))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.full("remove", path)?)
            .map_err(|source| DiskError::new("remove", path, source))
    }

    fn list(&self, dir: &str) -> Result<Vec<Listed>, DiskError> {
        let full = self.full("list", dir)?;
        let failed = |source| DiskError::new("list", dir, source);
        let mut listed = Vec::new();
        for entry in fs::read_dir(full).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_dir = entry.file_type().map_err(failed)?.is_dir();
            let kind = if is_dir { ListedKind::Dir } else { ListedKind::File };
            listed.push(Listed { name, kind });
        }
        listed.sort();
        Ok(listed)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let full = self.full("create folder", dir)?;
        match DirBuilder::new().mode(DIR_MODE).create(&full) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && full.is_dir() => Ok(()),
            other => other.map_err(|source| DiskError::new("create folder", dir, source)),
        }
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let full = self.full("sync folder", dir)?;
        let handle =
            File::open(full).map_err(|source| DiskError::new("sync folder", dir, source))?;
        handle.sync_all().map_err(|source| {
            DiskError::new("sync folder", dir, source).with_kind(DiskErrorKind::Sync)
        })
    }

    fn space(&self) -> Result<Space, DiskError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|errno| DiskError::new("measure", "", errno.into()))?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        let full = self.full("lock", path)?;
        let failed = |source| DiskError::new("lock", path, source);
        // Not truncated: the note of a holder must survive a refused attempt.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(full)
            .map_err(failed)?;
        if let Err(errno) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(errno.into()));
            }
            let mut note = String::new();
            // The holder may be writing its note just now; an unreadable note names nobody.
            let holder = match file.by_ref().take(MAX_LOCK_NOTE_BYTES).read_to_string(&mut note) {
                Ok(_) if !note.trim().is_empty() => format!("held by process {}", note.trim()),
                _ => "held by another process".to_owned(),
            };
            return Err(failed(io::Error::new(io::ErrorKind::WouldBlock, holder))
                .with_kind(DiskErrorKind::Locked));
        }
        file.set_len(0).map_err(failed)?;
        file.write_all_at(std::process::id().to_string().as_bytes(), 0).map_err(failed)?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

/// The lock lives as long as the open file description.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    direct: Option<File>,
    /// Cleared when the file system accepts the flag but refuses the write.
    direct_works: AtomicBool,
    /// The same for reads.
    direct_reads_work: AtomicBool,
    spares: Arc<Spares>,
    path: String,
}

impl RealFile {
    fn error(&self, op: &'static str, source: io::Error) -> DiskError {
        DiskError::new(op, &self.path, source)
    }

    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let aligned = offset.is_multiple_of(ALIGN_BYTES as u64)
            && bytes.len().is_multiple_of(ALIGN_BYTES)
            && bytes.as_ptr().addr().is_multiple_of(ALIGN_BYTES);
        let usable = aligned && self.direct_works.load(Ordering::Relaxed);
        self.direct.as_ref().filter(|_| usable)
    }
}

/// Fills `buf`, which is aligned as `offset` is, as far as the file goes.
fn read_direct(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(n) => {
                filled += n;
                // Only the end of the file is off the grid, and nothing could be read from there.
                if n == 0 || !n.is_multiple_of(ALIGN_BYTES) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read", error)),
            }
        }
        Ok(filled)
    }

    fn read_once(&self, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let works = self.direct_reads_work.load(Ordering::Relaxed);
        if let Some(direct) = self.direct.as_ref().filter(|_| works) {
            let shift = (offset % ALIGN_BYTES as u64) as usize;
            let mut buffer = Spares::take(&self.spares, shift + len);
            match read_direct(direct, offset - shift as u64, buffer.as_mut_slice()) {
                Ok(read) => {
                    let end = read.min(shift + len);
                    return Ok(Bytes::from_owner(buffer).slice(shift.min(end)..end));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.direct_reads_work.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(self.error("read", error)),
            }
        }
        self.read_again(offset, len)
    }

    fn read_again(&self, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        // All of what is not cached is asked for at once; by itself the kernel asks for an eighth of a block of
        // 1 MiB after the other. It is advice: where it is not taken, the read says what is wrong.
        if let Some(len) = NonZero::new(len as u64) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), Advice::WillNeed);
        }
        let mut buffer = Spares::take(&self.spares, len);
        let read = self.read_at(offset, &mut buffer.as_mut_slice()[..len])?;
        Ok(Bytes::from_owner(buffer).slice(..read))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(direct) = self.direct_for(offset, bytes) {
            match direct.write_all_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.direct_works.store(false, Ordering::Relaxed);
                }
                other => return other.map_err(|error| self.error("write", error)),
            }
        }
        self.file.write_all_at(bytes, offset).map_err(|error| self.error("write", error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file
            .sync_data()
            .map_err(|error| self.error("sync", error).with_kind(DiskErrorKind::Sync))
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.file.set_len(len_bytes).map_err(|error| self.error("resize", error))
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len_bytes) {
            Ok(()) => Ok(()),
            // Not every file system can reserve; a sparse file keeps the format the same.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                if self.len()? < len_bytes { self.set_len(len_bytes) } else { Ok(()) }
            }
            Err(errno) => Err(self.error("preallocate", errno.into())),
        }
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(|error| self.error("stat", error))?.len())
    }
}
