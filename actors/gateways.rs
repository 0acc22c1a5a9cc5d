//! Gateways: servers outside the cluster that are asked for what no member has. Every byte is checked
//! against its CID before it is believed.

use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;
use futures_util::future::join_all;
use ipfs_kit_content::cid::verify;
use ipfs_kit_core::gateways::{Fault, GatewayLedger};
use ipfs_kit_store::blocks::BlockStore;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::ports::{Executor, Gateway};
use crate::shared::Shared;
use crate::transfer::{TransferError, Transferred};

mod bring;

/// Requests under way at once from this node.
const REQUESTS_MAX: usize = 16;

/// The configured gateways; clones share what is known of them.
#[derive(Clone)]
pub struct Gateways {
    all: Arc<[Arc<dyn Gateway>]>,
    ledger: Shared<GatewayLedger>,
    turns: Arc<Semaphore>,
    began: Instant,
}

/// Where whole DAGs go.
pub struct Destination<'a> {
    /// The block store.
    pub blocks: &'a BlockStore,
    /// Runs the blocking parts.
    pub executor: &'a dyn Executor,
}

/// Whom a question reached that brought nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Those that said that they don't have it.
    pub without: u32,
    /// Those without an answer, or with a wrong one. They may have it.
    pub silent: u32,
}

impl Asked {
    /// Everybody.
    pub fn total(self) -> u32 {
        self.without + self.silent
    }
}

impl Default for Gateways {
    /// None.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Gateways {
    /// These gateways, of which nothing is known yet.
    pub fn new(all: Vec<Arc<dyn Gateway>>) -> Self {
        Self {
            ledger: Shared::new(GatewayLedger::new(all.len())),
            all: all.into(),
            turns: Arc::new(Semaphore::new(REQUESTS_MAX)),
            began: Instant::now(),
        }
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A block from the first gateway that has it, checked.
    ///
    /// # Errors
    /// How many were asked; those that are left alone for now count as silent. Retrying later may help.
    pub async fn block(&self, cid: Cid) -> Result<Bytes, Asked> {
        let usable = self.usable();
        let mut asked = Asked { without: 0, silent: (self.all.len() - usable.len()) as u32 };
        for at in usable {
            // The semaphore is never closed; were it, nothing could be asked.
            let Ok(_turn) = self.turns.acquire().await else { break };
            match self.all[at].block(cid).await {
                Ok(Some(bytes)) => match verify(&cid, &bytes) {
                    Ok(()) => {
                        self.ledger.write(|ledger| ledger.behaved(at));
                        return Ok(bytes);
                    }
                    Err(error) => {
                        self.blame(at, Fault::Wrong, &error);
                        asked.silent += 1;
                    }
                },
                Ok(None) => {
                    self.ledger.write(|ledger| ledger.behaved(at));
                    asked.without += 1;
                }
                Err(error) => {
                    self.blame(at, Fault::Silent, &error);
                    asked.silent += 1;
                }
            }
        }
        Err(asked)
    }

    /// Those of these blocks that a gateway has, in any order, and how the question for the first one went.
    pub async fn blocks(&self, cids: &[Cid]) -> (Vec<(Cid, Bytes)>, Asked) {
        let answers = join_all(cids.iter().map(|cid| self.block(*cid))).await;
        let (mut found, mut first) = (Vec::new(), None);
        for (cid, answer) in cids.iter().zip(answers) {
            match answer {
                Ok(bytes) => {
                    first.get_or_insert(Asked::default());
                    found.push((*cid, bytes));
                }
                Err(asked) => _ = first.get_or_insert(asked),
            }
        }
        (found, first.unwrap_or_default())
    }

    /// Makes the DAG under `root` whole and durable from gateways alone, as far as they have it: the total
    /// says how much came. First as a CAR, then block by block. Dropping the future cancels it; what came
    /// is kept.
    ///
    /// # Errors
    /// The store can't take it, the content is not valid, or the node is stopping.
    pub async fn bring(
        &self,
        root: &Cid,
        to: Destination<'_>,
    ) -> Result<Transferred, TransferError> {
        if self.is_empty() {
            return Ok(Transferred::default());
        }
        bring::bring(self, root, &to).await
    }

    fn usable(&self) -> Vec<usize> {
        self.ledger.read(|ledger| ledger.usable(self.now_ms()))
    }

    fn blame(&self, at: usize, fault: Fault, error: &dyn std::error::Error) {
        let (gateway, error) = (self.all[at].name(), crate::causes::with_causes(error));
        match fault {
            Fault::Wrong => tracing::error!(gateway, error, "a gateway sent wrong bytes"),
            Fault::Silent => tracing::warn!(gateway, error, "a gateway does not answer"),
        }
        self.ledger.write(|ledger| ledger.failed(self.now_ms(), at, fault));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
