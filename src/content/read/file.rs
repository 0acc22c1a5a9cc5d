//! Byte ranges of files.

use std::ops::Range;

use bytes::Bytes;

use super::inbox::{DEFAULT_LOOK_AHEAD, Inbox};
use super::node::{DagPbNode, Node};
use super::{Cursor, Flaw, ReadError, Step};
use crate::cid::Cid;
use crate::import::EntryKind;
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_FILE_DEPTH, MAX_PENDING_FILE_NODES};

/// Yields the bytes of a range of a file, in order, in pieces of at most one block.
///
/// It asks only for the blocks of the range, a few ahead, and remembers only what is still to come on
/// the path from the root.
#[derive(Debug)]
pub struct FileCursor {
    root: Cid,
    range: Range<u64>,
    look_ahead: usize,
    inbox: Inbox,
    /// What is still to come, the next one last.
    pending: Vec<Part>,
    size_bytes: Option<u64>,
}

/// A part of the file that reaches into the range.
#[derive(Debug, Clone, Copy)]
struct Part {
    cid: Cid,
    offset: u64,
    /// What its parent states; the root has none.
    len_bytes: Option<u64>,
    depth: usize,
}

/// What comes next, as far as the content between here and there can be in memory: an inner node stands
/// for more than that, so its neighbours don't take the places of what is below it.
fn upcoming(pending: &[Part], look_ahead: usize) -> impl Iterator<Item = Cid> {
    let bound_bytes = (look_ahead as u64).saturating_mul(MAX_BLOCK_LEN_BYTES as u64);
    let mut before_bytes = 0_u64;
    let near = move |part: &&Part| {
        let is_near = before_bytes <= bound_bytes;
        before_bytes = before_bytes.saturating_add(part.len_bytes.unwrap_or(0));
        is_near
    };
    pending.iter().rev().take_while(near).map(|part| part.cid)
}

impl FileCursor {
    /// A cursor over the bytes `range` of the file `root`.
    pub fn new(root: Cid, range: Range<u64>) -> Self {
        Self::with_look_ahead(root, range, DEFAULT_LOOK_AHEAD)
    }

    /// As [`Self::new`], asking for at most `look_ahead` blocks at a time. That many blocks can be in
    /// memory.
    pub fn with_look_ahead(root: Cid, range: Range<u64>, look_ahead: usize) -> Self {
        let part = Part { cid: root, offset: 0, len_bytes: None, depth: 0 };
        let inbox = Inbox::new(look_ahead);
        Self { root, range, look_ahead, inbox, pending: vec![part], size_bytes: None }
    }

    /// Bytes of the whole file; known once the root block was read.
    pub const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Blocks that are needed soon and were not asked for yet, in the order of need. Whoever fetches them
    /// while items are taken keeps the cursor from waiting; they may be provided in any order.
    pub fn look_ahead(&mut self) -> Vec<Cid> {
        self.inbox.want_more(upcoming(&self.pending, self.look_ahead))
    }

    /// Reads one part: gives the bytes it contributes itself and notes its children.
    fn read(&mut self, part: Part, block: &Bytes) -> Result<Option<Bytes>, ReadError> {
        let Part { cid, offset, .. } = part;
        match Node::decode(cid, block)? {
            Node::Raw(content) => {
                self.check_len(part, content.len() as u64)?;
                Ok(self.clip(offset, block))
            }
            node @ Node::DagPb(_) if node.kind(cid)? != EntryKind::File => {
                if cid == self.root {
                    return Err(ReadError::NotAFile { cid, kind: node.kind(cid)? });
                }
                Err(ReadError::Malformed { cid, flaw: Flaw::WrongType })
            }
            Node::DagPb(node) => {
                self.check_len(part, node.content_len_bytes(cid)?)?;
                let content = block.slice_ref(node.data.data.unwrap_or_default());
                self.note_children(part, &node, offset + content.len() as u64)?;
                Ok(self.clip(offset, &content))
            }
        }
    }

    fn check_len(&mut self, part: Part, actual_bytes: u64) -> Result<(), ReadError> {
        let declared_bytes = part.len_bytes.unwrap_or(actual_bytes);
        if part.depth == 0 {
            self.size_bytes = Some(actual_bytes);
        }
        if declared_bytes == actual_bytes {
            return Ok(());
        }
        Err(ReadError::SizeMismatch { cid: part.cid, declared_bytes, actual_bytes })
    }

    fn note_children(
        &mut self,
        part: Part,
        node: &DagPbNode<'_>,
        start: u64,
    ) -> Result<(), ReadError> {
        let malformed = |flaw| Err(ReadError::Malformed { cid: part.cid, flaw });
        if node.links.len() != node.data.blocksizes.len() {
            return malformed(Flaw::BlockSizes);
        }
        if node.links.iter().any(|link| link.name.is_some_and(|name| !name.is_empty())) {
            return malformed(Flaw::NamedPart);
        }
        let depth = part.depth + 1;
        if depth > MAX_FILE_DEPTH && !node.links.is_empty() {
            return malformed(Flaw::TooDeep);
        }
        let known = self.pending.len();
        let mut offset = start;
        for (link, len_bytes) in node.links.iter().zip(&node.data.blocksizes) {
            // The sum was checked against the node's size, so it does not overflow.
            let end = offset + len_bytes;
            if offset < self.range.end && end > self.range.start && *len_bytes > 0 {
                let len_bytes = Some(*len_bytes);
                self.pending.push(Part { cid: link.cid, offset, len_bytes, depth });
            }
            offset = end;
        }
        if self.pending.len() > MAX_PENDING_FILE_NODES {
            return malformed(Flaw::TooWide);
        }
        self.pending[known..].reverse();
        Ok(())
    }

    /// The part of `content`, which starts at `offset` of the file, that lies in the range.
    fn clip(&self, offset: u64, content: &Bytes) -> Option<Bytes> {
        let len_bytes = content.len() as u64;
        let start = self.range.start.saturating_sub(offset).min(len_bytes);
        let end = self.range.end.saturating_sub(offset).min(len_bytes);
        // Both are at most the length of a block in memory.
        (start < end).then(|| content.slice(start as usize..end as usize))
    }
}

impl Cursor for FileCursor {
    type Item = Bytes;

    fn step(&mut self) -> Result<Step<Bytes>, ReadError> {
        loop {
            let Some(part) = self.pending.last().copied() else { return Ok(Step::Done) };
            let Some(block) = self.inbox.take(&part.cid) else {
                let upcoming = upcoming(&self.pending, self.look_ahead);
                return Ok(Step::Need(self.inbox.want(upcoming)));
            };
            self.pending.pop();
            let content = self.read(part, &block)?;
            // Runs of equal blocks, as in sparse files, are read once.
            if self.pending.last().is_some_and(|next| next.cid == part.cid) {
                self.inbox.put_back(part.cid, block);
            }
            if let Some(content) = content {
                return Ok(Step::Data(content));
            }
        }
    }

    fn provide(&mut self, cid: Cid, block: Bytes) -> Result<(), ReadError> {
        self.inbox.provide(cid, block)
    }
}
