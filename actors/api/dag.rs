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
