//! A real disk on which a killed process loses what a power cut would take: bytes that were not synced, and
//! names whose folder was not. The kernel's page cache hides a missing sync otherwise.
//!
//! What is not synced stays in this process. As on a real disk a part of it may land before: by chance, in
//! order, the last write torn at a sector. Files and folders whose names are not durable really lie in a
//! folder of this process beside the others, which the next one that takes the lock throws away.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipfs_kit_store::disk::{
    Disk, DiskError, DiskFile, DiskLock, Io, Listed, ListedKind, Open, RealDisk, Space, check_path,
    join, parent_of,
};

mod file;
mod luck;
#[cfg(test)]
mod tests;

use file::{HeldFile, Unsynced};
pub use luck::Landing;
use luck::Luck;

/// What the folders of names that are not durable are called, before a process id.
const ASIDE: &str = "unsynced-";

/// See the module.
#[derive(Debug)]
pub struct PowerLossDisk {
    real: RealDisk,
    aside: String,
    /// Below this folder a sync says that it is done and does nothing.
    forgetful: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    folders: BTreeMap<String, FolderView>,
    /// What was put aside so far.
    count: u64,
    luck: Luck,
}

/// A folder as this process sees it, where that differs from the durable one or a file of it was opened.
#[derive(Debug)]
struct FolderView {
    /// Where it really is.
    real: String,
    /// `None`: removed.
    names: BTreeMap<String, Option<Entry>>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Entry {
    File(Arc<Unsynced>),
    Folder,
}

/// A change of a folder's names that is not durable.
#[derive(Debug)]
enum Change {
    File { aside: String, name: String },
    Folder { aside: String, name: String },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl PowerLossDisk {
    /// A disk over `real`. What lands without a sync follows from the seed.
    ///
    /// # Errors
    /// The folder for what is put aside can't be made.
    pub fn new(real: RealDisk, landing: Landing, seed: u64) -> Result<Self, DiskError> {
        let aside = format!("{ASIDE}{}", std::process::id());
        discard(real.root().join(&aside))?;
        real.create_dir(&aside)?;
        let luck = Luck::new(landing, seed);
        let state = Mutex::new(State { folders: BTreeMap::new(), count: 0, luck });
        Ok(Self { real, aside, forgetful: None, state })
    }

    /// Below a folder syncs do nothing any more, as if they had been left out of the program: whoever looks
    /// for losses must then find some.
    #[must_use]
    pub fn forgetting(mut self, dir: Option<String>) -> Self {
        self.forgetful = dir;
        self
    }

    fn forgets(&self, path: &str) -> bool {
        self.forgetful.as_ref().is_some_and(|dir| path.starts_with(dir))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for something whose name is not durable.
    fn put_aside(&self, state: &mut State) -> String {
        state.count += 1;
        join(&self.aside, &state.count.to_string())
    }

    /// What a name stands for: known to this process, or found on the disk.
    fn entry(&self, state: &mut State, path: &str) -> Result<Option<Entry>, DiskError> {
        let (dir, name) = (parent_of(path), name_of(path));
        let folder = self.folder(state, dir)?;
        if let Some(known) = folder.names.get(name) {
            return Ok(known.clone());
        }
        let real = join(&folder.real, name);
        let Ok(metadata) = fs::symlink_metadata(self.real.root().join(&real)) else {
            return Ok(None);
        };
        if metadata.is_dir() {
            return Ok(Some(Entry::Folder));
        }
        let file = self.real.open(&real, Open::Write, Io::Buffered)?;
        let entry = Entry::File(Arc::new(Unsynced::new(file, state.luck.fork())?));
        self.folder(state, dir)?.names.insert(name.to_owned(), Some(entry.clone()));
        Ok(Some(entry))
    }

    fn folder<'s>(&self, state: &'s mut State, dir: &str) -> Result<&'s mut FolderView, DiskError> {
        if !state.folders.contains_key(dir) {
            self.real.list(dir)?;
            let (names, unsynced) = (BTreeMap::new(), Vec::new());
            let view = FolderView { real: dir.to_owned(), names, unsynced };
            state.folders.insert(dir.to_owned(), view);
        }
        Ok(state.folders.get_mut(dir).expect("it was inserted"))
    }

    /// Notes a change of names; by chance some of those that wait become durable.
    fn change(&self, state: &mut State, dir: &str, change: Change) -> Result<(), DiskError> {
        let folder = self.folder(state, dir)?;
        folder.unsynced.push(change);
        let waiting = folder.unsynced.len();
        let landing = state.luck.lands(waiting);
        self.land(state, dir, landing)
    }

    /// Carries out the first `count` changes of names that wait.
    fn land(&self, state: &mut State, dir: &str, count: usize) -> Result<(), DiskError> {
        let folder = self.folder(state, dir)?;
        let real = folder.real.clone();
        let landing: Vec<Change> = folder.unsynced.drain(..count).collect();
        for change in landing {
            match change {
                Change::File { aside, name } => self.real.rename(&aside, &join(&real, &name))?,
                Change::Folder { aside, name } => {
                    let place = join(&real, &name);
                    self.real.rename(&aside, &place)?;
                    state.moved(&aside, &place);
                }
                Change::Rename { from, to } => {
                    self.real.rename(&join(&real, &from), &join(&real, &to))?;
                }
                Change::Remove { name } => self.real.remove(&join(&real, &name))?,
            }
        }
        Ok(())
    }
}

impl State {
    /// A folder is at another place now, with all below it.
    fn moved(&mut self, from: &str, to: &str) {
        for folder in self.folders.values_mut() {
            if let Some(below) = folder.real.strip_prefix(from)
                && (below.is_empty() || below.starts_with('/'))
            {
                folder.real = format!("{to}{below}");
            }
        }
    }
}

impl Disk for PowerLossDisk {
    fn open(&self, path: &str, how: Open, _: Io) -> Result<Arc<dyn DiskFile>, DiskError> {
        check_path("open", path)?;
        let mut state = self.state();
        let file = match (self.entry(&mut state, path)?, how) {
            (Some(Entry::Folder), _) => {
                return Err(failed("open", path, io::ErrorKind::IsADirectory));
            }
            (Some(Entry::File(file)), _) => file,
            (None, Open::Read | Open::Write) => {
                return Err(failed("open", path, io::ErrorKind::NotFound));
            }
            (None, Open::Create) => {
                let aside = self.put_aside(&mut state);
                let real = self.real.open(&aside, Open::Create, Io::Buffered)?;
                let file = Arc::new(Unsynced::new(real, state.luck.fork())?);
                let name = name_of(path).to_owned();
                let entry = Some(Entry::File(Arc::clone(&file)));
                self.folder(&mut state, parent_of(path))?.names.insert(name.clone(), entry);
                self.change(&mut state, parent_of(path), Change::File { aside, name })?;
                file
            }
        };
        let file = HeldFile::new(file, path, how != Open::Read, self.forgets(path));
        if how == Open::Create {
            file.set_len(0)?;
        }
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_path("rename", from).and(check_path("rename", to))?;
        let dir = parent_of(from);
        if dir != parent_of(to) {
            return Err(failed("rename", from, io::ErrorKind::CrossesDevices));
        }
        let mut state = self.state();
        let entry = self.entry(&mut state, from)?;
        let entry = entry.ok_or_else(|| failed("rename", from, io::ErrorKind::NotFound))?;
        let (from, to) = (name_of(from).to_owned(), name_of(to).to_owned());
        let names = &mut self.folder(&mut state, dir)?.names;
        names.insert(from.clone(), None);
        names.insert(to.clone(), Some(entry));
        self.change(&mut state, dir, Change::Rename { from, to })
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        check_path("remove", path)?;
        let mut state = self.state();
        match self.entry(&mut state, path)? {
            None => return Err(failed("remove", path, io::ErrorKind::NotFound)),
            Some(Entry::Folder) => {
                return Err(failed("remove", path, io::ErrorKind::IsADirectory));
            }
            Some(Entry::File(_)) => {}
        }
        let (dir, name) = (parent_of(path), name_of(path).to_owned());
        self.folder(&mut state, dir)?.names.insert(name.clone(), None);
        self.change(&mut state, dir, Change::Remove { name })
    }

    fn list(&self, dir: &str) -> Result<Vec<Listed>, DiskError> {
        check_path("list", dir)?;
        let mut state = self.state();
        let folder = self.folder(&mut state, dir)?;
        let mut listed: BTreeMap<String, ListedKind> =
            self.real.list(&folder.real)?.into_iter().map(|one| (one.name, one.kind)).collect();
        for (name, entry) in &folder.names {
            match entry {
                None => listed.remove(name),
                Some(Entry::File(_)) => listed.insert(name.clone(), ListedKind::File),
                Some(Entry::Folder) => listed.insert(name.clone(), ListedKind::Dir),
            };
        }
        listed.retain(|name, _| !(dir.is_empty() && name.starts_with(ASIDE)));
        Ok(listed.into_iter().map(|(name, kind)| Listed { name, kind }).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        check_path("create folder", dir)?;
        let mut state = self.state();
        match self.entry(&mut state, dir)? {
            Some(Entry::Folder) => return Ok(()),
            Some(Entry::File(_)) => {
                return Err(failed("create folder", dir, io::ErrorKind::AlreadyExists));
            }
            None => {}
        }
        let aside = self.put_aside(&mut state);
        self.real.create_dir(&aside)?;
        let (names, unsynced) = (BTreeMap::new(), Vec::new());
        let view = FolderView { real: aside.clone(), names, unsynced };
        state.folders.insert(dir.to_owned(), view);
        let (parent, name) = (parent_of(dir), name_of(dir).to_owned());
        self.folder(&mut state, parent)?.names.insert(name.clone(), Some(Entry::Folder));
        self.change(&mut state, parent, Change::Folder { aside, name })
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        check_path("sync folder", dir)?;
        if self.forgets(dir) {
            return Ok(());
        }
        let mut state = self.state();
        let waiting = self.folder(&mut state, dir)?.unsynced.len();
        self.land(&mut state, dir, waiting)?;
        let folder = self.folder(&mut state, dir)?;
        // The names are as they are on the disk; what nobody has open need not be known here.
        folder.names.retain(|_, entry| match entry {
            Some(Entry::File(file)) => Arc::strong_count(file) > 1 || !file.is_synced(),
            Some(Entry::Folder) | None => false,
        });
        self.real.sync_dir(&folder.real)
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.real.space()
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        let lock = self.real.lock(path)?;
        for one in self.real.list("")? {
            if one.name.starts_with(ASIDE) && one.name != self.aside {
                discard(self.real.root().join(one.name))?;
            }
        }
        Ok(lock)
    }
}

/// Throws away what an ended process had not synced.
fn discard(aside: PathBuf) -> Result<(), DiskError> {
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("discard", &aside.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn failed(op: &'static str, path: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::new(op, path, kind.into())
}
