//! Starting from what the disk holds: the newest checkpoint, then the log behind it.

use std::collections::BTreeMap;

use ipfs_kit_consensus as raft;
use ipfs_kit_core::state::{ClusterState, LoadError};
use ipfs_kit_store::checkpoint::{CheckpointError, CheckpointMeta, Checkpoints};
use ipfs_kit_store::raft_log::{self, RaftLog, RaftLogError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::housekeeping::Leadership;
use super::log_view::StoredLog;
use super::requests::Requests;
use super::snapshots::{load, to_raft};
use super::{Deps, Task, Told, raft_id};

/// Background jobs whose results may wait.
const JOBS_MAX: usize = 16;

/// Why consensus can't start. Nothing was changed; starting again with the same files fails again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A checkpoint can't be read.
    #[error("the checkpoints can't be read")]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint's bytes can't be read.
    #[error("a checkpoint can't be read")]
    Read(#[source] std::io::Error),
    /// A checkpoint's state can't be understood.
    #[error("a checkpoint's state can't be understood")]
    State(#[from] LoadError),
    /// A checkpoint's members can't be understood.
    #[error("a checkpoint's raft members can't be understood")]
    Conf(#[from] raft::DecodeError),
    /// The snapshot that was just received is gone.
    #[error("the checkpoint of entry {index} is missing")]
    MissingCheckpoint {
        /// Its applied index.
        index: u64,
    },
    /// The log can't be prepared.
    #[error("the raft log can't be prepared")]
    Log(#[from] RaftLogError),
    /// Checkpoint and log contradict each other.
    #[error("raft can't start from what is stored")]
    Raft(#[from] raft::RecoverError),
}

/// Writes the first checkpoint of a new cluster, whose only voter is this node. Durable on return;
/// repeating it after a crash is harmless.
pub fn found(
    log: &RaftLog,
    checkpoints: &Checkpoints,
    state: &ClusterState,
    node: ipfs_kit_core::id::NodeId,
) -> Result<(), RecoveryError> {
    let first = raft::Recovered::first_member(raft_id(node));
    let meta = CheckpointMeta {
        applied_index: raft::BOOTSTRAP_INDEX,
        term: raft::BOOTSTRAP_TERM,
        conf_state: first.conf.encode(),
    };
    checkpoints.save(meta, &state.to_bytes())?;
    let position = raft_log::Position { index: raft::BOOTSTRAP_INDEX, term: raft::BOOTSTRAP_TERM };
    let raft::HardState { term, vote, commit } = first.hard_state;
    log.append(&raft_log::Batch {
        restart_after: Some(position),
        entries: Vec::new(),
        hard_state: Some(raft_log::HardState { term, vote, commit }),
    })?;
    Ok(())
}

pub(super) fn recover(deps: Deps) -> Result<Task, RecoveryError> {
    let loaded = deps.checkpoints.load_newest()?;
    for damaged in &loaded.damaged {
        tracing::error!(name = %damaged.name, reason = %damaged.error, "a checkpoint has decayed");
    }
    let hard = deps.log.hard_state();
    let mut recovered = raft::Recovered {
        hard_state: raft::HardState { term: hard.term, vote: hard.vote, commit: hard.commit },
        ..raft::Recovered::joining()
    };
    let mut state = ClusterState::default();
    let mut applied_term = 0;
    if let Some(checkpoint) = &loaded.checkpoint {
        let manifest = checkpoint.manifest();
        state = load(checkpoint)?;
        recovered.conf = raft::ConfState::decode(manifest.conf_state.clone())?;
        recovered.applied = manifest.applied_index;
        recovered.checkpoint = Some(to_raft(manifest, recovered.conf.clone(), raft_id(deps.node)));
        applied_term = manifest.term;
        // A crash between the installation of a snapshot and the log's restart: the log ends before the
        // snapshot, or holds other entries in its place.
        let restart = match deps.log.term(manifest.applied_index) {
            Ok(term) => term != manifest.term,
            Err(RaftLogError::Beyond { .. }) => true,
            // The log has let go of what stands between: entries would be missing, so nothing is touched.
            Err(error) => return Err(error.into()),
        };
        if restart {
            let position =
                raft_log::Position { index: manifest.applied_index, term: manifest.term };
            let hard = raft_log::HardState {
                term: hard.term.max(manifest.term),
                vote: if hard.term < manifest.term { 0 } else { hard.vote },
                commit: manifest.applied_index,
            };
            deps.log.append(&raft_log::Batch {
                restart_after: Some(position),
                entries: Vec::new(),
                hard_state: Some(hard),
            })?;
            recovered.hard_state =
                raft::HardState { term: hard.term, vote: hard.vote, commit: hard.commit };
        }
    }
    let suspect = deps.log.is_suspect();
    recovered.tail = if suspect { raft::LogTail::Suspect } else { raft::LogTail::Whole };
    let checkpoint_index = recovered.applied;
    let conf = recovered.conf.clone();
    deps.handle.state.write(|shared| *shared = state);
    let core = raft::RaftCore::new(config(&deps), recovered, StoredLog(deps.log.clone()))?;
    let (jobs, job_results) = mpsc::channel(JOBS_MAX);
    Ok(Task {
        core,
        conf,
        requests: Requests::default(),
        reads: BTreeMap::new(),
        next_read: 0,
        applied_own_term: 0,
        applied_term,
        checkpoint_index,
        checkpointing: false,
        receiving: false,
        pending_offer: None,
        jobs,
        job_results: Some(job_results),
        told: Told::default(),
        glance: Leadership::default(),
        suspect_since: suspect.then(Instant::now),
        membership_asked: 0,
        ticks: 0,
        unwritten: None,
        telling: Alarm::default(),
        deps,
    })
}

fn config(deps: &Deps) -> raft::Config {
    let settings = deps.settings;
    raft::Config {
        election_ticks: settings.election_ticks as u32,
        heartbeat_ticks: settings.heartbeat_ticks as u32,
        read_retry_ticks: settings.election_ticks as u32,
        ..raft::Config::new(raft_id(deps.node), deps.seed, deps.incarnation.0)
    }
}
