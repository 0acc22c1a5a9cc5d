//! Raft without I/O: the ready loop, membership and snapshots.
//!
//! [`RaftCore`] wraps the Raft implementation of the `raft` package. It has no clock, no threads,
//! no sockets and no files, and the same inputs with the same seed give the same outputs. Its
//! caller, the shell, owns all of those and drives it:
//!
//! ```text
//!   tick, message, propose, read_index, ...         inputs; those from the network queue up while
//!        |                                          a batch is out
//!        v
//!   ready() -> Ready                                send `messages` now; write `batch` in one go
//!        |                                          and make it durable
//!        v
//!   persisted(number) -> AfterPersist               send `messages`; apply `committed` in order,
//!        |                                          with apply_membership() for each change
//!        v
//!   applied(index) -> reads that may be answered    and again from the top
//! ```
//!
//! What must not be sent before it is durable is only handed out by `persisted`, what must not be
//! applied before it is durable likewise, and calls that come out of turn are refused. Entries are
//! opaque bytes: what they mean is for the application.
//!
//! A panic from within is a broken invariant of Raft itself. Drop the core and start again from
//! the disk; never go on with it.

mod codec;
mod compaction;
mod conf;
mod config;
mod error;
mod id;
mod log;
mod logging;
mod membership;
mod raft_core;
mod reads;
mod snapshot;
mod status;
mod storage;
#[cfg(feature = "testkit")]
pub mod testkit;
mod timeout;
mod transfers;
mod wire;

#[cfg(test)]
mod testnet;

pub use codec::DecodeError;
pub use compaction::CompactionPolicy;
pub use conf::{
    CONTEXT_MAX_BYTES, ConfState, MEMBERS_MAX, MemberRole, MembershipChange, MembershipEntry,
    RequestId,
};
pub use config::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Config, LogTail, RecoverError, Recovered};
pub use error::{CoreFailure, CycleError, MessageError, ProposeError, TooManyReads, TransferError};
pub use id::RaftId;
pub use log::{EntryKind, HardState, LogEntry, LogError, LogView, MemLog};
pub use membership::{
    ChangeRefusal, DesiredMembers, MembershipPolicy, MembershipStep, WaitReason, check_change,
    next_step,
};
pub use raft_core::{
    AfterPersist, Batch, Committed, MembershipOutcome, Outgoing, Proposed, RaftCore, Ready,
    Received, SnapshotOffer, Verdict,
};
pub use reads::{ReadGrant, ReadToken};
pub use snapshot::SnapshotManifest;
pub use status::{PeerState, PeerStatus, Role, Status};
pub use transfers::SnapshotReport;
pub use wire::{MessageKind, WireError};
