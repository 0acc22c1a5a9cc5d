//! What the tracker is told, what it wishes, and what it shows.

use crate::id::{Cid, NodeId};
use crate::pin::{Pin, ReplicaReport, ReplicaState};

/// The tracker's settings. Times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Fetches at once in the ordinary lane.
    pub fast: usize,
    /// Fetches at once in the lane of big content and of content that failed or took long before.
    pub slow: usize,
    /// Content of at least this size is slow from the start.
    pub slow_bytes: u64,
    /// How long an ordinary fetch keeps its place while others wait for it.
    pub fast_turn_ms: u64,
    /// How long a slow fetch keeps its place while others wait for it.
    pub slow_turn_ms: u64,
    /// Attempts before the assignment is reported as failed.
    pub attempts: u32,
    /// First wait after a failed attempt; doubles, with jitter.
    pub retry_ms: u64,
    /// Longest such wait.
    pub retry_ms_max: u64,
    /// How often something that is not acknowledged is said again: a report, or a durable intent.
    pub repeat_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fast: 8,
            slow: 2,
            slow_bytes: 256 * 1024 * 1024,
            fast_turn_ms: 30_000,
            slow_turn_ms: 600_000,
            attempts: 6,
            retry_ms: 1_000,
            retry_ms_max: 300_000,
            repeat_ms: 5_000,
        }
    }
}

/// One assignment of this node, as its view has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desire {
    /// The root.
    pub cid: Cid,
    /// The assignment.
    pub granted: u64,
    /// What the cluster believes of this node's copy.
    pub committed: ReplicaState,
    /// Bytes of the content, where known.
    pub size_bytes: Option<u64>,
    /// Whom to ask: the origin first, then members with a durable copy.
    pub sources: Vec<NodeId>,
}

impl Desire {
    /// What a pin asks of `me`; `None` if nothing.
    pub fn of(pin: &Pin, me: NodeId) -> Option<Self> {
        let replica = pin.replicas.get(&me)?;
        let origin = pin.spec.origin;
        let holders = pin.pinned_on().filter(|node| Some(*node) != origin);
        Some(Self {
            cid: pin.spec.cid.clone(),
            granted: replica.granted,
            committed: replica.state.clone(),
            size_bytes: pin.spec.size_bytes,
            sources: origin.into_iter().chain(holders).filter(|node| *node != me).collect(),
        })
    }
}

/// Why a fetch failed, as far as it decides what happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureClass {
    /// It may work in a moment: a broken connection, a busy disk.
    Transient,
    /// Nobody who was asked has it. Somebody may later.
    NotFound,
    /// It does not fit here; another holder should have it.
    Full,
    /// It will never work: not a DAG that can be walked, or blocks that are too large.
    Permanent,
}

/// One root that the journal knows to be complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The root.
    pub cid: Cid,
    /// The newest assignment that it was recorded under; 0: none.
    pub granted: u64,
}

/// What the tracker is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// First of all: what the journal knows to be complete. Nothing happens before.
    Restored {
        /// Roots with a record and no later forgetting.
        complete: Vec<Held>,
    },
    /// The whole view: what it does not name is not desired.
    View {
        /// How far in the log it is.
        index: u64,
        /// Every assignment of this node.
        desires: Vec<Desire>,
    },
    /// One assignment came or changed.
    Desired(Desire),
    /// One assignment ended.
    NotDesired {
        /// How far in the log that is known.
        index: u64,
        /// The root.
        cid: Cid,
    },
    /// Every block below the root is durable here.
    FetchDone {
        /// The root.
        cid: Cid,
        /// The fetch that did it.
        attempt: u64,
    },
    /// A fetch ended without success; what it got stays for the next one.
    FetchFailed {
        /// The root.
        cid: Cid,
        /// The fetch.
        attempt: u64,
        /// Why, in a few words.
        reason: String,
        /// What that means.
        class: FailureClass,
    },
    /// The record is durable.
    Recorded(Held),
    /// The forgetting is durable.
    Forgotten {
        /// The root.
        cid: Cid,
    },
    /// A complete copy turned out to be damaged: it is fetched anew.
    Damaged {
        /// The root.
        cid: Cid,
    },
    /// The time asked for by [`Effect::WakeAt`] has come.
    Tick,
}

/// What the tracker wishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make every block below the root durable; answer with the attempt's number.
    Fetch {
        /// The root.
        cid: Cid,
        /// Number of the fetch, never used twice in a run.
        attempt: u64,
        /// The assignment.
        granted: u64,
        /// Whom to ask, best first.
        sources: Vec<NodeId>,
    },
    /// Stop a fetch; its answer will be ignored.
    Cancel {
        /// The root.
        cid: Cid,
        /// The fetch.
        attempt: u64,
    },
    /// Write down that the root is complete, durably, then say [`Input::Recorded`].
    Record(Held),
    /// Write down that the root is not held any more, durably, then say [`Input::Forgotten`]; from then
    /// on its blocks may be collected.
    Forget {
        /// The root.
        cid: Cid,
    },
    /// Tell the cluster.
    Report(ReplicaReport),
    /// Call again at this time; replaces the time asked for before. `None`: nothing is waited for.
    WakeAt(Option<u64>),
}

/// What a holder is at, for status pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Glance {
    /// Roots that are tracked for whatever reason.
    pub tracked: usize,
    /// Fetches under way in the ordinary lane.
    pub fetching_fast: usize,
    /// Fetches under way in the slow lane.
    pub fetching_slow: usize,
    /// Roots that wait for a place or for their next attempt.
    pub queued: usize,
    /// Outcomes that the cluster has not committed yet.
    pub unconfirmed: usize,
}

/// A root that failed at least once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble<'a> {
    /// The root.
    pub cid: &'a Cid,
    /// Failed attempts since it was assigned.
    pub failures: u32,
    /// Why the last one failed.
    pub reason: &'a str,
    /// When it is tried again; `None` while it is being tried, and after it was given up.
    pub next_ms: Option<u64>,
}
