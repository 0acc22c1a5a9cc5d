//! Importing a tree from a walk: what a tar stream or a sorted directory walk delivers.

use std::io::Read;

use super::assembly::{Assembly, Consumer};
use super::directory::{self, Entries, Entry};
use super::emit::Emitter;
use super::path;
use super::{BlockSink, Child, EntryKind, Hashing, ImportError};
use crate::cid::Cid;
use crate::limits::MAX_SYMLINK_TARGET_LEN_BYTES;
use crate::profile::{ImportParams, Inclusion};
use crate::unixfs::{Data, DataType};

/// A finished entry of the tree. Files and symlinks are told in the order of the walk, a directory
/// after everything in it, the root last with an empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEntry<'a> {
    /// Its path in the tree.
    pub path: &'a str,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its content: of the file, of the symlink's target, 0 for a directory.
    pub size_bytes: u64,
    /// Its root.
    pub cid: Cid,
}

/// What a tree consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of content of all files.
    pub file_bytes: u64,
    /// Blocks given to the sink, repetitions included.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub block_bytes: u64,
}

/// A finished tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedTree {
    /// The root directory.
    pub cid: Cid,
    /// Bytes of all blocks of the DAG, repetitions included.
    pub dag_size_bytes: u64,
    /// What it consists of.
    pub totals: Totals,
}

/// Builds a directory from entries that come in depth-first order: the entries of a directory follow
/// each other, after the directory itself or without it. In memory are the directories between the
/// root and the current entry, and about 1 MiB of leaves for each of `2 * threads + 2` batches.
///
/// After an error the builder must be dropped; further calls would build a tree with a gap.
pub struct TreeBuilder<'s> {
    assembly: Assembly<'s, TreeState<'s>>,
    state: TreeState<'s>,
    /// Names of the open directories below the root, as the input has them now.
    open: Vec<String>,
    /// Whether `open.last()` was only implied by a path below it.
    implied: Vec<bool>,
}

/// A step without leaves.
enum Step {
    Open { name: String },
    Close,
    Symlink { name: String, target: Box<[u8]> },
}

impl<'s> TreeBuilder<'s> {
    /// A builder of an empty tree.
    ///
    /// # Errors
    /// [`ImportError::Params`], [`ImportError::Thread`].
    pub fn new(
        params: ImportParams,
        hashing: Hashing,
        sink: &'s dyn BlockSink,
    ) -> Result<Self, ImportError> {
        Ok(Self {
            assembly: Assembly::new(params, hashing, sink)?,
            state: TreeState {
                params,
                open: vec![OpenDirectory::default()],
                path: String::new(),
                root: None,
                totals: Totals::default(),
                observer: None,
            },
            open: Vec::new(),
            implied: Vec::new(),
        })
    }

    /// Tells `observer` every finished entry.
    #[must_use]
    pub fn with_observer(mut self, observer: impl FnMut(&ImportedEntry<'_>) + 's) -> Self {
        self.state.observer = Some(Box::new(observer));
        self
    }

    /// Adds a directory, which stays empty if nothing follows below it. One slash at the end of
    /// `path` is allowed.
    ///
    /// # Errors
    /// [`ImportError::Path`], [`ImportError::Duplicate`], [`ImportError::NotADirectory`], and any error
    /// of entries before it.
    pub fn add_directory(&mut self, path: &[u8]) -> Result<(), ImportError> {
        let (parents, name) = path::split(path.strip_suffix(b"/").unwrap_or(path))?;
        let depth = parents.len();
        let is_open = self.open.len() > depth
            && self.open[depth] == name
            && parents.iter().zip(&self.open).all(|(parent, open)| parent == open);
        if is_open {
            // An explicit entry may follow what implied it, once.
            if !std::mem::take(&mut self.implied[depth]) {
                return Err(ImportError::Duplicate { path: self.open[..=depth].join("/") });
            }
            return Ok(());
        }
        self.enter(&parents)?;
        self.open_directory(name, false)
    }

    /// Adds a file with the content of `reader`.
    ///
    /// # Errors
    /// As [`Self::add_directory`], and [`ImportError::Read`].
    pub fn add_file(&mut self, path: &[u8], mut reader: impl Read) -> Result<(), ImportError> {
        let (parents, name) = path::split(path)?;
        self.enter(&parents)?;
        let name = name.to_owned();
        self.assembly.file(&mut reader, path, name, &mut self.state)
    }

    /// Adds a symbolic link to `target`, which is stored and not followed.
    ///
    /// # Errors
    /// As [`Self::add_directory`], and [`ImportError::SymlinkTarget`].
    pub fn add_symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ImportError> {
        let (parents, name) = path::split(path)?;
        if !(1..=MAX_SYMLINK_TARGET_LEN_BYTES).contains(&target.len()) || target.contains(&0) {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(ImportError::SymlinkTarget { path });
        }
        self.enter(&parents)?;
        let step = Step::Symlink { name: name.to_owned(), target: target.into() };
        self.assembly.other(step, &mut self.state)
    }

    /// Closes the tree.
    ///
    /// # Errors
    /// Any error of entries that were still on their way.
    pub fn finish(mut self) -> Result<ImportedTree, ImportError> {
        self.leave_to(0)?;
        self.assembly.other(Step::Close, &mut self.state)?;
        self.assembly.finish(&mut self.state)?;
        let root = self.state.root.expect("the last step closes the root");
        let totals = Totals {
            blocks: self.assembly.out.blocks,
            block_bytes: self.assembly.out.block_bytes,
            ..self.state.totals
        };
        Ok(ImportedTree { cid: root.cid, dag_size_bytes: root.tsize, totals })
    }

    /// Makes `parents` the open directories.
    fn enter(&mut self, parents: &[&str]) -> Result<(), ImportError> {
        let common = parents.iter().zip(&self.open).take_while(|(a, b)| a == b).count();
        self.leave_to(common)?;
        parents[common..].iter().try_for_each(|name| self.open_directory(name, true))
    }

    fn open_directory(&mut self, name: &str, implied: bool) -> Result<(), ImportError> {
        self.open.push(name.to_owned());
        self.implied.push(implied);
        self.assembly.other(Step::Open { name: name.to_owned() }, &mut self.state)
    }

    fn leave_to(&mut self, depth: usize) -> Result<(), ImportError> {
        while self.open.len() > depth {
            self.open.pop();
            self.implied.pop();
            self.assembly.other(Step::Close, &mut self.state)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct OpenDirectory {
    /// Length of the path of the directory above.
    parent_path_len: usize,
    entries: Entries,
}

type Observer<'s> = Box<dyn FnMut(&ImportedEntry<'_>) + 's>;

/// The tree as far as its leaves are hashed.
struct TreeState<'s> {
    params: ImportParams,
    /// The root and the directories below it that are not closed.
    open: Vec<OpenDirectory>,
    /// Path of the last of them.
    path: String,
    root: Option<Child>,
    totals: Totals,
    observer: Option<Observer<'s>>,
}

impl Consumer for TreeState<'_> {
    /// The name of the file.
    type File = String;
    type Other = Step;

    fn file(&mut self, name: String, file: Child) -> Result<(), ImportError> {
        self.totals.files += 1;
        self.totals.file_bytes += file.content_len_bytes;
        self.add(&name, EntryKind::File, file)
    }

    fn other(&mut self, step: Step, out: &mut Emitter<'_>) -> Result<(), ImportError> {
        match step {
            Step::Open { name } => self.open(&name),
            Step::Close => self.close(out),
            Step::Symlink { name, target } => {
                let message = Data { data: Some(&target), ..Data::new(DataType::Symlink) };
                let block = message.encode_node();
                let tsize = block.len() as u64;
                let content_len_bytes = target.len() as u64;
                let child = Child { cid: out.node(block)?, tsize, content_len_bytes };
                self.totals.symlinks += 1;
                self.add(&name, EntryKind::Symlink, child)
            }
        }
    }
}

impl TreeState<'_> {
    fn last(&mut self) -> &mut OpenDirectory {
        self.open.last_mut().expect("the root is closed by the last step")
    }

    /// Puts a finished entry into the last open directory and tells the observer.
    fn add(&mut self, name: &str, kind: EntryKind, child: Child) -> Result<(), ImportError> {
        let parent_path_len = self.push_path(name);
        if self.last().entries.insert(name.into(), Entry::new(&child, kind)).is_some() {
            return Err(ImportError::Duplicate { path: self.path.clone() });
        }
        self.observe(kind, child);
        self.path.truncate(parent_path_len);
        Ok(())
    }

    fn open(&mut self, name: &str) -> Result<(), ImportError> {
        let existing = self.last().entries.get(name).map(|entry| entry.is_directory);
        let parent_path_len = self.push_path(name);
        match existing {
            None => {
                self.open.push(OpenDirectory { parent_path_len, ..OpenDirectory::default() });
                Ok(())
            }
            Some(true) => Err(ImportError::Duplicate { path: self.path.clone() }),
            Some(false) => Err(ImportError::NotADirectory { path: self.path.clone() }),
        }
    }

    fn close(&mut self, out: &mut Emitter<'_>) -> Result<(), ImportError> {
        let closed = self.open.pop().expect("every close step follows its open step");
        let is_root = self.open.is_empty();
        if closed.entries.is_empty()
            && !is_root
            && self.params.empty_directories == Inclusion::Excluded
        {
            self.path.truncate(closed.parent_path_len);
            return Ok(());
        }
        let root = directory::close(&closed.entries, &self.path, &self.params, out)?;
        self.totals.directories += 1;
        if is_root {
            self.observe(EntryKind::Directory, root);
            self.root = Some(root);
            return Ok(());
        }
        let path = self.path.split_off(closed.parent_path_len);
        self.add(path.trim_start_matches('/'), EntryKind::Directory, root)
    }

    /// Makes `path` that of an entry; gives the length to which it is cut back.
    fn push_path(&mut self, name: &str) -> usize {
        let parent_path_len = self.path.len();
        if parent_path_len > 0 {
            self.path.push('/');
        }
        self.path.push_str(name);
        parent_path_len
    }

    fn observe(&mut self, kind: EntryKind, child: Child) {
        if let Some(observer) = &mut self.observer {
            let size_bytes = child.content_len_bytes;
            observer(&ImportedEntry { path: &self.path, kind, size_bytes, cid: child.cid });
        }
    }
}
