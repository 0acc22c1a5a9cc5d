//! Reading UnixFS: byte ranges of files, directory entries, paths.
//!
//! Every reader is a [`Cursor`]: it asks for blocks, is given them, and yields items. Whoever drives it
//! decides where blocks come from; [`Pull`] drives one over a local [`BlockSource`]. A cursor holds few
//! blocks at a time and trusts no number that a block states: sizes that disagree, names in the wrong
//! shard, shapes without bound end it with an error that names the block.
//!
//! A cursor does not hash: whoever provides a block has checked it with [`crate::cid::verify`], on its
//! way into the store or off the network.

use bytes::Bytes;

use crate::cid::Cid;
use crate::dag_pb::DagPbError;
use crate::import::EntryKind;
use crate::unixfs::UnixfsError;

mod directory;
mod file;
mod inbox;
mod node;
mod resolve;
mod shard;

#[cfg(test)]
mod tests;

pub use directory::{DirectoryCursor, DirectoryEntry};
pub use file::FileCursor;
pub use resolve::{Resolved, Resolver};

/// What a cursor does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// It waits. Without the first of these blocks it cannot go on; the others it needs soon. Blocks it
    /// asked for before and was not given are listed again.
    Need(Vec<Cid>),
    /// The next item.
    Data(T),
    /// There is nothing more.
    Done,
}

/// A reader that asks for blocks. After an error, [`ReadError::NotRequested`] apart, it must be dropped.
pub trait Cursor {
    /// What it yields.
    type Item;

    /// Goes on as far as the blocks at hand allow.
    ///
    /// # Errors
    /// Any [`ReadError`] about the content of blocks.
    fn step(&mut self) -> Result<Step<Self::Item>, ReadError>;

    /// Gives a verified block that the cursor asked for.
    ///
    /// # Errors
    /// [`ReadError::NotRequested`] if it did not ask; the block is ignored.
    fn provide(&mut self, cid: Cid, block: Bytes) -> Result<(), ReadError>;
}

/// Where local blocks come from.
pub trait BlockSource {
    /// The verified bytes of a block; `None` if it is not here.
    ///
    /// # Errors
    /// The store cannot answer.
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, SourceError>;
}

/// Why a source cannot answer. Whether a retry helps, the source says.
#[derive(Debug, thiserror::Error)]
#[error("block source failed")]
pub struct SourceError {
    /// The source's own reason.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl SourceError {
    /// Wraps the source's reason.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// Why reading stopped. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A block is not here. Once it is, the same reader goes on where it stopped.
    #[error("block {cid} is missing")]
    Missing {
        /// The block.
        cid: Cid,
    },
    /// The source cannot answer. Once it can, the same reader goes on where it stopped.
    #[error("block {cid} cannot be read")]
    Source {
        /// The block.
        cid: Cid,
        /// The source's reason.
        #[source]
        source: SourceError,
    },
    /// A block was given that nobody asked for. It was ignored.
    #[error("block {cid} was not asked for")]
    NotRequested {
        /// The block.
        cid: Cid,
    },
    /// The codec is not one of UnixFS. Retrying does not help.
    #[error("block {cid} is not unixfs: codec 0x{codec:x}")]
    Codec {
        /// The block.
        cid: Cid,
        /// Its multicodec number.
        codec: u64,
    },
    /// The block is no dag-pb node. Retrying does not help.
    #[error("block {cid} is no dag-pb node")]
    DagPb {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        source: Box<DagPbError>,
    },
    /// The node holds no UnixFS message. Retrying does not help.
    #[error("block {cid} is no unixfs node")]
    Unixfs {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        source: Box<UnixfsError>,
    },
    /// The node breaks a rule of UnixFS. Retrying does not help.
    #[error("block {cid} is malformed: {flaw}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// The broken rule.
        flaw: Flaw,
    },
    /// A part of a file is not as long as its parent or it itself states. Retrying does not help.
    #[error("block {cid} should hold {declared_bytes} bytes of the file, but holds {actual_bytes}")]
    SizeMismatch {
        /// The block.
        cid: Cid,
        /// What was stated.
        declared_bytes: u64,
        /// What it comes to.
        actual_bytes: u64,
    },
    /// A file was expected. Another cursor helps.
    #[error("{cid} is a {kind:?}, not a file")]
    NotAFile {
        /// The root.
        cid: Cid,
        /// What it is.
        kind: EntryKind,
    },
    /// A directory was expected. Retrying does not help.
    #[error("{path:?} is a {kind:?}, not a directory")]
    NotADirectory {
        /// The path below the root; empty for the root.
        path: String,
        /// What it is.
        kind: EntryKind,
    },
    /// The path leads nowhere. Retrying does not help.
    #[error("{path:?} does not exist")]
    NotFound {
        /// The path below the root, up to the name that does not exist.
        path: String,
    },
    /// The path has more than [`crate::limits::MAX_RESOLVE_DEPTH`] names. Retrying does not help.
    #[error("path has {depth} names, too many to resolve")]
    PathTooDeep {
        /// How many it has.
        depth: usize,
    },
}

/// Rules of UnixFS that a node can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The block is larger than any block may be.
    #[error("it is too large")]
    TooLarge,
    /// The node has no payload.
    #[error("it has no unixfs data")]
    NoData,
    /// The node is of a type that has no use here.
    #[error("its type has no place here")]
    WrongType,
    /// Links and block sizes of a file differ in number.
    #[error("it has not as many block sizes as links")]
    BlockSizes,
    /// A part of a file has a name.
    #[error("a part of a file has a name")]
    NamedPart,
    /// The sizes do not fit in 64 bits.
    #[error("its sizes overflow")]
    Overflow,
    /// The file has too many levels.
    #[error("the file is too deep")]
    TooDeep,
    /// The file has too many nodes on one level.
    #[error("the file is too wide")]
    TooWide,
    /// The symlink has links.
    #[error("it has links, which its type forbids")]
    Links,
    /// An entry's name is empty, has a slash or a NUL byte, or is a dot or two.
    #[error("an entry has an impossible name")]
    Name,
    /// An entry's name is not UTF-8.
    #[error("an entry's name is not valid utf-8")]
    NameNotUtf8,
    /// The shard's width or hash is not allowed, or differs from its parent's.
    #[error("its shard parameters are not allowed")]
    ShardParams,
    /// Links and bitmap of a shard disagree, or the links are out of order.
    #[error("its links and its bitmap disagree")]
    ShardLinks,
    /// A shard below the root is empty.
    #[error("it is an empty shard")]
    ShardEmpty,
    /// A name stands in a shard to which its hash does not lead.
    #[error("an entry stands in the wrong shard")]
    ShardPlace,
    /// The HAMT goes on after the hash is used up.
    #[error("the directory is too deep")]
    ShardTooDeep,
}

/// Drives a cursor over a local source, block by block.
///
/// After [`ReadError::Missing`] or [`ReadError::Source`] the next call tries again where it stopped;
/// after any other error there is nothing more.
#[derive(Debug)]
pub struct Pull<'s, S: ?Sized, C> {
    source: &'s S,
    cursor: C,
    failed: bool,
}

impl<'s, S: BlockSource + ?Sized, C: Cursor> Pull<'s, S, C> {
    /// Drives `cursor` over `source`.
    pub const fn new(source: &'s S, cursor: C) -> Self {
        Self { source, cursor, failed: false }
    }

    /// The cursor, for what it has learned on the way.
    pub const fn cursor(&self) -> &C {
        &self.cursor
    }

    fn advance(&mut self) -> Result<Option<C::Item>, ReadError> {
        loop {
            let first = match self.cursor.step()? {
                Step::Data(item) => return Ok(Some(item)),
                Step::Done => return Ok(None),
                Step::Need(cids) => cids.first().copied(),
            };
            let cid = first.expect("a cursor that waits names what it waits for");
            match self.source.get(&cid) {
                Ok(Some(block)) => self.cursor.provide(cid, block)?,
                Ok(None) => return Err(ReadError::Missing { cid }),
                Err(source) => return Err(ReadError::Source { cid, source }),
            }
        }
    }
}

impl<S: BlockSource + ?Sized, C: Cursor> Iterator for Pull<'_, S, C> {
    type Item = Result<C::Item, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.advance();
        self.failed =
            !matches!(result, Ok(_) | Err(ReadError::Missing { .. } | ReadError::Source { .. }));
        result.transpose()
    }
}

/// The bytes of `range` of a file, in pieces of at most one block. A range beyond the end gives what
/// there is; `0..u64::MAX` is the whole file. Only the blocks of the range are read.
pub fn file<S: BlockSource + ?Sized>(
    source: &S,
    root: Cid,
    range: std::ops::Range<u64>,
) -> Pull<'_, S, FileCursor> {
    Pull::new(source, FileCursor::new(root, range))
}

/// The entries of a directory, in the order of its blocks.
pub fn directory<S: BlockSource + ?Sized>(source: &S, root: Cid) -> Pull<'_, S, DirectoryCursor> {
    Pull::new(source, DirectoryCursor::new(root))
}

/// Finds what `path` below `root` is; names are separated by slashes, empty ones are skipped. Symlinks
/// are returned, not followed. Of a HAMT directory only the shards on the way are read.
///
/// # Errors
/// [`ReadError::NotFound`], [`ReadError::NotADirectory`], [`ReadError::PathTooDeep`], and any error
/// about the blocks on the way.
pub fn resolve<S: BlockSource + ?Sized>(
    source: &S,
    root: Cid,
    path: &str,
) -> Result<Resolved, ReadError> {
    let found = Pull::new(source, Resolver::new(root, path)?).next();
    found.expect("a resolver yields one item or an error")
}

/// Tells what `root` is, from its root block alone.
///
/// # Errors
/// Any error about that block.
pub fn stat<S: BlockSource + ?Sized>(source: &S, root: Cid) -> Result<Resolved, ReadError> {
    resolve(source, root, "")
}
