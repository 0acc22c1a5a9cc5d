//! StoreActor: keeps the block store in order. It collects what nobody is asked to hold any more, and
//! measures what is used.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message, ResponseFuture};
use cid::Cid;
use futures_util::future::BoxFuture;
use ipfs_kit_core::ops::CollectReport;
use ipfs_kit_core::proto::Usage;
use ipfs_kit_store::blocks::{BlockStore, Key, Lease, LeaseError, LeaseId};
use ipfs_kit_store::raft_log::RaftLog;
use tokio::time::Instant;

use crate::holdings::Holdings;
use crate::node::{End, Ended};
use crate::ports::{Executor, WorkLane, work};
use crate::shared::{Shared, SharedView};
use crate::supervised;
use crate::supervision::Ctx;

mod collect;

pub use collect::CollectError;
use collect::{Kept, Outcome};

/// Between two measurements of what is used.
const MEASURE: Duration = Duration::from_secs(1);
/// Between two looks at the leases of imports.
const REVIEW: Duration = Duration::from_secs(5);
/// How long a root must be no pin before its lease ends: longer than any node goes on with a command
/// that nobody waits for (20 s at the user's node, then 30 s at the one that it was passed on to).
const ABSENT_FOR: Duration = Duration::from_secs(90);
/// What the lease of an import says before its root.
const IMPORT_LEASE: &str = "import ";

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// The block store.
    pub blocks: BlockStore,
    /// Records of what is held.
    pub holdings: Holdings,
    /// What this node is asked to hold; `None` without a cluster.
    pub view: Option<SharedView>,
    /// Imports under way.
    pub flights: Flights,
    /// Runs the blocking parts.
    pub executor: Arc<dyn Executor>,
    /// Between two collections.
    pub gc: Duration,
    /// What is used; shown to users and in heartbeats.
    pub usage: Shared<Usage>,
    /// The raft log, whose health is watched here as well.
    pub log: Option<Arc<RaftLog>>,
    /// Ends the node.
    pub end: End,
    /// Hears of held roots below which something is missing.
    pub damaged: Arc<dyn Fn(ipfs_kit_core::id::Cid) + Send + Sync>,
    /// Says whether an import's lease is still needed; set once the node is wired.
    pub judge_lease: Shared<Option<LeaseJudge>>,
}

/// Says what the lease of an imported root is good for.
pub type LeaseJudge =
    Arc<dyn Fn(ipfs_kit_core::id::Cid) -> BoxFuture<'static, LeaseVerdict> + Send + Sync>;

/// What the lease of an imported root is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// Nothing: the pin has its minimum of copies.
    Done,
    /// Nothing so far: the root is no pin.
    NoPin,
    /// The copies are made from it, or nobody could be asked.
    Needed,
}

/// See the module.
pub struct StoreActor {
    deps: Deps,
    collecting: bool,
    reviewing: Rc<Cell<bool>>,
    /// Leases whose roots are no pins, and since when.
    absent: Rc<RefCell<BTreeMap<LeaseId, Instant>>>,
    /// Why the disk took no blocks at the last look.
    trouble: Option<String>,
    /// What the last collection kept; nothing new to collect while it is so.
    last: Option<Kept>,
}

/// Collects now, and says what that did.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<CollectReport, CollectError>")]
pub struct CollectNow;

/// Deletes one block, if nothing keeps it.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), CollectError>")]
pub struct Remove {
    /// The block.
    pub cid: Cid,
}

/// Collects soon.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Collect;

#[derive(Message)]
#[rtype(result = "()")]
struct Collected(Result<Outcome, String>);

/// Imports under way: their blocks are not below any root yet, so no collection begins meanwhile.
#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<usize>>);

/// An import under way.
pub struct Flight(Flights);

impl Flights {
    /// An import begins; it ends when the flight is dropped.
    pub fn begin(&self) -> Flight {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Flight(self.clone())
    }

    /// Does something while no import is under way and none can begin; not if one is.
    fn ground<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (*count == 0).then(act)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// Keeps an imported root until its holders have it. Durable on return.
pub fn lease_import(blocks: &BlockStore, root: &Cid) -> Result<LeaseId, LeaseError> {
    blocks.lease(&format!("{IMPORT_LEASE}{root}"), &[Key::from(root)], None)
}

/// The root of an import's lease.
pub fn leased_import(lease: &Lease) -> Option<Cid> {
    lease.reason.strip_prefix(IMPORT_LEASE)?.parse().ok()
}

/// Whether a lease has done its duty. That there is no pin is believed only after a while: a command
/// whose outcome nobody knows may be committed late.
fn is_over(verdict: LeaseVerdict, lease: LeaseId, absent: &mut BTreeMap<LeaseId, Instant>) -> bool {
    let over = match verdict {
        LeaseVerdict::Done => true,
        LeaseVerdict::NoPin => {
            absent.entry(lease).or_insert_with(Instant::now).elapsed() >= ABSENT_FOR
        }
        LeaseVerdict::Needed => false,
    };
    if over || verdict != LeaseVerdict::NoPin {
        absent.remove(&lease);
    }
    over
}

impl StoreActor {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        Self {
            deps,
            collecting: false,
            reviewing: Rc::default(),
            absent: Rc::default(),
            trouble: None,
            last: None,
        }
    }

    /// Asks after the leases that imports left behind, none of which is under way.
    fn review_leases(&mut self) {
        let Some(judge) = self.deps.judge_lease.read(Clone::clone) else { return };
        let leases = self.deps.blocks.leases();
        if self.reviewing.get() || leases.is_empty() || self.deps.flights.ground(|| ()).is_none() {
            return;
        }
        self.reviewing.set(true);
        let (reviewing, deps) = (Rc::clone(&self.reviewing), self.deps.clone());
        let absent = Rc::clone(&self.absent);
        tokio::task::spawn_local(async move {
            for lease in leases {
                let Some(root) = leased_import(&lease) else { continue };
                let verdict = judge(root.into()).await;
                if is_over(verdict, lease.id, &mut absent.borrow_mut()) {
                    let blocks = deps.blocks.clone();
                    let job = move || blocks.release_lease(lease.id);
                    if let Ok(Err(reason)) = work(&*deps.executor, WorkLane::Files, job).await {
                        tracing::warn!(%reason, "an import's lease stays until the next look");
                    }
                }
            }
            reviewing.set(false);
        });
    }

    /// After a failed sync nobody knows what is durable: the node ends with the reason, and the next run
    /// opens the store with what is really there.
    fn check(&mut self) {
        let trouble = self.deps.blocks.trouble();
        if trouble != self.trouble {
            match &trouble {
                Some(cause) => tracing::error!(%cause, "the disk takes no blocks; trying again"),
                None => tracing::info!("the disk takes blocks again"),
            }
            self.trouble = trouble;
        }
        let Deps { blocks, holdings, log, end, .. } = &self.deps;
        let failure = blocks.failure().or_else(|| holdings.failure()).map(str::to_owned);
        if let Some(cause) = failure.or_else(|| log.as_ref()?.failure()) {
            end(Ended::DiskFailed { cause });
        }
    }

    fn measure(&self) {
        match self.deps.blocks.stat() {
            Ok(stat) => {
                let max_bytes = stat.max_bytes.unwrap_or(stat.used_bytes + stat.free_bytes);
                let usage = Usage { blocks: stat.blocks, used_bytes: stat.used_bytes, max_bytes };
                self.deps.usage.write(|shown| *shown = usage);
            }
            Err(reason) => tracing::warn!(%reason, "what is used can't be measured"),
        }
    }

    fn collect(&mut self, ctx: &mut Ctx<Self>) {
        if self.collecting {
            return;
        }
        self.collecting = true;
        let (deps, last, me) = (self.deps.clone(), self.last, ctx.own_ref());
        tokio::task::spawn_local(async move {
            let executor = Arc::clone(&deps.executor);
            let run = work(&*executor, WorkLane::Bulk, move || collect::run(&deps, last)).await;
            let result = run.unwrap_or_else(|error| Err(error.to_string()));
            // Lost when the actor is restarting: the next look collects again.
            if let Err(reason) = me.tell(Collected(result)) {
                tracing::debug!(%reason, "a collection ended too late");
            }
        });
    }
}

impl Actor for StoreActor {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.measure();
        self.check();
        ctx.run_interval(MEASURE, |actor, _| {
            actor.measure();
            actor.check();
        });
        ctx.run_interval(REVIEW, |actor, _| actor.review_leases());
        ctx.run_interval(self.deps.gc, |actor, ctx| actor.collect(ctx));
    }
}

supervised!(StoreActor);

impl Handler<Collect> for StoreActor {
    type Result = ();

    fn handle(&mut self, _: Collect, ctx: &mut Ctx<Self>) {
        self.last = None;
        self.collect(ctx);
    }
}

impl Handler<CollectNow> for StoreActor {
    type Result = ResponseFuture<Result<CollectReport, CollectError>>;

    fn handle(&mut self, _: CollectNow, ctx: &mut Ctx<Self>) -> Self::Result {
        let (deps, me) = (self.deps.clone(), ctx.own_ref());
        Box::pin(async move {
            let executor = Arc::clone(&deps.executor);
            let run = work(&*executor, WorkLane::Bulk, move || collect::run(&deps, None)).await;
            let result = run.unwrap_or_else(|error| Err(error.to_string()));
            let answer = collect::report(&result);
            if answer.is_ok()
                && let Err(reason) = me.tell(Collected(result))
            {
                tracing::debug!(%reason, "a collection ended too late");
            }
            answer
        })
    }
}

impl Handler<Remove> for StoreActor {
    type Result = ResponseFuture<Result<(), CollectError>>;

    fn handle(&mut self, Remove { cid }: Remove, _: &mut Ctx<Self>) -> Self::Result {
        let deps = self.deps.clone();
        self.last = None;
        Box::pin(async move {
            let executor = Arc::clone(&deps.executor);
            let job = move || collect::remove(&deps, cid);
            let removed = work(&*executor, WorkLane::Bulk, job).await;
            removed.unwrap_or_else(|error| Err(CollectError::Failed(error.to_string())))
        })
    }
}

impl Handler<Collected> for StoreActor {
    type Result = ();

    fn handle(&mut self, Collected(result): Collected, _: &mut Ctx<Self>) {
        self.collecting = false;
        match result {
            Ok(Outcome::Swept { report, kept, damaged }) => {
                tracing::debug!(?report, "collected");
                self.measure();
                let whole = report.postponed_segments == 0 && !report.cancelled;
                self.last = (whole && damaged.is_empty()).then_some(kept);
                for root in damaged {
                    tracing::error!(%root, "blocks below a held root are gone; fetching them again");
                    (self.deps.damaged)(root.into());
                }
            }
            Ok(Outcome::NothingNew) => {}
            Ok(Outcome::Busy) => tracing::debug!("imports are under way; collecting later"),
            Err(reason) => tracing::warn!(%reason, "the collection was given up"),
        }
    }
}
