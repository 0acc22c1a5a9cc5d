//! An uploaded archive as the tree that the importer reads.

use std::io::Read;

use ipfs_kit_actors::api::{ImportError, ImportSink, ImportSource};

use super::handover::HandedFiles;
use super::tarball::{self, EntryKind, TarError};

/// A tree that comes as TAR. A first entry `.` is the root itself; otherwise the entries go into a root
/// folder of their own. Folders that the archive leaves out are made.
pub struct TarSource<R> {
    archive: R,
    handed: Option<HandedFiles>,
}

impl<R: Read + Send> TarSource<R> {
    /// Reads from `archive`, on the thread that drives the import.
    pub fn new(archive: R) -> Self {
        Self { archive, handed: None }
    }

    /// Takes the files that come without their bytes from there.
    #[must_use]
    pub fn handed(mut self, files: Option<HandedFiles>) -> Self {
        self.handed = files;
        self
    }
}

impl<R: Read + Send> ImportSource for TarSource<R> {
    fn drive(self: Box<Self>, sink: &mut dyn ImportSink) -> Result<(), ImportError> {
        let mut tree = Tree { sink, handed: self.handed, state: State::Empty };
        tarball::read_entries(self.archive, |path, kind, bytes| tree.entry(path, kind, bytes))?;
        match tree.state {
            State::Empty => Err(ImportError::Invalid {
                path: "(archive)".to_owned(),
                reason: "it holds nothing".to_owned(),
            }),
            State::Leaf | State::Folder { .. } => Ok(()),
        }
    }
}

impl From<TarError> for ImportError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read { after, source } => {
                Self::Read { path: format!("the archive, after {after}"), source }
            }
            TarError::Invalid { path, reason } => Self::Invalid { path, reason: reason.to_owned() },
        }
    }
}

struct Tree<'a> {
    sink: &'a mut dyn ImportSink,
    handed: Option<HandedFiles>,
    state: State,
}

enum State {
    /// Nothing came yet.
    Empty,
    /// A file or link is the root, so nothing may follow.
    Leaf,
    /// The root is a folder; `open` is the folder whose entries come now, by names from the root.
    Folder { open: Vec<Vec<u8>> },
}

impl Tree<'_> {
    fn entry(
        &mut self,
        path: &[Vec<u8>],
        kind: &EntryKind,
        bytes: &mut dyn Read,
    ) -> Result<(), ImportError> {
        if let State::Empty = self.state {
            let root_is_leaf = path.is_empty() && *kind != EntryKind::Directory;
            if root_is_leaf {
                self.state = State::Leaf;
                return self.leaf(path, kind, bytes);
            }
            self.state = State::Folder { open: Vec::new() };
            self.sink.directory(b"")?;
        }
        let State::Folder { open } = &mut self.state else {
            return Err(invalid(path, "it comes after a root that is no folder"));
        };
        let (parent, is_directory) = match (path, kind) {
            (path, EntryKind::Directory) => (path, true),
            ([parent @ .., _], _) => (parent, false),
            ([], _) => return Err(invalid(path, "the root comes twice")),
        };
        let common = open.iter().zip(parent).take_while(|(a, b)| a == b).count();
        open.truncate(common);
        for name in &parent[common..] {
            open.push(name.clone());
            self.sink.directory(&open.join(&b'/'))?;
        }
        if is_directory { Ok(()) } else { self.leaf(path, kind, bytes) }
    }

    fn leaf(
        &mut self,
        path: &[Vec<u8>],
        kind: &EntryKind,
        bytes: &mut dyn Read,
    ) -> Result<(), ImportError> {
        let joined = path.join(&b'/');
        match kind {
            EntryKind::File { .. } => self.sink.file(&joined, bytes),
            EntryKind::Symlink { target } => self.sink.symlink(&joined, target),
            EntryKind::Handed => {
                let Some(files) = &mut self.handed else {
                    return Err(invalid(path, "it is said to be handed over, and nothing was"));
                };
                let mut file = files.next_file().map_err(|source| {
                    let path = String::from_utf8_lossy(&joined).into_owned();
                    ImportError::Read { path, source }
                })?;
                let taken = self.sink.file(&joined, &mut file);
                file.settle(taken.is_ok());
                taken
            }
            EntryKind::Directory => Ok(()),
        }
    }
}

fn invalid(path: &[Vec<u8>], reason: &str) -> ImportError {
    let path = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
    ImportError::Invalid { path, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
