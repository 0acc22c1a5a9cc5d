//! From a path to what it names.

use bytes::Bytes;

use super::inbox::Inbox;
use super::node::{DagPbNode, Node};
use super::shard::{Place, Shard, Target};
use super::{Cursor, Flaw, ReadError, Step};
use crate::cid::Cid;
use crate::import::EntryKind;
use crate::limits::MAX_RESOLVE_DEPTH;
use crate::unixfs::{DataType, Mtime};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its root.
    pub cid: Cid,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its content: of the file, of the symlink's target, 0 for a directory.
    pub size_bytes: u64,
    /// Bytes of all its blocks, as far as its root block tells the truth.
    pub dag_size_bytes: u64,
    /// Unix permissions, if its writer kept them.
    pub mode: Option<u32>,
    /// The modification time, if its writer kept it.
    pub mtime: Option<Mtime>,
    /// Where a symlink points.
    pub symlink_target: Option<Bytes>,
}

/// Follows a path, name by name; yields one [`Resolved`].
#[derive(Debug)]
pub struct Resolver {
    inbox: Inbox,
    names: Vec<String>,
    /// Names already followed.
    followed: usize,
    cid: Cid,
    /// Set while `cid` is a shard below a HAMT's root.
    place: Option<Place>,
    done: bool,
}

impl Resolver {
    /// A resolver of `path` below `root`; names are separated by slashes, empty ones are skipped.
    ///
    /// # Errors
    /// [`ReadError::PathTooDeep`].
    pub fn new(root: Cid, path: &str) -> Result<Self, ReadError> {
        let names = || path.split('/').filter(|name| !name.is_empty());
        let depth = names().count();
        if depth > MAX_RESOLVE_DEPTH {
            return Err(ReadError::PathTooDeep { depth });
        }
        let names = names().map(str::to_owned).collect();
        let inbox = Inbox::new(1);
        Ok(Self { inbox, names, followed: 0, cid: root, place: None, done: false })
    }

    /// Reads the block the path has led to; gives the result once the path is used up.
    fn read(&mut self, block: &Bytes) -> Result<Option<Resolved>, ReadError> {
        let node = Node::decode(self.cid, block)?;
        let kind = node.kind(self.cid)?;
        let Some(name) = self.names.get(self.followed) else {
            return describe(self.cid, kind, &node, block).map(Some);
        };
        let next = match &node {
            Node::DagPb(node)
                if node.data.data_type == DataType::HamtShard || self.place.is_some() =>
            {
                let shard = Shard::decode(self.cid, node, self.place)?;
                shard.find(name).and_then(|link| match link.target {
                    Target::Shard(place) => Some((link.cid, Some(place))),
                    Target::Entry(found) => (found == name).then_some((link.cid, None)),
                })
            }
            Node::DagPb(node) if kind == EntryKind::Directory => {
                find_plain(node, name).map(|cid| (cid, None))
            }
            _ => {
                let path = self.names[..self.followed].join("/");
                return Err(ReadError::NotADirectory { path, kind });
            }
        };
        let Some((cid, place)) = next else {
            return Err(ReadError::NotFound { path: self.names[..=self.followed].join("/") });
        };
        self.followed += usize::from(place.is_none());
        (self.cid, self.place) = (cid, place);
        Ok(None)
    }
}

/// The first entry with this name, as the specification has it.
fn find_plain(node: &DagPbNode<'_>, name: &str) -> Option<Cid> {
    let found = node.links.iter().find(|link| link.name == Some(name.as_bytes()));
    found.map(|link| link.cid)
}

fn describe(
    cid: Cid,
    kind: EntryKind,
    node: &Node<'_>,
    block: &Bytes,
) -> Result<Resolved, ReadError> {
    let block_len_bytes = block.len() as u64;
    let plain = Resolved {
        cid,
        kind,
        size_bytes: block_len_bytes,
        dag_size_bytes: block_len_bytes,
        mode: None,
        mtime: None,
        symlink_target: None,
    };
    let Node::DagPb(node) = node else { return Ok(plain) };
    if kind == EntryKind::Symlink && !node.links.is_empty() {
        return Err(ReadError::Malformed { cid, flaw: Flaw::Links });
    }
    let content = node.data.data.unwrap_or_default();
    let size_bytes = match kind {
        EntryKind::File => node.content_len_bytes(cid)?,
        EntryKind::Symlink => content.len() as u64,
        EntryKind::Directory => 0,
    };
    let tsizes = node.links.iter().filter_map(|link| link.tsize);
    Ok(Resolved {
        size_bytes,
        dag_size_bytes: tsizes.fold(block_len_bytes, u64::saturating_add),
        mode: node.data.mode,
        mtime: node.data.mtime,
        symlink_target: (kind == EntryKind::Symlink).then(|| Bytes::copy_from_slice(content)),
        ..plain
    })
}

impl Cursor for Resolver {
    type Item = Resolved;

    fn step(&mut self) -> Result<Step<Resolved>, ReadError> {
        while !self.done {
            let Some(block) = self.inbox.take(&self.cid) else {
                return Ok(Step::Need(self.inbox.want(std::iter::once(self.cid))));
            };
            if let Some(resolved) = self.read(&block)? {
                self.done = true;
                return Ok(Step::Data(resolved));
            }
        }
        Ok(Step::Done)
    }

    fn provide(&mut self, cid: Cid, block: Bytes) -> Result<(), ReadError> {
        self.inbox.provide(cid, block)
    }
}
