//! Joining the leaves of a file into one DAG.
//!
//! After boxo's `importer/balanced` and `importer/trickle`, turned inside out: leaves are pushed, so
//! that only the open nodes are in memory.

use std::mem;

use super::emit::Emitter;
use super::{Child, ImportError};
use crate::dag_pb::{self, PbLink};
use crate::profile::{ImportParams, Layout};
use crate::unixfs::{Data, DataType};

/// Subtrees of one depth in a trickle node before the next ones are deeper.
const TRICKLE_REPEAT: u32 = 4;

/// The open nodes of one file.
#[derive(Debug)]
pub(super) enum FileLayout {
    Balanced(Balanced),
    Trickle(Trickle),
}

impl FileLayout {
    pub(super) fn new(params: &ImportParams) -> Self {
        let max_links = params.max_links_per_node;
        match params.layout {
            Layout::Balanced => Self::Balanced(Balanced { max_links, levels: Vec::new() }),
            Layout::Trickle => Self::Trickle(Trickle { max_links, open: Vec::new() }),
        }
    }

    /// Takes the next leaf.
    pub(super) fn push(&mut self, leaf: Child, out: &mut Emitter<'_>) -> Result<(), ImportError> {
        match self {
            Self::Balanced(layout) => layout.push(leaf, out),
            Self::Trickle(layout) => layout.push(leaf, out),
        }
    }

    /// Closes the file and is ready for the next. At least one leaf was pushed.
    pub(super) fn finish(&mut self, out: &mut Emitter<'_>) -> Result<Child, ImportError> {
        match self {
            Self::Balanced(layout) => layout.finish(out),
            Self::Trickle(layout) => layout.finish(out),
        }
    }
}

/// `levels[0]` gathers leaves, `levels[1]` nodes of leaves, and so on.
#[derive(Debug)]
pub(super) struct Balanced {
    max_links: usize,
    levels: Vec<Vec<Child>>,
}

impl Balanced {
    fn push(&mut self, leaf: Child, out: &mut Emitter<'_>) -> Result<(), ImportError> {
        let mut child = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let gathered = &mut self.levels[level];
            gathered.push(child);
            if gathered.len() < self.max_links {
                break;
            }
            child = close(gathered, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Emitter<'_>) -> Result<Child, ImportError> {
        let mut levels = mem::take(&mut self.levels);
        let mut level = 0;
        loop {
            let is_top = levels[level + 1..].iter().all(Vec::is_empty);
            match (levels[level].as_slice(), is_top) {
                ([root], true) => return Ok(*root),
                ([], _) => {}
                _ => {
                    let node = close(&mut levels[level], out)?;
                    match levels.get_mut(level + 1) {
                        Some(parent) => parent.push(node),
                        None => levels.push(vec![node]),
                    }
                }
            }
            level += 1;
        }
    }
}

/// One open node of a trickle DAG: first leaves, then subtrees of growing depth.
#[derive(Debug)]
struct TrickleNode {
    /// Depth below which subtrees must stay; `None` for the root.
    max_depth: Option<u32>,
    children: Vec<Child>,
    /// Depth of the next subtree.
    depth: u32,
    /// Subtrees of that depth already made.
    repeated: u32,
}

impl TrickleNode {
    const fn new(max_depth: Option<u32>) -> Self {
        Self { max_depth, children: Vec::new(), depth: 1, repeated: 0 }
    }
}

/// The path of open nodes from the root to where the next leaf goes.
#[derive(Debug)]
pub(super) struct Trickle {
    max_links: usize,
    open: Vec<TrickleNode>,
}

impl Trickle {
    fn push(&mut self, leaf: Child, out: &mut Emitter<'_>) -> Result<(), ImportError> {
        loop {
            let Some(node) = self.open.last_mut() else {
                self.open.push(TrickleNode::new(None));
                continue;
            };
            if node.children.len() < self.max_links {
                node.children.push(leaf);
                return Ok(());
            }
            if node.max_depth.is_none_or(|limit| node.depth < limit) {
                let subtree = TrickleNode::new(Some(node.depth));
                self.open.push(subtree);
            } else {
                self.close_last(out)?;
            }
        }
    }

    fn finish(&mut self, out: &mut Emitter<'_>) -> Result<Child, ImportError> {
        loop {
            if let Some(root) = self.close_last(out)? {
                return Ok(root);
            }
        }
    }

    /// Closes the deepest open node; gives it back if it was the root.
    fn close_last(&mut self, out: &mut Emitter<'_>) -> Result<Option<Child>, ImportError> {
        let mut node = self.open.pop().expect("a file has a leaf, so its root is open");
        let closed = close(&mut node.children, out)?;
        let Some(parent) = self.open.last_mut() else { return Ok(Some(closed)) };
        parent.children.push(closed);
        parent.repeated += 1;
        if parent.repeated == TRICKLE_REPEAT {
            parent.repeated = 0;
            parent.depth += 1;
        }
        Ok(None)
    }
}

/// Makes a file node of `children` and empties them.
fn close(children: &mut Vec<Child>, out: &mut Emitter<'_>) -> Result<Child, ImportError> {
    let content_len_bytes = children.iter().map(|child| child.content_len_bytes).sum();
    let message = Data {
        filesize: Some(content_len_bytes),
        blocksizes: children.iter().map(|child| child.content_len_bytes).collect(),
        ..Data::new(DataType::File)
    };
    // Links of file nodes have an empty name, not none: every CID in the wild depends on it.
    let link = |child: &Child| PbLink {
        cid: child.cid,
        name: Some(b"".as_slice()),
        tsize: Some(child.tsize),
    };
    let links: Vec<_> = children.iter().map(link).collect();
    let block = dag_pb::encode(&links, Some(&message.encode()));
    let below: u64 = children.iter().map(|child| child.tsize).sum();
    let tsize = below + block.len() as u64;
    children.clear();
    Ok(Child { cid: out.node(block)?, tsize, content_len_bytes })
}
