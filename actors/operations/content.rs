//! Reading and adding content.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use ipfs_kit_content::import::EntryKind;
use ipfs_kit_content::read::{
    Cursor, DirectoryCursor, DirectoryEntry, FileCursor, ReadError, Resolved, Resolver, Step,
};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::limits;
use ipfs_kit_core::ops::{CidRequest, ContentInfo, LsPage, LsRequest, PathRequest, PinInfo};
use ipfs_kit_core::pin::ContentKind;
use tokio::time::Instant;

use super::{Hint, Operations, failure};
use crate::api::{ByteRange, Failure, OpenFile, WalkEntry, WalkKind};
use crate::ipfs::FindError;
use crate::ipfs::read::{Blocks, Error, FileReader};

/// Entries whose root blocks a walk fetches ahead.
const WALK_AHEAD: usize = 128;
/// Bytes that a walk fetches ahead, as the directory states them: what one answer holds.
const WALK_AHEAD_BYTES: u64 = limits::BLOCKS_ANSWER_BYTES_MAX as u64;
/// Bytes that a walk keeps of what it fetched ahead, over all open directories.
const WALK_KEPT_BYTES_MAX: usize = 4 * limits::BLOCKS_ANSWER_BYTES_MAX;
/// Names of a path that is too long to be shown whole.
const SHOWN_NAMES: usize = 8;
/// How long what was read from is asked first.
const RECENT: Duration = Duration::from_secs(2);
/// How long the masters may take to say who holds a root.
const HOLDERS_WITHIN: Duration = Duration::from_secs(3);

impl Operations {
    pub(super) async fn content_ls(&self, request: LsRequest) -> Result<LsPage, Failure> {
        let limit = request.limit.unwrap_or(limits::PAGE_MAX).clamp(1, limits::PAGE_MAX);
        let skip = request.skip.unwrap_or(0);
        let mut entries = self.list_directory(&request.path).await?;
        let mut items = Vec::new();
        let mut seen = 0;
        while let Some(entry) = entries.next().await {
            // What breaks among the skipped ones breaks the page: it must not pass for the last.
            let entry = entry?;
            seen += 1;
            if seen <= skip {
                continue;
            }
            if items.len() == limit {
                return Ok(LsPage { items, next: Some(skip + limit) });
            }
            items.push(entry);
        }
        Ok(LsPage { items, next: None })
    }

    /// The entries of a directory, or the one thing that a path leads to.
    pub async fn list_directory(
        &self,
        path: &str,
    ) -> Result<BoxStream<'static, Result<ContentInfo, Failure>>, Failure> {
        let (blocks, resolved) = self.resolve(path).await?;
        if resolved.kind != EntryKind::Directory {
            return Ok(stream::iter([Ok(info("", &resolved))]).boxed());
        }
        let cursor = DirectoryCursor::new(resolved.cid);
        Ok(stream::unfold(Some((blocks, cursor)), |reading| async move {
            let (blocks, mut cursor) = reading?;
            match blocks.next(&mut cursor).await {
                Ok(Some(entry)) => Some((Ok(listed(entry)), Some((blocks, cursor)))),
                Ok(None) => None,
                Err(error) => Some((Err(read_failure(&error)), None)),
            }
        })
        .boxed())
    }

    pub(super) async fn content_stat(&self, request: PathRequest) -> Result<ContentInfo, Failure> {
        let (_, resolved) = self.resolve(&request.path).await?;
        Ok(info("", &resolved))
    }

    /// Opens a file for reading.
    pub async fn open_file(&self, path: &str, range: ByteRange) -> Result<OpenFile, Failure> {
        let (blocks, resolved) = self.resolve(path).await?;
        if resolved.kind != EntryKind::File {
            let kind = kind_name(resolved.kind);
            return Err(failure("E_NOT_A_FILE", format!("{path} is a {kind}, not a file"))
                .hint("ipfs-kit ls shows a directory, ipfs-kit get copies it"));
        }
        let size_bytes = resolved.size_bytes;
        let start = range.offset.min(size_bytes);
        let end = range.length.map_or(size_bytes, |length| start.saturating_add(length));
        let reader = FileReader::new(resolved.cid, start..end.min(size_bytes), blocks);
        let bytes = stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(bytes)) => Some((Ok::<Bytes, Failure>(bytes), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(read_failure(&error)), None)),
            }
        });
        Ok(OpenFile { cid: Cid::from(&resolved.cid), size_bytes, bytes: bytes.boxed() })
    }

    /// Every entry at and below a path, depth first.
    pub async fn walk_tree(
        &self,
        path: &str,
    ) -> Result<BoxStream<'static, Result<WalkEntry, Failure>>, Failure> {
        let (blocks, resolved) = self.resolve(path).await?;
        let walk = Walk { blocks, root: Some(resolved), open: Vec::new() };
        Ok(stream::unfold(Some(walk), |walk| async move {
            let mut walk = walk?;
            match walk.next().await {
                Ok(Some(entry)) => Some((Ok(entry), Some(walk))),
                Ok(None) => None,
                Err(error) => Some((Err(read_failure(&error)), None)),
            }
        })
        .boxed())
    }

    async fn resolve(&self, path: &str) -> Result<(Blocks, Resolved), Failure> {
        let (root, rest) = split_path(path)?;
        let cid = root.to_cid();
        let blocks = self.blocks_of(root).await;
        let mut resolver =
            Resolver::new(cid, rest).map_err(|error| read_failure(&Error::Content(error)))?;
        let resolved = blocks.next(&mut resolver).await.map_err(|error| read_failure(&error))?;
        resolved
            .map(|resolved| (blocks, resolved))
            .ok_or_else(|| failure("E_NOT_FOUND", format!("{path} leads nowhere")))
    }

    /// Where the blocks below a root come from.
    pub(super) async fn blocks_of(&self, root: Cid) -> Blocks {
        let here = self.parts.blocks.has(root.to_cid());
        let sources = if here { Vec::new() } else { self.sources(root).await };
        Blocks { ipfs: self.parts.ipfs.clone(), sources }
    }

    /// Whom to ask for what is below a root. What was just read from is asked again: the files of a
    /// folder come from where the folder came.
    async fn sources(&self, root: Cid) -> Vec<NodeId> {
        let recent = self.recent.read(|recent| {
            recent.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, nodes)| nodes.clone())
        });
        if let Some(nodes) = recent {
            return nodes;
        }
        let nodes = self.holders(root).await;
        if !nodes.is_empty() {
            self.recent.write(|recent| *recent = Some((Instant::now(), nodes.clone())));
        }
        nodes
    }

    /// Members with a durable copy of a root, as the masters know them. Nothing is known of a CID that
    /// is no root; then the members are asked for the block itself.
    async fn holders(&self, root: Cid) -> Vec<NodeId> {
        if self.parts.cluster.is_none() {
            return Vec::new();
        }
        let asked = self.typed_call::<ipfs_kit_core::ops::PinStatus>(CidRequest { cid: root });
        match tokio::time::timeout(HOLDERS_WITHIN, asked).await {
            Ok(Ok(pin)) => live_holders(&pin),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// Runs an operation of the registry with its types, where it belongs.
    pub(super) async fn typed_call<O: ipfs_kit_core::ops::Operation>(
        &self,
        request: O::Request,
    ) -> Result<O::Response, Failure> {
        let request = serde_json::to_value(request)
            .map_err(|error| crate::api::bad_request(O::NAME, &error))?;
        // Boxed: an operation may call another one.
        let answer = Box::pin(self.call(O::NAME, request)).await?;
        serde_json::from_value(answer).map_err(|error| crate::api::bad_request(O::NAME, &error))
    }
}

/// The root of a path, and the names below it.
pub(super) fn split_path(path: &str) -> Result<(Cid, &str), Failure> {
    let trimmed = path.strip_prefix("/ipfs/").or(path.strip_prefix("ipfs://")).unwrap_or(path);
    let (root, rest) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let root = root.parse().map_err(|error: ipfs_kit_core::id::ParseError| {
        failure("E_USAGE", error.to_string()).hint("a path is CID or CID/name/…")
    })?;
    Ok((root, rest))
}

fn live_holders(pin: &PinInfo) -> Vec<NodeId> {
    let live = pin.replicas.iter().filter(|replica| {
        replica.state == ipfs_kit_core::pin::ReplicaState::Pinned
            && replica.liveness == Some(ipfs_kit_core::member::Liveness::Alive)
    });
    live.map(|replica| replica.node).collect()
}

struct Walk {
    blocks: Blocks,
    root: Option<Resolved>,
    open: Vec<OpenDirectory>,
}

struct OpenDirectory {
    name: String,
    cursor: DirectoryCursor,
    ahead: VecDeque<(String, cid::Cid)>,
    /// Root blocks of those ahead. The cache may not have kept them.
    fetched: BTreeMap<cid::Cid, Bytes>,
    ended: bool,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<WalkEntry>, Error> {
        if let Some(root) = self.root.take() {
            return Ok(Some(self.enter(String::new(), &root)));
        }
        loop {
            let Some(directory) = self.open.last_mut() else { return Ok(None) };
            if let Some((name, cid)) = directory.ahead.pop_front() {
                let block = directory.fetched.remove(&cid);
                let mut resolver = Resolver::new(cid, "")?;
                if let Some(block) = &block
                    && matches!(resolver.step()?, Step::Need(wanted) if wanted.first() == Some(&cid))
                {
                    resolver.provide(cid, block.clone())?;
                }
                let Some(resolved) = self.blocks.next(&mut resolver).await? else { continue };
                let mut entry = self.enter(name, &resolved);
                if let WalkKind::File { size_bytes, bytes } = &mut entry.kind {
                    *bytes = block.and_then(|block| whole_file(resolved.cid, *size_bytes, block));
                }
                return Ok(Some(entry));
            }
            if directory.ended {
                self.open.pop();
                continue;
            }
            self.look_ahead().await?;
            check_depth(&self.open)?;
        }
    }

    /// The next entries of the innermost directory, and their root blocks in one request.
    async fn look_ahead(&mut self) -> Result<(), Error> {
        let Some(directory) = self.open.last_mut() else { return Ok(()) };
        let mut bytes = 0;
        while directory.ahead.len() < WALK_AHEAD && bytes < WALK_AHEAD_BYTES {
            match self.blocks.next(&mut directory.cursor).await? {
                Some(entry) => {
                    bytes += entry.tsize.unwrap_or(0).min(limits::BLOCK_BYTES_MAX as u64);
                    directory.ahead.push_back((entry.name, entry.cid));
                }
                None => {
                    directory.ended = true;
                    break;
                }
            }
        }
        let cids: Vec<cid::Cid> = directory.ahead.iter().map(|(_, cid)| *cid).collect();
        if !cids.is_empty() {
            directory.fetched = self.blocks.find(cids).await?.into_iter().collect();
            self.forget_outermost();
        }
        Ok(())
    }

    /// Bounds what is kept over all open directories; what is forgotten is fetched again.
    fn forget_outermost(&mut self) {
        let kept = |open: &OpenDirectory| open.fetched.values().map(Bytes::len).sum::<usize>();
        let mut bytes: usize = self.open.iter().map(kept).sum();
        for directory in &mut self.open {
            if bytes <= WALK_KEPT_BYTES_MAX {
                return;
            }
            bytes -= kept(directory);
            directory.fetched.clear();
        }
    }

    fn enter(&mut self, name: String, resolved: &Resolved) -> WalkEntry {
        let mut path: Vec<String> = self
            .open
            .iter()
            .map(|open| open.name.clone())
            .filter(|name| !name.is_empty())
            .collect();
        if !name.is_empty() {
            path.push(name.clone());
        }
        let kind = match resolved.kind {
            EntryKind::File => WalkKind::File { size_bytes: resolved.size_bytes, bytes: None },
            EntryKind::Directory => {
                self.open.push(OpenDirectory {
                    name,
                    cursor: DirectoryCursor::new(resolved.cid),
                    ahead: VecDeque::new(),
                    fetched: BTreeMap::new(),
                    ended: false,
                });
                WalkKind::Directory
            }
            EntryKind::Symlink => {
                WalkKind::Symlink { target: target_of(resolved).unwrap_or_default() }
            }
        };
        WalkEntry { path, kind, cid: Cid::from(&resolved.cid) }
    }
}

/// The bytes of a file that is all in its root block.
fn whole_file(root: cid::Cid, size_bytes: u64, block: Bytes) -> Option<Bytes> {
    let mut cursor = FileCursor::with_look_ahead(root, 0..size_bytes, 1);
    if let Step::Need(wanted) = cursor.step().ok()?
        && wanted == [root]
    {
        cursor.provide(root, block).ok()?;
    }
    match cursor.step().ok()? {
        Step::Data(bytes) if bytes.len() as u64 == size_bytes => Some(bytes),
        Step::Done if size_bytes == 0 => Some(Bytes::new()),
        _ => None,
    }
}

/// What lies too deep is an error: a tree that is left out in part would look whole.
fn check_depth(open: &[OpenDirectory]) -> Result<(), Error> {
    let has_more = open.last().is_some_and(|directory| !directory.ahead.is_empty());
    if open.len() <= limits::TREE_DEPTH_MAX || !has_more {
        return Ok(());
    }
    let names: Vec<&str> = open.iter().map(|open| &*open.name).take(SHOWN_NAMES).collect();
    Err(Error::TooDeep { path: format!("{}/…", names.join("/").trim_start_matches('/')) })
}

fn listed(entry: DirectoryEntry) -> ContentInfo {
    ContentInfo {
        name: entry.name,
        cid: Cid::from(&entry.cid),
        kind: entry.kind.map_or(ContentKind::Unknown, kind_of),
        size_bytes: entry.tsize,
        target: None,
    }
}

fn info(name: &str, resolved: &Resolved) -> ContentInfo {
    ContentInfo {
        name: name.into(),
        cid: Cid::from(&resolved.cid),
        kind: kind_of(resolved.kind),
        size_bytes: Some(match resolved.kind {
            EntryKind::File | EntryKind::Symlink => resolved.size_bytes,
            EntryKind::Directory => resolved.dag_size_bytes,
        }),
        target: target_of(resolved),
    }
}

fn target_of(resolved: &Resolved) -> Option<String> {
    resolved.symlink_target.as_ref().map(|target| String::from_utf8_lossy(target).into_owned())
}

fn kind_of(kind: EntryKind) -> ContentKind {
    match kind {
        EntryKind::File => ContentKind::File,
        EntryKind::Directory => ContentKind::Directory,
        EntryKind::Symlink => ContentKind::Symlink,
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symbolic link",
    }
}

pub(super) fn read_failure(error: &Error) -> Failure {
    let text = error.to_string();
    match error {
        Error::Find(FindError::NotFound { members, gateways, .. })
            if members.silent + gateways.silent > 0 =>
        {
            failure("E_UNAVAILABLE", text)
                .hint("try again: somebody who may have it could not be asked")
                .retryable()
        }
        Error::Find(FindError::NotFound { .. }) => failure("E_NOT_FOUND", text)
            .hint("the members that hold it may be away: ipfs-kit node ls; or nobody has it")
            .retryable(),
        Error::Find(FindError::Store { .. }) => failure("E_STORE", text),
        Error::Find(FindError::Stopping) | Error::Busy(_) => failure("E_BUSY", text).retryable(),
        Error::Content(ReadError::NotFound { .. } | ReadError::NotADirectory { .. }) => {
            failure("E_NOT_FOUND", text).hint("ipfs-kit ls shows what is there")
        }
        Error::Content(ReadError::Codec { .. }) => failure("E_NOT_UNIXFS", text),
        Error::Content(_) => failure("E_CONTENT", text),
        Error::TooDeep { .. } => failure("E_TOO_LARGE", text)
            .hint("take the inner folders on their own: ipfs-kit get CID/PATH"),
    }
}

#[cfg(test)]
mod tests;
