//! Snapshots: Raft carries the manifest, the state streams beside it in verified chunks.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_consensus as raft;
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::proto::{Request, Response};
use ipfs_kit_core::state::{ClusterState, Loader};
use ipfs_kit_store::checkpoint::{Checkpoint, CheckpointError, Checkpoints, ChunkHashes, Manifest};

use super::recovery::RecoveryError;
use super::{ConsensusError, Job, StatePart, Task, raft_id};
use crate::events::Applied;
use crate::rpc::{Rpc, RpcError, unexpected};

/// How long one chunk may take.
const CHUNK_DEADLINE: Duration = Duration::from_secs(10);

/// A stored checkpoint as Raft names it.
pub fn to_raft(
    manifest: &Manifest,
    conf: raft::ConfState,
    source: raft::RaftId,
) -> raft::SnapshotManifest {
    raft::SnapshotManifest {
        index: manifest.applied_index,
        term: manifest.term,
        conf,
        size_bytes: manifest.len_bytes,
        checksum: manifest.root,
        source,
    }
}

fn from_raft(manifest: &raft::SnapshotManifest) -> Manifest {
    Manifest {
        applied_index: manifest.index,
        term: manifest.term,
        conf_state: manifest.conf.encode(),
        len_bytes: manifest.size_bytes,
        root: manifest.checksum,
    }
}

/// Reads a checkpoint's state back.
pub fn load(checkpoint: &Checkpoint) -> Result<ClusterState, RecoveryError> {
    let mut reader = checkpoint.reader();
    let mut loader = Loader::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = reader.read(&mut buffer).map_err(RecoveryError::Read)?;
        if read == 0 {
            return Ok(loader.finish()?);
        }
        loader.push(&buffer[..read])?;
    }
}

impl Task {
    /// Answers a lagging master from a checkpoint.
    pub(super) fn serve_state(
        &mut self,
        from: NodeId,
        root: &[u8; 32],
        part: StatePart,
    ) -> Result<Response, ConsensusError> {
        let Some(checkpoint) = self.deps.checkpoints.get(root)? else {
            return Ok(Response::Unavailable { reason: "that checkpoint is gone".into() });
        };
        self.core.report_snapshot(raft_id(from), raft::SnapshotReport::Progress)?;
        Ok(match part {
            StatePart::Hashes => {
                Response::StateHashes(Bytes::copy_from_slice(checkpoint.chunk_hashes().as_bytes()))
            }
            StatePart::Chunk(chunk) => match checkpoint.read_chunk(chunk) {
                Ok(bytes) => Response::StateChunk(bytes),
                Err(error) => Response::Refused { reason: error.to_string() },
            },
        })
    }

    /// Fetches the state of an offer in the background, one at a time.
    pub(super) fn fetch_snapshot(&mut self, offer: raft::SnapshotOffer) {
        if self.receiving || self.pending_offer.is_some() {
            return;
        }
        self.receiving = true;
        let (rpc, checkpoints) = (self.deps.rpc.clone(), Arc::clone(&self.deps.checkpoints));
        let jobs = self.jobs.clone();
        tokio::task::spawn_local(async move {
            let job = match receive(&rpc, &checkpoints, &offer).await {
                Ok(()) => Job::SnapshotReceived(offer),
                Err(error) => Job::SnapshotFailed(error.to_string()),
            };
            // The task has ended meanwhile; what has arrived is kept for the next offer.
            let _ = jobs.send(job).await;
        });
    }

    /// Steps a received offer as soon as Raft can take it.
    pub(super) fn retry_offer(&mut self) {
        let Some(offer) = self.pending_offer.take() else { return };
        match self.core.snapshot_received(&offer) {
            Ok(_) => {}
            Err(
                raft::MessageError::NoLeader
                | raft::MessageError::Applying { .. }
                | raft::MessageError::Busy { .. },
            ) => self.pending_offer = Some(offer),
            Err(reason) => tracing::warn!(%reason, "the snapshot was refused"),
        }
    }

    /// Replaces the state by an installed snapshot's.
    pub(super) fn restore(
        &mut self,
        manifest: &raft::SnapshotManifest,
    ) -> Result<(), ConsensusError> {
        let missing = || RecoveryError::MissingCheckpoint { index: manifest.index };
        let checkpoint = self.deps.checkpoints.get(&manifest.checksum)?.ok_or_else(missing)?;
        let state = load(&checkpoint)?;
        tracing::info!(index = manifest.index, "state restored from a snapshot");
        self.deps.handle.state.write(|mine| *mine = state);
        self.conf = manifest.conf.clone();
        self.applied_term = manifest.term;
        self.checkpoint_index = manifest.index;
        let epoch = self.deps.handle.state.read(ClusterState::epoch);
        (self.deps.on_applied)(Applied { epoch, entries: Vec::new() });
        Ok(())
    }
}

/// Why a snapshot did not arrive; what did is kept.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the hashes of the chunks are cut off")]
    Hashes,
}

async fn receive(
    rpc: &Rpc,
    checkpoints: &Checkpoints,
    offer: &raft::SnapshotOffer,
) -> Result<(), ReceiveError> {
    let root = offer.manifest.checksum;
    let source = NodeId(offer.manifest.source.get());
    if checkpoints.get(&root)?.is_some() {
        return Ok(());
    }
    let hashes = match rpc.call(source, &Request::StateHashes { root }, CHUNK_DEADLINE).await? {
        Response::StateHashes(bytes) => bytes,
        other => return Err(unexpected(source, &other).into()),
    };
    let hashes = ChunkHashes::from_bytes(&hashes).ok_or(ReceiveError::Hashes)?;
    let mut receiving = checkpoints.receive(from_raft(&offer.manifest), hashes)?;
    while let Some(chunk) = receiving.next_chunk() {
        let request = Request::StateChunk { root, chunk };
        match rpc.call(source, &request, CHUNK_DEADLINE).await? {
            Response::StateChunk(bytes) => receiving.write_chunk(chunk, &bytes)?,
            other => return Err(unexpected(source, &other).into()),
        }
    }
    receiving.finish()?;
    Ok(())
}
