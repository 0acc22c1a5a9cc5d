//! FollowActor: makes what this node holds match what the cluster asks it to hold.
//!
//! The shell around the pin tracker: it fetches, writes durable records (a lease on the root in the
//! block store), and says outcomes by gossip first, by heartbeat where gossip does not get through.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message, SpawnHandle};
use ipfs_kit_core::delta::Change;
use ipfs_kit_core::id::{Cid, Incarnation, NodeId};
use ipfs_kit_core::pin::{ReplicaReport, SharedPin};
use ipfs_kit_core::pin_tracker::{
    Config, Desire, Effect, FailureClass, Glance, Held, Input, PinTracker,
};
use ipfs_kit_core::proto::{Gossip, Topic};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::cluster_manager::monitoring::{Monitoring, ReportByHeartbeat};
use crate::events::ViewMoved;
use crate::holdings::Holdings;
use crate::pace::Errand;
use crate::rpc::Rpc;
use crate::shared::{Shared, SharedView};
use crate::supervised;
use crate::supervision::{ActorRef, Ctx};
use crate::transfer::{Transfer, TransferError, Transferred};

/// Longest sleep between two looks.
const WAKE_MAX: Duration = Duration::from_secs(60);
/// Shortest sleep, so that a tracker that wants to go on at once lets others have the thread.
const WAKE_MIN: Duration = Duration::from_millis(1);
/// Reports gathered before they are said, so that many outcomes make one message.
const GATHER: Duration = Duration::from_millis(10);
/// Reports in one gossip message; each is some 60 bytes plus a reason.
const GOSSIP_REPORTS_MAX: usize = 64;

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node.
    pub node: NodeId,
    /// This run.
    pub incarnation: Incarnation,
    /// Seeds the back-off's jitter.
    pub seed: u64,
    /// The tracker's settings.
    pub config: Config,
    /// This node's view.
    pub view: SharedView,
    /// Fetches.
    pub transfer: Transfer,
    /// Durable records of what is held.
    pub holdings: Holdings,
    /// Gossip.
    pub rpc: Rpc,
    /// Heartbeats.
    pub monitoring: ActorRef<Monitoring>,
    /// What the tracker is at; shown to users.
    pub glance: Shared<Glance>,
}

/// See the module.
pub struct FollowActor {
    deps: Deps,
    tracker: PinTracker,
    started: Instant,
    fetches: BTreeMap<(Cid, u64), AbortHandle>,
    reports: Vec<ReplicaReport>,
    said: BTreeMap<Cid, u64>,
    gathering: bool,
    wake: Option<SpawnHandle>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Restored(Result<Vec<Held>, String>);

#[derive(Message)]
#[rtype(result = "()")]
struct Fetched {
    cid: Cid,
    attempt: u64,
    result: Result<Transferred, TransferError>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Written {
    what: Record,
    result: Result<(), String>,
}

#[derive(Clone, Debug)]
enum Record {
    Held(Held),
    Released(Cid),
}

/// A block of a held root turned out to be damaged.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct RootDamaged {
    /// The root.
    pub cid: Cid,
}

impl FollowActor {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        let tracker = PinTracker::new(deps.config, deps.seed);
        Self {
            deps,
            tracker,
            started: Instant::now(),
            fetches: BTreeMap::new(),
            reports: Vec::new(),
            said: BTreeMap::new(),
            gathering: false,
            wake: None,
        }
    }

    fn drive(&mut self, ctx: &mut Ctx<Self>, input: Input) {
        let mut effects = Vec::new();
        let now_ms = self.started.elapsed().as_millis() as u64;
        self.tracker.step(now_ms, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Fetch { cid, attempt, sources, .. } => {
                    self.fetch(ctx, cid, attempt, sources);
                }
                Effect::Cancel { cid, attempt } => {
                    if let Some(fetch) = self.fetches.remove(&(cid, attempt)) {
                        fetch.abort();
                    }
                }
                Effect::Record(held) => self.write(ctx, Record::Held(held)),
                Effect::Forget { cid } => self.write(ctx, Record::Released(cid)),
                Effect::Report(report) => self.gather(ctx, report),
                Effect::WakeAt(at_ms) => self.wake_at(ctx, now_ms, at_ms),
            }
        }
        let glance = self.tracker.glance();
        self.deps.glance.write(|shown| *shown = glance);
    }

    fn fetch(&mut self, ctx: &mut Ctx<Self>, cid: Cid, attempt: u64, sources: Vec<NodeId>) {
        let transfer = self.deps.transfer.clone();
        let me = ctx.own_ref();
        let key = (cid.clone(), attempt);
        let errand = self.errand(&cid);
        let task = tokio::task::spawn_local(async move {
            let result = transfer.fetch(&cid.to_cid(), &sources, errand).await;
            // Lost when the actor is restarting: the fresh tracker fetches what is still missing.
            if let Err(reason) = me.tell(Fetched { cid, attempt, result }) {
                tracing::debug!(%reason, "a fetch ended too late");
            }
        });
        self.fetches.insert(key, task.abort_handle());
    }

    fn errand(&self, cid: &Cid) -> Errand {
        let me = self.deps.node;
        let has_other = |pin: &SharedPin| pin.read().pinned_on().any(|node| node != me);
        match self.deps.view.read(|view| view.pins().get(cid).is_some_and(has_other)) {
            true => Errand::FurtherCopy,
            false => Errand::FirstCopy,
        }
    }

    fn write(&self, ctx: &mut Ctx<Self>, what: Record) {
        let holdings = self.deps.holdings.clone();
        let me = ctx.own_ref();
        tokio::task::spawn_local(async move {
            let result = match &what {
                Record::Held(held) => holdings.hold(held.clone()).await,
                Record::Released(cid) => holdings.release(cid).await,
            };
            // Lost when the actor is restarting: the tracker says it again.
            if let Err(reason) = me.tell(Written { what, result }) {
                tracing::debug!(%reason, "a record was written too late");
            }
        });
    }

    fn gather(&mut self, ctx: &mut Ctx<Self>, report: ReplicaReport) {
        self.reports.push(report);
        if !std::mem::replace(&mut self.gathering, true) {
            ctx.run_later(GATHER, |actor, _| actor.say());
        }
    }

    /// Gossip first; what was said so before and is still not committed goes by heartbeat.
    fn say(&mut self) {
        self.gathering = false;
        let mut direct = Vec::new();
        let mut fresh = Vec::new();
        for report in std::mem::take(&mut self.reports) {
            if self.said.insert(report.cid.clone(), report.granted) == Some(report.granted) {
                direct.push(report);
            } else {
                fresh.push(report);
            }
        }
        for reports in fresh.chunks(GOSSIP_REPORTS_MAX) {
            let (node, incarnation) = (self.deps.node, self.deps.incarnation);
            let message = Gossip::Outcomes { node, incarnation, reports: reports.to_vec() };
            if let Err(reason) = self.deps.rpc.publish(Topic::Status, &message) {
                tracing::debug!(%reason, "outcomes not gossiped");
                direct.extend_from_slice(reports);
            }
        }
        if !direct.is_empty()
            && let Err(reason) = self.deps.monitoring.tell(ReportByHeartbeat { reports: direct })
        {
            tracing::debug!(%reason, "outcomes wait for the next repetition");
        }
    }

    fn wake_at(&mut self, ctx: &mut Ctx<Self>, now_ms: u64, at_ms: Option<u64>) {
        if let Some(wake) = self.wake.take() {
            ctx.cancel_future(wake);
        }
        let Some(at_ms) = at_ms else { return };
        let wait = Duration::from_millis(at_ms.saturating_sub(now_ms)).clamp(WAKE_MIN, WAKE_MAX);
        self.wake = Some(ctx.run_later(wait, |actor, ctx| {
            actor.wake = None;
            actor.drive(ctx, Input::Tick);
        }));
    }

    fn whole_view(&self) -> Option<Input> {
        let me = self.deps.node;
        self.deps.view.read(|view| {
            // Before the first word of a master nothing is known, which is not the same as nothing.
            let index = (view.index() > 0).then(|| view.index())?;
            let desires =
                view.pins().values().filter_map(|pin| Desire::of(&pin.read(), me)).collect();
            Some(Input::View { index, desires })
        })
    }

    /// What the view as it is now asks for each of some pins: a change on the way may be history already.
    fn wishes(&self, changes: &[Change]) -> Vec<Input> {
        let me = self.deps.node;
        self.deps.view.read(|view| {
            let index = view.index();
            let wish = |change: &Change| {
                let Change::Pin { cid, .. } = change else { return None };
                let desire = view.pins().get(cid).and_then(|pin| Desire::of(&pin.read(), me));
                let not_desired = || Input::NotDesired { index, cid: cid.clone() };
                Some(desire.map_or_else(not_desired, Input::Desired))
            };
            changes.iter().filter_map(wish).collect()
        })
    }
}

impl Actor for FollowActor {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let holdings = self.deps.holdings.clone();
        let me = ctx.own_ref();
        tokio::task::spawn_local(async move {
            let restored = holdings.held().await;
            // Lost only when the actor is restarting, and then it asks again.
            if let Err(reason) = me.tell(Restored(restored)) {
                tracing::debug!(%reason, "the records were read too late");
            }
        });
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        for fetch in std::mem::take(&mut self.fetches).into_values() {
            fetch.abort();
        }
    }
}

impl Drop for FollowActor {
    fn drop(&mut self) {
        for fetch in self.fetches.values() {
            fetch.abort();
        }
    }
}

supervised!(FollowActor);

impl Handler<Restored> for FollowActor {
    type Result = ();

    fn handle(&mut self, Restored(result): Restored, ctx: &mut Ctx<Self>) {
        match result {
            Ok(complete) => {
                self.drive(ctx, Input::Restored { complete });
                if let Some(view) = self.whole_view() {
                    self.drive(ctx, view);
                }
            }
            Err(reason) => ctx.fail(crate::supervision::Fault::new("holdings", reason)),
        }
    }
}

impl Handler<ViewMoved> for FollowActor {
    type Result = ();

    fn handle(&mut self, moved: ViewMoved, ctx: &mut Ctx<Self>) {
        let Some(changes) = moved.changes else {
            if let Some(view) = self.whole_view() {
                self.drive(ctx, view);
            }
            return;
        };
        for wish in self.wishes(&changes) {
            if let Input::NotDesired { cid, .. } = &wish {
                self.said.remove(cid);
                if !self.tracker.is_tracking(cid) {
                    continue;
                }
            }
            self.drive(ctx, wish);
        }
    }
}

impl Handler<Fetched> for FollowActor {
    type Result = ();

    fn handle(&mut self, fetched: Fetched, ctx: &mut Ctx<Self>) {
        let Fetched { cid, attempt, result } = fetched;
        self.fetches.remove(&(cid.clone(), attempt));
        let input = match result {
            Ok(Transferred { blocks, bytes }) => {
                tracing::info!(%cid, blocks, bytes, "held");
                Input::FetchDone { cid, attempt }
            }
            Err(error) => {
                tracing::debug!(%cid, reason = %error, "a fetch failed");
                let class = match &error {
                    TransferError::NotFound { .. } => FailureClass::NotFound,
                    TransferError::Store { full: true, .. } => FailureClass::Full,
                    TransferError::Store { full: false, .. } | TransferError::Stopping => {
                        FailureClass::Transient
                    }
                    TransferError::Invalid { .. } => FailureClass::Permanent,
                };
                Input::FetchFailed { cid, attempt, reason: error.to_string(), class }
            }
        };
        self.drive(ctx, input);
    }
}

impl Handler<Written> for FollowActor {
    type Result = ();

    fn handle(&mut self, written: Written, ctx: &mut Ctx<Self>) {
        match (written.result, written.what) {
            (Ok(()), Record::Held(held)) => self.drive(ctx, Input::Recorded(held)),
            (Ok(()), Record::Released(cid)) => self.drive(ctx, Input::Forgotten { cid }),
            // The tracker asks for the same record again after a while.
            (Err(reason), what) => tracing::error!(?what, %reason, "a record failed"),
        }
    }
}

impl Handler<RootDamaged> for FollowActor {
    type Result = ();

    fn handle(&mut self, RootDamaged { cid }: RootDamaged, ctx: &mut Ctx<Self>) {
        self.drive(ctx, Input::Damaged { cid });
    }
}
