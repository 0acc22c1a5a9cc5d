//! What a node remembers over restarts besides blocks and Raft: its membership, its view, and that it has
//! been served by Raft.

use std::sync::Arc;

use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::follow::View;
use ipfs_kit_store::disk::{Disk, DiskError};
use ipfs_kit_store::files::{FileError, read_record, write_record};

use crate::ports::{Executor, WorkLane};
use crate::settings::Membership;

/// Where the membership is kept.
pub const MEMBERSHIP_FILE: &str = "membership";
const MEMBERSHIP_MAGIC: [u8; 4] = *b"IKMB";
const MEMBERSHIP_BYTES_MAX: u64 = 16 * 1024 * 1024;
const VIEW_FILE: &str = "view";
const VIEW_MAGIC: [u8; 4] = *b"IKVW";
const VIEW_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const RAFT_USED_FILE: &str = "raft.used";
const RAFT_USED_MAGIC: [u8; 4] = *b"IKRU";
const RECORD_VERSION: u16 = 1;

/// Why something remembered can't be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is damaged or can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file can't be written; what it held before is intact.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file holds something else than expected.
    #[error("{path} can't be understood")]
    Decode {
        /// Which file.
        path: &'static str,
        /// Why.
        #[source]
        source: codec::Error,
    },
}

/// Small files of the node's folder.
#[derive(Clone)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    executor: Arc<dyn Executor>,
}

impl Journal {
    /// Over the node's folder.
    pub fn new(disk: Arc<dyn Disk>, executor: Arc<dyn Executor>) -> Self {
        Self { disk, executor }
    }

    /// Remembers the view, later. It is a cache of what the masters know: a failure costs a transfer at
    /// the next start and is only logged.
    pub fn save_view(&self, view: View) {
        let disk = Arc::clone(&self.disk);
        self.executor.run(
            WorkLane::Files,
            Box::new(move || {
                let bytes = codec::seal(Kind::Record, &view);
                let written = write_record(&*disk, VIEW_FILE, VIEW_MAGIC, RECORD_VERSION, &bytes);
                if let Err(reason) = written {
                    tracing::warn!(%reason, "the view is not remembered");
                }
            }),
        );
    }

    /// Remembers, later, where the masters are: the one thing without which a restarted node finds nobody.
    pub fn save_membership(&self, membership: Membership) {
        let disk = Arc::clone(&self.disk);
        self.executor.run(
            WorkLane::Files,
            Box::new(move || {
                if let Err(reason) = save_membership(&*disk, &membership) {
                    tracing::warn!(%reason, "where the masters are is not remembered");
                }
            }),
        );
    }

    /// Remembers, later, that Raft has something here.
    pub fn save_raft_used(&self) {
        let disk = Arc::clone(&self.disk);
        self.executor.run(
            WorkLane::Files,
            Box::new(move || {
                if let Err(reason) = save_raft_used(&*disk) {
                    tracing::warn!(%reason, "it is not remembered that raft is in use");
                }
            }),
        );
    }

    /// The view as it was remembered; a damaged one is as good as none.
    pub fn load_view(&self) -> Option<View> {
        match load(&*self.disk, VIEW_FILE, VIEW_MAGIC, VIEW_BYTES_MAX) {
            Ok(view) => view,
            Err(reason) => {
                tracing::warn!(%reason, "the remembered view is not used");
                None
            }
        }
    }
}

/// Remembers the membership; durable on return.
pub fn save_membership(disk: &dyn Disk, membership: &Membership) -> Result<(), JournalError> {
    let bytes = codec::seal(Kind::Record, membership);
    write_record(disk, MEMBERSHIP_FILE, MEMBERSHIP_MAGIC, RECORD_VERSION, &bytes)?;
    Ok(())
}

/// The membership, if this node has one.
pub fn load_membership(disk: &dyn Disk) -> Result<Option<Membership>, JournalError> {
    load(disk, MEMBERSHIP_FILE, MEMBERSHIP_MAGIC, MEMBERSHIP_BYTES_MAX)
}

/// Remembers that Raft has something here, which may not vanish any more; durable on return.
pub fn save_raft_used(disk: &dyn Disk) -> Result<(), DiskError> {
    write_record(disk, RAFT_USED_FILE, RAFT_USED_MAGIC, RECORD_VERSION, &[])
}

/// Whether Raft has had something here.
pub fn is_raft_used(disk: &dyn Disk) -> Result<bool, FileError> {
    Ok(read_record(disk, RAFT_USED_FILE, RAFT_USED_MAGIC, 0)?.is_some())
}

fn load<T: serde::de::DeserializeOwned>(
    disk: &dyn Disk,
    path: &'static str,
    magic: [u8; 4],
    bytes_max: u64,
) -> Result<Option<T>, JournalError> {
    let Some(record) = read_record(disk, path, magic, bytes_max)? else { return Ok(None) };
    codec::open(Kind::Record, &record.payload, bytes_max as usize)
        .map(Some)
        .map_err(|source| JournalError::Decode { path, source })
}
