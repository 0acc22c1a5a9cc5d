//! Making UnixFS DAGs from byte streams: single files and whole trees, in constant memory.
//!
//! A reader is cut into chunks; each chunk becomes a leaf block; leaves are hashed in batches, by the
//! calling thread or by a few others; a layout joins them into one root. Blocks leave through a
//! [`BlockSink`], every block after those it links to.

use std::io;
use std::num::NonZero;

use bytes::Bytes;

use crate::cid::{Block, Cid};
use crate::profile::BadParam;

mod assembly;
mod chunks;
mod directory;
mod emit;
mod file;
mod layout;
mod leaves;
mod path;
mod pool;
mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use file::{FileImporter, ImportedFile};
pub use tree::{ImportedEntry, ImportedTree, Totals, TreeBuilder};

/// Where finished blocks go.
///
/// Calls come from the thread that imports. Every block has its own memory, so keeping one keeps no other
/// alive; memory of dropped leaves is used again.
pub trait BlockSink {
    /// Takes a block. Every block it links to was taken before.
    ///
    /// # Errors
    /// An error ends the import.
    fn put(&self, block: Block) -> Result<(), SinkError>;

    /// Takes some blocks, in an order in which children come before their parents.
    ///
    /// # Errors
    /// An error ends the import; some of the blocks may have been taken.
    fn put_many(&self, blocks: Vec<Block>) -> Result<(), SinkError> {
        blocks.into_iter().try_for_each(|block| self.put(block))
    }
}

/// Why a sink takes no more. What it took before stays taken; whether a retry helps, the source says.
#[derive(Debug, thiserror::Error)]
#[error("block sink failed")]
pub struct SinkError {
    /// The sink's own reason.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl SinkError {
    /// Wraps the sink's reason.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// Who hashes the leaves. The result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashing {
    /// The calling thread, one leaf after the other: for simulations.
    #[default]
    Inline,
    /// So many threads beside the caller, who lends a hand while it would only wait.
    Threads(NonZero<usize>),
}

/// Kinds of entries in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory, in one block or many.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// Why an import failed. Blocks that the sink already took remain there and are harmless; no root is
/// made. The importer must be dropped.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A parameter is out of its range. Other parameters help.
    #[error("import parameters are unusable")]
    Params {
        /// Which one.
        #[from]
        source: BadParam,
    },
    /// A hashing thread could not be started. Fewer threads, or a retry later, may help.
    #[error("hashing thread cannot start")]
    Thread {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A hashing thread died without an answer. A retry may help.
    #[error("hashing thread stopped without an answer")]
    HasherLost,
    /// The content of a file cannot be read. Whether a retry helps, the source says.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file's path in the tree; empty for a single file.
        path: String,
        /// The reader's reason.
        #[source]
        source: io::Error,
    },
    /// The sink refused blocks. Whether a retry helps, the source says.
    #[error("blocks cannot be stored")]
    Sink {
        /// The sink's reason.
        #[from]
        source: SinkError,
    },
    /// A path is not one that a tree can hold. Renaming the entry helps.
    #[error("path {path:?} is refused: {reason}")]
    Path {
        /// The path; bytes that are not UTF-8 are replaced.
        path: String,
        /// What is wrong with it.
        reason: PathRefusal,
    },
    /// A symlink's target is empty, has a NUL or is too long. Another target helps.
    #[error("symlink {path:?} is refused: its target is empty, too long or has a nul byte")]
    SymlinkTarget {
        /// The symlink's path.
        path: String,
    },
    /// Two entries of a directory have the same name. Entries of one directory must also follow each
    /// other: one that comes after its directory was left looks like a second directory.
    #[error("{path:?} occurs twice, or its directory's entries do not follow each other")]
    Duplicate {
        /// The repeated path.
        path: String,
    },
    /// Something was put below a path that is no directory.
    #[error("{path:?} is no directory, but has entries below it")]
    NotADirectory {
        /// The path of the file or symlink.
        path: String,
    },
    /// Names of one directory collide in all bits of the HAMT's hash. Renaming one helps.
    #[error("directory {path:?} has names that hash alike, {name:?} among them")]
    HashCollision {
        /// The directory.
        path: String,
        /// One of the names.
        name: String,
    },
    /// A node grew beyond the largest block. Smaller parameters help.
    #[error("a node would have {len_bytes} bytes, more than a block may have")]
    NodeTooLarge {
        /// Its length.
        len_bytes: usize,
    },
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// It is empty, or has an empty component.
    #[error("it has an empty component")]
    EmptyComponent,
    /// It starts with a slash.
    #[error("it is absolute")]
    Absolute,
    /// It has a component `.` or `..`.
    #[error("it has a component that is only dots")]
    Dots,
    /// It has a NUL byte.
    #[error("it has a nul byte")]
    Nul,
    /// A name is not UTF-8, which UnixFS names must be.
    #[error("a name is not valid utf-8")]
    NotUtf8,
    /// A name is longer than [`crate::limits::MAX_NAME_LEN_BYTES`].
    #[error("a name is too long")]
    NameTooLong,
    /// It has more than [`crate::limits::MAX_PATH_DEPTH`] components.
    #[error("it is too deep")]
    TooDeep,
}

/// A block of leaf data whose identifier is still to be computed.
type Unhashed = Bytes;

/// What a parent needs to know of a child.
#[derive(Debug, Clone, Copy)]
struct Child {
    cid: Cid,
    /// Bytes of all blocks from here down, repetitions included.
    tsize: u64,
    /// Bytes of file content from here down.
    content_len_bytes: u64,
}
