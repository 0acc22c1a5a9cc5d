//! The entries of a directory.

use std::collections::BTreeSet;
use std::vec;

use bytes::Bytes;

use super::inbox::{DEFAULT_LOOK_AHEAD, Inbox};
use super::node::{DagPbNode, Node, entry_name};
use super::shard::{Place, Shard, Target};
use super::{Cursor, Flaw, ReadError, Step};
use crate::cid::{Cid, Codec};
use crate::import::EntryKind;
use crate::unixfs::DataType;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name: not empty, no slash, no NUL byte, not `.` or `..`.
    pub name: String,
    /// Its root.
    pub cid: Cid,
    /// The writer's claim of the bytes of all its blocks.
    pub tsize: Option<u64>,
    /// What it is, where its CID tells; its root block always tells.
    pub kind: Option<EntryKind>,
}

impl DirectoryEntry {
    fn new(name: &str, cid: Cid, tsize: Option<u64>) -> Self {
        let kind = (Codec::of(&cid) == Some(Codec::Raw)).then_some(EntryKind::File);
        Self { name: name.to_owned(), cid, tsize, kind }
    }
}

/// Yields the entries of a directory: those of a plain one in the order of the block, those of a HAMT in
/// the order of their hashes. Of entries with equal names only the first counts.
#[derive(Debug)]
pub struct DirectoryCursor {
    inbox: Inbox,
    /// The block to read next.
    next: Option<ToRead>,
    /// What is left of the blocks on the path from the root.
    open: Vec<vec::IntoIter<Item>>,
}

#[derive(Debug, Clone, Copy)]
struct ToRead {
    cid: Cid,
    /// `None` for the root.
    place: Option<Place>,
}

#[derive(Debug)]
enum Item {
    Entry(DirectoryEntry),
    Shard(ToRead),
}

impl DirectoryCursor {
    /// A cursor over the entries of `root`.
    pub fn new(root: Cid) -> Self {
        Self {
            inbox: Inbox::new(DEFAULT_LOOK_AHEAD),
            next: Some(ToRead { cid: root, place: None }),
            open: Vec::new(),
        }
    }

    fn read(&mut self, read: ToRead, block: &Bytes) -> Result<(), ReadError> {
        let ToRead { cid, place } = read;
        let node = Node::decode(cid, block)?;
        let kind = node.kind(cid)?;
        let items = match node {
            Node::DagPb(node) if node.data.data_type == DataType::HamtShard => {
                shard_items(cid, &node, place)?
            }
            Node::DagPb(node) if kind == EntryKind::Directory && place.is_none() => {
                plain_items(cid, &node)?
            }
            _ if place.is_none() => {
                return Err(ReadError::NotADirectory { path: String::new(), kind });
            }
            _ => return Err(ReadError::Malformed { cid, flaw: Flaw::WrongType }),
        };
        self.open.push(items.into_iter());
        Ok(())
    }
}

fn plain_items(cid: Cid, node: &DagPbNode<'_>) -> Result<Vec<Item>, ReadError> {
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(node.links.len());
    for link in &node.links {
        let name = entry_name(cid, link.name.unwrap_or_default())?;
        if seen.insert(name) {
            items.push(Item::Entry(DirectoryEntry::new(name, link.cid, link.tsize)));
        }
    }
    Ok(items)
}

fn shard_items(
    cid: Cid,
    node: &DagPbNode<'_>,
    place: Option<Place>,
) -> Result<Vec<Item>, ReadError> {
    let shard = Shard::decode(cid, node, place)?;
    let item = |link: &super::shard::ShardLink<'_>| match link.target {
        Target::Entry(name) => {
            shard.check_place(cid, link.bucket, name)?;
            Ok(Item::Entry(DirectoryEntry::new(name, link.cid, link.tsize)))
        }
        Target::Shard(place) => Ok(Item::Shard(ToRead { cid: link.cid, place: Some(place) })),
    };
    shard.links.iter().map(item).collect()
}

impl Cursor for DirectoryCursor {
    type Item = DirectoryEntry;

    fn step(&mut self) -> Result<Step<DirectoryEntry>, ReadError> {
        loop {
            if let Some(read) = self.next {
                let Some(block) = self.inbox.take(&read.cid) else {
                    let later = self.open.iter().rev().flat_map(|items| items.as_slice());
                    let shards = later.filter_map(|item| match item {
                        Item::Shard(read) => Some(read.cid),
                        Item::Entry(_) => None,
                    });
                    let upcoming = std::iter::once(read.cid).chain(shards);
                    return Ok(Step::Need(self.inbox.want(upcoming)));
                };
                self.next = None;
                self.read(read, &block)?;
            }
            let Some(items) = self.open.last_mut() else { return Ok(Step::Done) };
            match items.next() {
                Some(Item::Entry(entry)) => return Ok(Step::Data(entry)),
                Some(Item::Shard(read)) => self.next = Some(read),
                None => {
                    self.open.pop();
                }
            }
        }
    }

    fn provide(&mut self, cid: Cid, block: Bytes) -> Result<(), ReadError> {
        self.inbox.provide(cid, block)
    }
}
