//! Adding: import, pin, wait for the copies.

use std::time::Duration;

use ipfs_kit_content::profile::{Chunker, Profile};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{CidRequest, PinAdd, PinAddRequest, PinInfo, PinStatus, PinStatusKind};
use ipfs_kit_core::pin::{ContentKind, ReplicaState};
use ipfs_kit_store::blocks::LeaseId;
use tokio::sync::mpsc;

use super::own_pins::check_own;
use super::{Hint, Operations, busy, failure};
use crate::api::{Ack, AddEvent, AddOptions, Added, Failure, ImportError, ImportSource};
use crate::causes::with_causes;
use crate::ipfs::{Import, ImportPlan, Imported, ImportedBlocks};
use crate::node::Cluster;
use crate::ports::{WorkLane, work};
use crate::store::{Flight, LeaseVerdict, lease_import};

/// An import has no deadline of its own; whoever waits for it decides.
const IMPORT_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);
/// First pause between two looks at the copies; doubles.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// Longest such pause.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long an unanswered look is tried again before the add gives up waiting.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// What to do when the disk takes nothing.
pub(super) const DISK_FAILED: &str =
    "nothing was pinned; look after the disk: ipfs-kit status and the node's log say more";

impl Operations {
    /// Imports a tree and, in a cluster, pins it; see [`crate::api::Node::add`] for what it promises.
    pub async fn add(
        &self,
        source: Box<dyn ImportSource>,
        options: AddOptions,
        events: mpsc::Sender<AddEvent>,
    ) -> Result<Added, Failure> {
        let plan = self.plan(&options)?;
        if self.parts.cluster.is_none() {
            check_own(options.replicas_min, options.expires_in_ms)?;
        }
        let flight = self.parts.flights.begin();
        let import = Import { source, plan, events: events.clone() };
        let imported = self.parts.ipfs.ask_within(import, IMPORT_DEADLINE).await;
        let imported = imported.map_err(|e| busy(&e))?.map_err(|error| import_failure(&error))?;
        if options.only_hash {
            return Ok(added(&imported, 0, None));
        }
        let wish = Wish {
            cid: imported.root.clone(),
            name: options.name.clone(),
            size_bytes: Some(imported.bytes),
            kind: imported.kind,
            replicas_min: options.replicas_min,
            replicas_max: options.replicas_max,
            expires_in_ms: options.expires_in_ms,
        };
        let kept = self.keep(vec![wish], options.ack, flight, &events).await?;
        let kept = kept.first().cloned().unwrap_or_default();
        Ok(added(&imported, kept.copies, kept.index))
    }

    /// Pins roots whose blocks are all here and durable. All of them are leased before the first is
    /// pinned, and a lease ends when its pin can do without. After an error the pins that are committed
    /// stay, and the store's shell looks after the leases.
    pub(super) async fn keep(
        &self,
        wishes: Vec<Wish>,
        ack: Ack,
        flight: Flight,
        events: &mpsc::Sender<AddEvent>,
    ) -> Result<Vec<Kept>, Failure> {
        let mut leases = Vec::new();
        for wish in &wishes {
            leases.push(self.lease(&wish.cid).await?);
        }
        let Some(cluster) = self.parts.cluster.clone() else {
            for wish in &wishes {
                self.hold(&wish.cid).await?;
            }
            for lease in leases {
                self.release(lease).await;
            }
            return Ok(vec![Kept { copies: 1, index: None }; wishes.len()]);
        };
        let mut pins = Vec::new();
        for wish in wishes {
            let pin = self.typed_call::<PinAdd>(wish.into_request(&cluster)).await?;
            // A slow listener misses a step, not the result.
            let _ = events.try_send(AddEvent::Committed { index: pin.revision });
            pins.push(pin);
        }
        // From here on the pins speak for the leases.
        drop(flight);
        let mut kept = Vec::new();
        for (pin, lease) in pins.into_iter().zip(leases) {
            let index = Some(pin.revision);
            let pin = match ack {
                Ack::Local => pin,
                Ack::Replicated => self.wait_for_copies(pin, events).await?,
            };
            // Committed with no copy so far: the lease stays until there is one, see the store's shell.
            if pin.replicas_live > 0 {
                self.release(lease).await;
            }
            kept.push(Kept { copies: pin.replicas_live, index });
        }
        Ok(kept)
    }

    /// What the lease of an imported root is good for.
    pub async fn judge_lease(&self, root: Cid) -> LeaseVerdict {
        match self.typed_call::<PinStatus>(CidRequest { cid: root }).await {
            Ok(pin) if pin.replicas_live >= pin.replicas_min => LeaseVerdict::Done,
            Err(failure) if failure.code == "E_NOT_FOUND" => LeaseVerdict::NoPin,
            Ok(_) | Err(_) => LeaseVerdict::Needed,
        }
    }

    fn plan(&self, options: &AddOptions) -> Result<ImportPlan, Failure> {
        let name = options.profile.as_deref().unwrap_or(&self.parts.profile);
        let profile: Profile = name.parse().map_err(|error| {
            failure("E_USAGE", format!("{error}"))
                .hint("the profiles are unixfs-v1-2025 and unixfs-v0-2015")
        })?;
        let mut params = profile.params();
        if let Some(chunker) = &options.chunker {
            let chunker: Chunker =
                chunker.parse().map_err(|error| failure("E_USAGE", format!("{error}")))?;
            params.chunk_len_bytes = chunker.chunk_len_bytes;
        }
        let blocks = match options.only_hash {
            true => ImportedBlocks::Forgotten,
            false => ImportedBlocks::Stored,
        };
        Ok(ImportPlan { params, hash_threads: self.parts.hash_threads, blocks })
    }

    /// Waits until the minimum of copies is durable, or until it can't be any more.
    async fn wait_for_copies(
        &self,
        mut pin: PinInfo,
        events: &mpsc::Sender<AddEvent>,
    ) -> Result<PinInfo, Failure> {
        let mut pause = LOOK_MIN;
        let mut told = None;
        let mut unanswered = Duration::ZERO;
        loop {
            if told != Some(pin.replicas_live) {
                told = Some(pin.replicas_live);
                let (copies, needed) = (pin.replicas_live, pin.replicas_min);
                let _ = events.try_send(AddEvent::Replicated { copies, needed });
            }
            if pin.replicas_live >= pin.replicas_min {
                return Ok(pin);
            }
            if pin.status == PinStatusKind::Failed {
                return Err(replication_failure(&pin));
            }
            if events.is_closed() {
                return Err(failure("E_CANCELLED", "nobody waits for the copies any more".into()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
            match self.typed_call::<PinStatus>(CidRequest { cid: pin.cid.clone() }).await {
                Ok(now) => {
                    unanswered = Duration::ZERO;
                    pin = now;
                }
                Err(failure) if failure.retryable && unanswered < LOOK_PATIENCE => {
                    unanswered += pause;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn lease(&self, root: &Cid) -> Result<LeaseId, Failure> {
        let (blocks, root) = (self.parts.blocks.clone(), root.to_cid());
        let job = move || lease_import(&blocks, &root);
        let leased = work(&*self.parts.executor, WorkLane::Files, job).await;
        let stopping = |_| failure("E_BUSY", "the node is stopping".into());
        leased.map_err(stopping)?.map_err(|error| {
            failure("E_STORE", format!("the root can't be leased: {error}")).hint(DISK_FAILED)
        })
    }

    async fn release(&self, lease: LeaseId) {
        let blocks = self.parts.blocks.clone();
        let job = move || blocks.release_lease(lease);
        if let Ok(Err(reason)) = work(&*self.parts.executor, WorkLane::Files, job).await {
            tracing::warn!(%reason, "an import's lease stays until it is looked at again");
        }
    }
}

/// A root to be pinned.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) cid: Cid,
    pub(super) name: String,
    pub(super) size_bytes: Option<u64>,
    pub(super) kind: ContentKind,
    pub(super) replicas_min: Option<u16>,
    pub(super) replicas_max: Option<u16>,
    pub(super) expires_in_ms: Option<u64>,
}

impl Wish {
    fn into_request(self, cluster: &Cluster) -> PinAddRequest {
        PinAddRequest {
            cid: self.cid,
            name: self.name,
            replicas_min: self.replicas_min,
            replicas_max: self.replicas_max,
            expires_in_ms: self.expires_in_ms,
            metadata: Default::default(),
            size_bytes: self.size_bytes,
            kind: self.kind,
            origin: Some(cluster.node),
        }
    }
}

/// A root that is pinned.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) copies: u16,
    /// `None` without a cluster.
    pub(super) index: Option<u64>,
}

fn added(imported: &Imported, copies: u16, index: Option<u64>) -> Added {
    Added {
        root: imported.root.clone(),
        files: imported.files,
        directories: imported.directories,
        symlinks: imported.symlinks,
        bytes: imported.bytes,
        blocks: imported.blocks,
        copies,
        index,
    }
}

fn replication_failure(pin: &PinInfo) -> Failure {
    let reasons: Vec<String> = pin
        .replicas
        .iter()
        .filter_map(|replica| match &replica.state {
            ReplicaState::Failed { reason } => Some(format!("{}: {reason}", replica.node)),
            _ => None,
        })
        .collect();
    let message = format!(
        "the pin is committed, but every holder gave up, {} of {} copies exist ({})",
        pin.replicas_live,
        pin.replicas_min,
        reasons.join("; ")
    );
    failure("E_REPLICATION", message)
        .hint("the cluster tries again slowly; ipfs-kit pin status shows how it goes")
        .retryable()
}

fn import_failure(error: &ImportError) -> Failure {
    let message = with_causes(error);
    match error {
        ImportError::Read { .. } => failure("E_READ", message)
            .hint("nothing was pinned; add again once the file can be read"),
        ImportError::Invalid { .. } => failure("E_INVALID_TREE", message)
            .hint("rename it or leave it out (--ignore); nothing was added"),
        ImportError::Store { code: "E_FULL", .. } => failure("E_FULL", message)
            .hint("unpin something, free the disk, or change storage.max or storage.reserve; nothing was pinned"),
        ImportError::Store { code, .. } => failure(code, message)
            .hint(DISK_FAILED),
        ImportError::Cancelled => failure("E_CANCELLED", message),
    }
}
