//! What interfaces may ask below files: DAGs of any codec, and CARs of them.

use std::io::Read;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use ipfs_kit_core::id::Cid;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Ack, AddEvent, Failure};

/// DAGs and the blocks that they are made of.
pub trait Dag: Send + Sync {
    /// A DAG as CARv1, each block once, depth first. Blocks that are not here are fetched from members
    /// that have them.
    fn export_car(&self, root: Cid) -> BoxStream<'static, Result<Bytes, Failure>>;

    /// Takes in a CAR and pins its roots. Progress goes to `events`; when its receiver is dropped the
    /// import is cancelled and leaves only unreferenced blocks behind.
    fn import_car(
        &self,
        car: Box<dyn Read + Send>,
        options: CarOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> BoxFuture<'static, Result<CarImported, Failure>>;

    /// A block's bytes, from here or from a member that has it.
    fn block(&self, cid: Cid) -> BoxFuture<'static, Result<Bytes, Failure>>;

    /// The value at a path, written in a codec by name. Paths go through names of directories, keys of maps
    /// and positions in lists, and through links.
    fn value(&self, path: String, codec: String) -> BoxFuture<'static, Result<Bytes, Failure>>;

    /// Stores a block.
    fn put(&self, data: Bytes, options: PutOptions) -> BoxFuture<'static, Result<Put, Failure>>;

    /// Reads and checks every block that is stored here.
    fn verify(&self) -> BoxStream<'static, Result<VerifyLine, Failure>>;
}

/// How to store a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutOptions {
    /// The codec that the data comes in, by name, if it is to be written in another one.
    #[serde(default)]
    pub input_codec: Option<String>,
    /// The block's codec by name.
    #[serde(default = "raw")]
    pub codec: String,
    /// The hash function by name.
    #[serde(default = "sha2_256")]
    pub hash: String,
    /// Whether it is pinned; otherwise the next collection takes it, unless something else keeps it.
    #[serde(default)]
    pub pin: bool,
}

fn raw() -> String {
    "raw".into()
}

fn sha2_256() -> String {
    "sha2-256".into()
}

/// A block that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The block.
    pub cid: Cid,
    /// Its bytes.
    pub size_bytes: u64,
    /// Whether it is pinned now.
    pub pinned: bool,
}

/// What a check of all blocks finds. The last line is `Done`, or `Failed` on its way to users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum VerifyLine {
    /// So much is checked.
    Progress {
        /// Blocks so far.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A block that has decayed.
    Damaged {
        /// The block as raw CIDv1: the store knows blocks by their hashes alone.
        cid: Cid,
        /// The segment file's number.
        segment: u32,
        /// Where its record begins in it.
        offset: u64,
    },
    /// A block whose bytes are not what its hash says, though they are what was written.
    Wrong {
        /// The block, as above.
        cid: Cid,
    },
    /// All is checked.
    Done {
        /// Blocks that are fine.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
        /// Blocks that are not.
        bad: u64,
    },
    /// It was given up.
    Failed {
        /// Why.
        error: Failure,
    },
}

/// How to take in a CAR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarOptions {
    /// Whether its roots are pinned; otherwise the next collection takes what nothing else keeps.
    #[serde(default = "yes")]
    pub pin_roots: bool,
    /// The pins' name.
    #[serde(default)]
    pub name: String,
    /// Fewest copies; the cluster's default without it.
    #[serde(default)]
    pub replicas_min: Option<u16>,
    /// Copies aimed at; the cluster's default without it.
    #[serde(default)]
    pub replicas_max: Option<u16>,
    /// Milliseconds until the pins end by themselves.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// When to answer.
    #[serde(default)]
    pub ack: Ack,
}

const fn yes() -> bool {
    true
}

/// What came in with a CAR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarImported {
    /// Its roots, in its order.
    pub roots: Vec<CarRoot>,
    /// Blocks in it, repetitions included.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that were not here before.
    pub stored_blocks: u64,
}

/// A root of a CAR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarRoot {
    /// The root.
    pub cid: Cid,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Copies that are durable now; 0 where it is not pinned.
    pub copies: u16,
    /// The log index of the pin; `None` without a cluster.
    pub index: Option<u64>,
}
