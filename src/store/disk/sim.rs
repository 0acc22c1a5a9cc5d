//! A disk in memory that forgets like a real one.
//!
//! It keeps two views: what reads see, and what would survive a power cut. Syncs move bytes (and,
//! for folders, names) from the first to the second. [`SimDisk::crash`] decides from the seed, for
//! every unsynced write, whether it is kept, dropped or torn at some byte or sector, and likewise
//! for every unsynced creation, rename and removal. The same seed and the same calls give the same
//! bytes.

mod faults;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::faults::{Aftermath, CrashReport, Full, Loss};
pub(crate) use self::faults::{NO_ROOM, SYNC_FAILED};
use self::state::{Change, Node, State, Step};
use super::{
    Disk, DiskError, DiskErrorKind, DiskFile, DiskLock, Io, Listed, ListedKind, Open, Space,
    check_path, parent_of,
};

/// A simulated disk; clones are handles to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk of unlimited size whose faults are drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of another test thread leaves plain data behind; it is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hash-ready dump of what reads see: every path with its bytes, sorted.
    #[must_use]
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        self.state().dump()
    }

    fn change_name(&self, op: &'static str, path: &str, change: Change) -> Result<(), DiskError> {
        let mut state = self.state();
        let step = state.step(op, path)?;
        state.change_name(change);
        state.finish(step, op, path)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, how: Open, _io: Io) -> Result<Arc<dyn DiskFile>, DiskError> {
        check_path("open", path)?;
        let mut state = self.state();
        state.check_up("open", path)?;
        let inode = match (state.lookup(path), how) {
            (Some(Node::Dir), _) => {
                let cause = io::Error::new(io::ErrorKind::IsADirectory, "is a folder");
                return Err(DiskError::new("open", path, cause));
            }
            (Some(Node::File(inode)), Open::Create) => {
                let step = state.step("open", path)?;
                state.set_len(inode, 0);
                state.finish(step, "open", path)?;
                inode
            }
            (Some(Node::File(inode)), _) => inode,
            (None, Open::Create) => {
                state.require_dir("open", parent_of(path))?;
                state.check_room_for_name("open", path)?;
                let step = state.step("open", path)?;
                let inode = state.new_inode();
                let node = Node::File(inode);
                state.change_name(Change::Link { path: path.to_owned(), node });
                state.finish(step, "open", path)?;
                inode
            }
            (None, _) => return Err(State::not_found("open", path)),
        };
        let epoch = state.epoch;
        state.hold(inode);
        let writable = how != Open::Read;
        drop(state);
        Ok(Arc::new(SimFile { disk: self.clone(), inode, epoch, writable, path: path.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_path("rename", to)?;
        let node = {
            let state = self.state();
            state.check_up("rename", from)?;
            state.lookup(from).ok_or_else(|| State::not_found("rename", from))?
        };
        let change = Change::Rename { from: from.to_owned(), to: to.to_owned(), node };
        self.change_name("rename", from, change)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        {
            let state = self.state();
            state.check_up("remove", path)?;
            state.file_at("remove", path)?;
        }
        self.change_name("remove", path, Change::Unlink { path: path.to_owned() })
    }

    fn list(&self, dir: &str) -> Result<Vec<Listed>, DiskError> {
        check_path("list", dir)?;
        let state = self.state();
        state.check_up("list", dir)?;
        state.require_dir("list", dir)?;
        Ok(state
            .children(dir)
            .map(|(name, node)| Listed {
                name: name.to_owned(),
                kind: if node == Node::Dir { ListedKind::Dir } else { ListedKind::File },
            })
            .collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        check_path("create folder", dir)?;
        {
            let state = self.state();
            state.check_up("create folder", dir)?;
            match state.lookup(dir) {
                Some(Node::Dir) => return Ok(()),
                Some(Node::File(_)) => {
                    let cause = io::Error::new(io::ErrorKind::AlreadyExists, "is a file");
                    return Err(DiskError::new("create folder", dir, cause));
                }
                None => state.require_dir("create folder", parent_of(dir))?,
            }
            state.check_room_for_name("create folder", dir)?;
        }
        let change = Change::Link { path: dir.to_owned(), node: Node::Dir };
        self.change_name("create folder", dir, change)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        check_path("sync folder", dir)?;
        let mut state = self.state();
        state.require_dir("sync folder", dir)?;
        let step = state.step("sync folder", dir)?;
        if let Some(aftermath) = state.name_sync_fails() {
            if aftermath == Aftermath::Written {
                state.sync_names(dir);
            }
            return Err(faults::sync_failed("sync folder", dir));
        }
        if step == Step::Done || state.coin() {
            state.sync_names(dir);
        }
        state.finish(step, "sync folder", dir)
    }

    fn space(&self) -> Result<Space, DiskError> {
        let state = self.state();
        state.check_up("measure", "")?;
        let free_bytes = state.free_bytes();
        Ok(Space { total_bytes: state.capacity_bytes, free_bytes })
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        if let Err(error) = self.open(path, Open::Write, Io::Buffered) {
            if !error.is_not_found() {
                return Err(error);
            }
            self.open(path, Open::Create, Io::Buffered)?;
        }
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            let cause = io::Error::new(io::ErrorKind::WouldBlock, "held by another process");
            return Err(DiskError::new("lock", path, cause).with_kind(DiskErrorKind::Locked));
        }
        let epoch = state.epoch;
        drop(state);
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), epoch }))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
    epoch: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // After a crash the lock is somebody else's.
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    epoch: u64,
    writable: bool,
    path: String,
}

impl SimFile {
    /// The disk's state, if this handle's process is still alive.
    fn alive(&self, op: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.disk.state();
        state.check_up(op, &self.path)?;
        if state.epoch == self.epoch {
            Ok(state)
        } else {
            Err(DiskError::new(op, &self.path, io::Error::other("the process has ended")))
        }
    }

    fn alive_for_writing(&self, op: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        if self.writable {
            return self.alive(op);
        }
        let cause = io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading");
        Err(DiskError::new(op, &self.path, cause))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A crash has forgotten the handles of the processes before it.
        if state.epoch == self.epoch {
            state.release(self.inode);
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        Ok(self.alive("read")?.read(self.inode, offset, buf))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.alive_for_writing("write")?;
        let end = offset + bytes.len() as u64;
        if let Err(full) = state.check_room("write", &self.path, self.inode, end) {
            state.write_some_pages(self.inode, offset, bytes);
            return Err(full);
        }
        let step = state.step("write", &self.path)?;
        state.write(self.inode, offset, bytes);
        state.finish(step, "write", &self.path)
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.alive("sync")?;
        let step = state.step("sync", &self.path)?;
        if let Some(aftermath) = state.sync_fails() {
            state.end_failed_sync(self.inode, aftermath);
            return Err(faults::sync_failed("sync", &self.path));
        }
        if step == Step::Done || state.coin() {
            state.sync_file(self.inode);
        }
        state.finish(step, "sync", &self.path)
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), DiskError> {
        let mut state = self.alive_for_writing("resize")?;
        state.check_room("resize", &self.path, self.inode, len_bytes)?;
        let step = state.step("resize", &self.path)?;
        state.set_len(self.inode, len_bytes);
        state.finish(step, "resize", &self.path)
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        if len_bytes > self.len()? { self.set_len(len_bytes) } else { Ok(()) }
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.alive("stat")?.len(self.inode))
    }
}
