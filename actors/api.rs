//! The one handle that interfaces hold: operations by name or by type, adding, reading.

use std::io::Read;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{
    ContentInfo, Operation, PinsAddRequest, PinsAdded, PinsInfo, PinsStatusRequest,
};
pub use ipfs_kit_core::proto::OperationFailure as Failure;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

mod dag;

pub use dag::{CarImported, CarOptions, CarRoot, Dag, Put, PutOptions, VerifyLine};

/// Everything that an interface may ask of a running node. Cheap to clone, usable from any thread.
pub trait Node: Dag + Send + Sync {
    /// Runs a unary operation of the registry by name, on the node where it belongs.
    fn call(
        &self,
        name: String,
        request: serde_json::Value,
    ) -> BoxFuture<'static, Result<serde_json::Value, Failure>>;

    /// `pins.add`, without a detour over JSON: for interfaces that pin at a high rate.
    fn add_pins(&self, request: PinsAddRequest) -> BoxFuture<'static, Result<PinsAdded, Failure>>;

    /// `pins.status` likewise.
    fn look_at_pins(
        &self,
        request: PinsStatusRequest,
    ) -> BoxFuture<'static, Result<PinsInfo, Failure>>;

    /// Imports a tree and, in a cluster, pins it. Progress goes to `events`; when its receiver is dropped
    /// the import is cancelled and leaves only unreferenced blocks behind.
    fn add(
        &self,
        source: Box<dyn ImportSource>,
        options: AddOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<Added, Failure>>;

    /// Opens a file for reading. Blocks that are not here are fetched from members that have them.
    fn cat(&self, path: String, range: ByteRange) -> BoxFuture<'static, Result<OpenFile, Failure>>;

    /// Every entry at and below a path, depth first, parents before children.
    fn walk(&self, path: String) -> BoxStream<'static, Result<WalkEntry, Failure>>;

    /// The entries of a directory, however many, each read once; of anything else the thing itself. The
    /// same as all pages of `content.ls`.
    fn list(&self, path: String) -> BoxStream<'static, Result<ContentInfo, Failure>>;
}

/// Runs a unary operation with its types.
pub async fn run<O: Operation>(
    node: &dyn Node,
    request: O::Request,
) -> Result<O::Response, Failure> {
    let request = serde_json::to_value(request).map_err(|error| bad_request(O::NAME, &error))?;
    let answer = node.call(O::NAME.to_owned(), request).await?;
    serde_json::from_value(answer).map_err(|error| Failure {
        code: "E_PROTOCOL".into(),
        message: format!("the answer of {} has another form than expected: {error}", O::NAME),
        hint: Some("the nodes run different versions; upgrade the older one".into()),
        retryable: false,
    })
}

pub(crate) fn bad_request(name: &str, error: &serde_json::Error) -> Failure {
    Failure {
        code: "E_USAGE".into(),
        message: format!("the request of {name} is not valid: {error}"),
        hint: Some("ipfs-kit call --list shows an example of every request".into()),
        retryable: false,
    }
}

/// Which bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// At most this many bytes; to the end without it.
    pub length: Option<u64>,
}

/// A file being read.
pub struct OpenFile {
    /// Its CID.
    pub cid: Cid,
    /// Its whole size.
    pub size_bytes: u64,
    /// The bytes of the range, verified.
    pub bytes: BoxStream<'static, Result<Bytes, Failure>>,
}

/// One entry of a tree being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// Names from the walk's root down; empty for the root itself.
    pub path: Vec<String>,
    /// What it is.
    pub kind: WalkKind,
    /// Its CID.
    pub cid: Cid,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkKind {
    /// A file; what is not here is read with [`Node::cat`] by CID.
    File {
        /// How many bytes it has.
        size_bytes: u64,
        /// All of them, where the walk has them already: a file of one block.
        bytes: Option<Bytes>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
}

/// How to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddOptions {
    /// The pin's name.
    #[serde(default)]
    pub name: String,
    /// The import profile by name; the node's default without it.
    #[serde(default)]
    pub profile: Option<String>,
    /// How files are cut, as `size-BYTES`; as the profile says without it.
    #[serde(default)]
    pub chunker: Option<String>,
    /// Only say which root it would have: nothing is stored and nothing pinned.
    #[serde(default)]
    pub only_hash: bool,
    /// Fewest copies; the cluster's default without it.
    #[serde(default)]
    pub replicas_min: Option<u16>,
    /// Copies aimed at; the cluster's default without it.
    #[serde(default)]
    pub replicas_max: Option<u16>,
    /// Milliseconds until the pin ends by itself.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// When to answer.
    #[serde(default)]
    pub ack: Ack,
}

/// When an add answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// When the minimum of copies is durable on their holders and the pin is committed.
    #[default]
    Replicated,
    /// When the blocks are durable on this node and the pin is committed; the answer says how many
    /// copies exist.
    Local,
}

/// What happens while adding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum AddEvent {
    /// Imported so far.
    Progress {
        /// Files so far.
        files: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// Blocks of a CAR so far.
    Blocks {
        /// Blocks so far.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// All blocks are durable on this node.
    Imported {
        /// The root.
        root: Cid,
        /// Files.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The pin is committed.
    Committed {
        /// At this log index.
        index: u64,
    },
    /// Copies that are durable so far.
    Replicated {
        /// Copies.
        copies: u16,
        /// Copies needed.
        needed: u16,
    },
}

/// What was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The root.
    pub root: Cid,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Blocks of the whole tree.
    pub blocks: u64,
    /// Copies that are durable now; 0 if nothing was to be stored.
    pub copies: u16,
    /// The log index of the pin; `None` without a cluster, or if nothing was to be stored.
    pub index: Option<u64>,
}

/// A tree to import. It drives: directories before what is in them, siblings in one run.
pub trait ImportSource: Send {
    /// Hands every entry to `sink`, in order. An error ends the import; nothing is pinned.
    fn drive(self: Box<Self>, sink: &mut dyn ImportSink) -> Result<(), ImportError>;
}

/// Where a tree goes. Paths are `/`-separated names from the root down, raw bytes as the source has them;
/// a single file or link with an empty path is the root itself.
pub trait ImportSink {
    /// A directory.
    fn directory(&mut self, path: &[u8]) -> Result<(), ImportError>;
    /// A file with its bytes.
    fn file(&mut self, path: &[u8], bytes: &mut dyn Read) -> Result<(), ImportError>;
    /// A symbolic link.
    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ImportError>;
}

/// Why an import ended. Nothing is pinned; blocks written so far are collected later.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source can't be read.
    #[error("can't read {path}")]
    Read {
        /// Which entry.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tree breaks a rule: names, sizes, order.
    #[error("{}{reason}", at(path))]
    Invalid {
        /// Which entry; empty where the reason names it.
        path: String,
        /// Which rule.
        reason: String,
    },
    /// The node can't store it.
    #[error("can't store blocks: {reason}")]
    Store {
        /// The stable code: full, read-only, broken.
        code: &'static str,
        /// Why.
        reason: String,
    },
    /// Nobody waits for it any more.
    #[error("the import was cancelled")]
    Cancelled,
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
