//! State-sync: this node's view follows the log, and a master's log reaches the followers.
//!
//! Fast path: the leader publishes each range of entries as a gossiped delta. Repair path: a follower
//! that sees a gap, a beacon ahead of it, or another hash asks a master from its own index. Nothing
//! correct depends on gossip; how much arrives by it first is counted.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message, ResponseFuture};
use ipfs_kit_core::delta::{Beacon, Change, Delta};
use ipfs_kit_core::follow::{Refused, Scope, View};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{Liveness, Member, Role};
use ipfs_kit_core::proto::{Gossip, Request, Response, Topic};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::consensus::ConsensusHandle;
use crate::events::{AppliedEntry, BeaconHeard, LeadershipChanged, ViewMoved};
use crate::journal::Journal;
use crate::ports::Verdict;
use crate::rpc::{Rpc, RpcError, unexpected};
use crate::settings::Membership;
use crate::shared::{Shared, SharedView, scope_of};
use crate::supervised;
use crate::supervision::Ctx;

mod feed;
mod inbox;
#[cfg(test)]
mod tests;

use feed::Ring;
pub use inbox::Inbox;

/// How long a follower waits for gossip to fill a gap before it asks.
const GAP_PATIENCE: Duration = Duration::from_millis(150);
/// How long a master's own Raft may bring nothing although others are ahead, until it asks like everybody
/// else: Raft may have left it behind for good. One that is taken out never hears of it.
const LEFT_BEHIND: Duration = Duration::from_secs(10);
/// How long a master holds a feed request open while nothing happens.
const FEED_WAIT_MS: u32 = 2_000;
/// How long a follower that had to ask keeps asking without being told that it lags.
const DISTRUST: Duration = Duration::from_secs(5);
/// What an answer to a held request is old at least: gossip, where it works, is first.
const GOSSIP_HEAD_START: Duration = Duration::from_millis(100);
/// What is applied so soon after the last is taken in one piece with what follows. Telling everybody, and signing,
/// checking and passing on a message, costs more than to commit an entry.
const GATHER: Duration = Duration::from_millis(25);
/// Deltas kept while an earlier one is missing.
const EARLY_DELTAS_MAX: usize = 256;
/// Pause after a feed request failed.
const FEED_RETRY: Duration = Duration::from_millis(200);

/// Deltas and outcomes by the way they came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Deltas that gossip brought first.
    pub deltas_by_gossip: u64,
    /// Deltas that had to be fetched.
    pub deltas_by_feed: u64,
}

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node.
    pub node: NodeId,
    /// Typed calls and gossip.
    pub rpc: Rpc,
    /// This node's view; this actor alone writes it.
    pub view: SharedView,
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// Between two beacons.
    pub beacon: Duration,
    /// Where the view is remembered over restarts.
    pub journal: Journal,
    /// This node's place; its members are kept up to date in the folder.
    pub membership: Membership,
    /// Who hears that the view moved.
    pub listeners: Listeners,
    /// Counts.
    pub arrivals: Shared<Arrivals>,
    /// The leader as last heard of.
    pub leader_hint: Shared<Option<NodeId>>,
    /// What consensus has applied here.
    pub inbox: Inbox,
}

/// Who hears that the view moved, in order. Filled when the tree is built.
pub type Listeners = Shared<Vec<Arc<dyn Fn(ViewMoved) + Send + Sync>>>;

/// See the module.
pub struct StateSync {
    deps: Deps,
    ring: Ring,
    early: BTreeMap<u64, Delta>,
    /// Wakes feed requests that wait for something to happen.
    happened: Arc<Notify>,
    leading: bool,
    term: u64,
    lagging_since: Option<Instant>,
    fetching: bool,
    /// Where the view was when the last feed request was made.
    asked_from: u64,
    distrust_until: Option<Instant>,
    caught_up: bool,
    tries: usize,
    view_saved: u64,
    masters_saved: Vec<Member>,
    raft_used_saved: bool,
    /// When something applied was taken last.
    taken_at: Option<Instant>,
}

/// What became of a delta.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The view moved.
    Moved,
    /// The view has it already.
    Known,
    /// It did not fit: something is missing here.
    Missing,
}

/// Consensus has applied something: it is in the inbox.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct AppliedWaiting;

/// A gossiped delta from a member.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct DeltaHeard {
    /// Who signed it.
    pub author: NodeId,
    /// What.
    pub delta: Delta,
    /// Whether to pass it on.
    pub verdict: oneshot::Sender<Verdict>,
}

/// A follower asks what happened.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Response")]
pub struct ServeFeed {
    /// The follower's index.
    pub from: u64,
    /// The follower's epoch.
    pub epoch: u64,
    /// What it keeps.
    pub scope: Scope,
    /// How long to wait for something to happen.
    pub wait_ms: u32,
}

/// The node's role keeps another part of the pins: the view is taken anew.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Rescope(pub Scope);

#[derive(Message)]
#[rtype(result = "()")]
struct FeedCame(Result<(NodeId, Response), RpcError>);

impl StateSync {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        // The leadership is told only when it changes; after a restart the glance knows it.
        let (leading, term) = deps.consensus.glance.read(|glance| (glance.leading, glance.term));
        Self {
            deps,
            ring: Ring::default(),
            early: BTreeMap::new(),
            happened: Arc::new(Notify::new()),
            leading,
            term,
            lagging_since: None,
            fetching: false,
            asked_from: 0,
            distrust_until: None,
            caught_up: false,
            tries: 0,
            view_saved: 0,
            masters_saved: Vec::new(),
            raft_used_saved: false,
            taken_at: None,
        }
    }

    /// Whether the state here is the cluster's: a new master has none before its first snapshot, and
    /// follows like everybody else until then.
    fn is_master(&self) -> bool {
        self.deps.consensus.glance.read(|glance| glance.running)
            && self.deps.consensus.state.read(|state| state.cluster().is_some())
    }

    /// Whether Raft brings everything here.
    fn is_fed_by_raft(&self) -> bool {
        let is_behind = self.lagging_since.is_some_and(|since| since.elapsed() >= LEFT_BEHIND);
        self.is_master() && !is_behind
    }

    /// Takes everything anew: from this master's own state, or as a master sent it.
    fn replace_view(&mut self, view: View) {
        let index = view.index();
        self.deps.view.write(|mine| *mine = view);
        self.early.retain(|from, _| *from > index);
        self.tell(index, None);
    }

    /// A view never goes back: consensus that starts again has the state of its checkpoint first, and
    /// what was held since then would be taken for released.
    fn is_ahead_of(&self, other: &View) -> bool {
        let same = |mine: &View| (mine.epoch(), mine.scope()) == (other.epoch(), other.scope());
        self.deps.view.read(|mine| same(mine) && mine.index() > other.index())
    }

    fn tell(&mut self, index: u64, changes: Option<Arc<Vec<Change>>>) {
        let member = |change: &Change| matches!(change, Change::Member { .. });
        if changes.as_ref().is_none_or(|changes| changes.iter().any(member)) {
            self.save_masters();
        }
        let listeners = self.deps.listeners.read(Vec::clone);
        for listener in listeners {
            listener(ViewMoved { index, changes: changes.clone() });
        }
    }

    fn resync_from_state(&mut self) {
        let role = self.own_role();
        let scope = scope_of(self.deps.node, role);
        let view = self.deps.consensus.state.read(|state| View::of(state, scope));
        if self.is_ahead_of(&view) {
            return;
        }
        self.ring = Ring::default();
        self.replace_view(view);
    }

    fn own_role(&self) -> Role {
        self.deps
            .view
            .read(|view| view.members().get(&self.deps.node).map(|member| member.spec.role))
            .unwrap_or_default()
    }

    fn own_beacon(&self) -> Option<Beacon> {
        let term = self.term;
        self.deps.view.read(|view| {
            Some(Beacon {
                epoch: view.epoch(),
                term,
                leader: self.deps.consensus.leader()?,
                index: view.index(),
                hash: view.hash(),
                clock_ms: view.clock_ms(),
            })
        })
    }

    fn publish(&mut self, entries: &[AppliedEntry], epoch: u64) {
        for delta in feed::merge(entries, epoch) {
            // Off, alone or too much: followers see it in the next beacon or heartbeat and ask.
            if let Err(reason) = self.deps.rpc.publish(Topic::Pins, &Gossip::Delta(delta)) {
                tracing::debug!(%reason, "delta not gossiped");
            }
        }
    }

    /// Tries a delta.
    fn advance(&mut self, delta: Delta) -> Step {
        match self.deps.view.write(|view| view.apply(&delta)) {
            Ok(()) => {
                self.tell(delta.to, Some(Arc::new(delta.changes)));
                Step::Moved
            }
            Err(Refused::Old { .. }) => Step::Known,
            Err(Refused::Epoch { ours, theirs }) if theirs < ours => Step::Known,
            // Without a view yet everything is early.
            Err(Refused::Gap { .. } | Refused::Epoch { ours: 0, .. }) => {
                if self.early.len() < EARLY_DELTAS_MAX {
                    self.early.insert(delta.from, delta);
                }
                self.note_lag();
                Step::Missing
            }
            Err(Refused::Overlap { .. }) => {
                self.note_lag();
                Step::Missing
            }
            Err(reason @ (Refused::Diverged { .. } | Refused::Epoch { .. })) => {
                tracing::warn!(%reason, "the view is taken anew from a master");
                self.deps.view.write(View::distrust);
                self.note_lag();
                Step::Missing
            }
        }
    }

    /// Takes the early deltas whose turn has come; each is looked at once.
    fn advance_early(&mut self) {
        let mut complete = true;
        while let Some(next) = self.early.first_entry() {
            if *next.key() > self.deps.view.read(View::index) + 1 {
                return;
            }
            let delta = next.remove();
            match self.advance(delta) {
                Step::Moved => self.count(true),
                Step::Known => {}
                Step::Missing => complete = false,
            }
        }
        if complete {
            self.lagging_since = None;
        }
    }

    fn count(&mut self, by_gossip: bool) {
        // What happened before this run could come by no other way than the feed.
        if !self.caught_up {
            return;
        }
        self.deps.arrivals.write(|arrivals| {
            if by_gossip {
                arrivals.deltas_by_gossip += 1;
            } else {
                arrivals.deltas_by_feed += 1;
            }
        });
    }

    fn note_lag(&mut self) {
        self.lagging_since.get_or_insert_with(Instant::now);
    }

    fn follow(&mut self, ctx: &mut Ctx<Self>) {
        if self.fetching || self.is_fed_by_raft() {
            return;
        }
        let now = Instant::now();
        let lags = self.lagging_since.is_some_and(|since| now >= since + GAP_PATIENCE);
        let distrusts = self.distrust_until.is_some_and(|until| now < until);
        if self.caught_up && !lags && !distrusts {
            return;
        }
        let Some(master) = self.next_master() else { return };
        self.fetching = true;
        let (from, epoch, scope) =
            self.deps.view.read(|view| (view.index(), view.epoch(), view.scope()));
        self.asked_from = from;
        let wait_ms = if lags || !self.caught_up { 0 } else { FEED_WAIT_MS };
        let request = Request::Feed { from, epoch, scope, wait_ms };
        let rpc = self.deps.rpc.clone();
        let me = ctx.own_ref();
        tokio::task::spawn_local(async move {
            let deadline = Duration::from_millis(u64::from(wait_ms) + 3_000);
            let answer = rpc.call(master, &request, deadline).await;
            if answer.is_err() {
                tokio::time::sleep(FEED_RETRY).await;
            }
            // Dropped only when the actor has stopped.
            let _ = me.tell(FeedCame(answer.map(|answer| (master, answer))));
        });
    }

    fn next_master(&self) -> Option<NodeId> {
        let masters: Vec<NodeId> = self.deps.view.read(|view| {
            let there = |lost| {
                view.members()
                    .values()
                    .filter(move |m| m.spec.role == Role::Master)
                    .filter(move |m| (m.liveness == Liveness::Lost) == lost)
                    .map(|m| m.id)
            };
            there(false).chain(there(true)).collect()
        });
        let at = self.deps.node.0 as usize + self.tries;
        (!masters.is_empty()).then(|| masters[at % masters.len()])
    }

    fn take_feed(&mut self, from: NodeId, answer: Response) -> Result<(), RpcError> {
        match answer {
            Response::Feed { deltas, beacon } => {
                self.deps.leader_hint.write(|hint| *hint = Some(beacon.leader));
                let mut moved = false;
                for delta in deltas {
                    if self.advance(delta) == Step::Moved {
                        self.count(false);
                        moved = true;
                    }
                }
                self.advance_early();
                let (index, lags) = self.deps.view.read(|v| (v.index(), v.lags(&beacon)));
                if lags && index == self.asked_from {
                    tracing::warn!(%from, index, "an answer was of no use; taking the view anew");
                    self.deps.view.write(View::distrust);
                    self.tries += 1;
                }
                if lags {
                    self.note_lag();
                } else {
                    self.caught_up = true;
                    self.lagging_since = None;
                }
                if moved && self.caught_up {
                    self.distrust_until = Some(Instant::now() + DISTRUST);
                }
                Ok(())
            }
            Response::Snapshot(view) => {
                if view.scope() != self.deps.view.read(View::scope) {
                    let reason = "a snapshot of another scope".to_owned();
                    return Err(RpcError::Unexpected { node: from, reason });
                }
                if self.is_ahead_of(&view) {
                    let reason = "a snapshot of the past".to_owned();
                    return Err(RpcError::Unexpected { node: from, reason });
                }
                self.replace_view(*view);
                self.advance_early();
                Ok(())
            }
            other => Err(unexpected(from, &other)),
        }
    }

    /// Keeps in the folder who the masters are and where, as soon as it changes.
    fn save_masters(&mut self) {
        let node = self.deps.node;
        let masters: Vec<Member> = self.deps.view.read(|view| {
            let known = |m: &&Member| m.spec.role == Role::Master || m.id == node;
            view.members().values().filter(known).cloned().collect()
        });
        let place = |m: &Member| (m.id, m.spec.role, m.spec.addrs.clone());
        if masters.iter().map(place).eq(self.masters_saved.iter().map(place)) || masters.len() < 2 {
            return;
        }
        self.masters_saved.clone_from(&masters);
        let membership = Membership { members: masters, ..self.deps.membership.clone() };
        self.deps.journal.save_membership(membership);
    }

    fn save_view(&mut self) {
        let index = self.deps.view.read(View::index);
        if index != self.view_saved && !self.is_master() {
            self.view_saved = index;
            self.deps.journal.save_view(self.deps.view.read(View::clone));
        }
    }
}

impl Actor for StateSync {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        if self.is_master() {
            self.resync_from_state();
        } else {
            self.tell(self.deps.view.read(View::index), None);
        }
        ctx.run_interval(Duration::from_millis(50), |actor, ctx| actor.follow(ctx));
        ctx.run_interval(self.deps.beacon, |actor, _| actor.on_beacon_tick());
        ctx.run_interval(Duration::from_secs(5), |actor, _| actor.save_view());
        self.follow(ctx);
    }
}

impl StateSync {
    fn on_beacon_tick(&mut self) {
        // A word that found the mailbox full is not said again if nothing happens.
        self.take_applied();
        if !self.leading {
            return;
        }
        if let Some(beacon) = self.own_beacon()
            && let Err(reason) = self.deps.rpc.publish(Topic::Discovery, &Gossip::Beacon(beacon))
        {
            tracing::trace!(%reason, "beacon not gossiped");
        }
    }
}

supervised!(StateSync);

impl Handler<LeadershipChanged> for StateSync {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, _: &mut Ctx<Self>) {
        self.leading = changed.leading;
        self.term = changed.term;
        self.on_beacon_tick();
    }
}

impl Handler<AppliedWaiting> for StateSync {
    type Result = ();

    fn handle(&mut self, _: AppliedWaiting, ctx: &mut Ctx<Self>) {
        // No other word comes until what waits is taken.
        let waited = self.taken_at.map_or(GATHER, |taken_at| taken_at.elapsed());
        match GATHER.checked_sub(waited) {
            Some(wait) if !wait.is_zero() => {
                ctx.run_later(wait, |actor, _| actor.take_applied());
            }
            _ => self.take_applied(),
        }
    }
}

impl StateSync {
    fn take_applied(&mut self) {
        let Some(applied) = self.deps.inbox.take() else { return };
        self.taken_at = Some(Instant::now());
        if !mem::replace(&mut self.raft_used_saved, true) {
            self.deps.journal.save_raft_used();
        }
        self.lagging_since = None;
        if applied.entries.is_empty() {
            self.resync_from_state();
            self.happened.notify_waiters();
            return;
        }
        let index = self.deps.view.read(View::index);
        let entries = applied.entries.into_iter();
        let fresh: Vec<AppliedEntry> = entries.filter(|entry| entry.index > index).collect();
        let Some(first) = fresh.first() else { return };
        if first.index != index + 1 || self.deps.view.read(View::epoch) != applied.epoch {
            // Missed something (a restart, a snapshot): the state itself has it all.
            self.resync_from_state();
            self.happened.notify_waiters();
            return;
        }
        let mut changes = Vec::new();
        for entry in &fresh {
            let delta = feed::delta_of(entry, applied.epoch);
            if let Err(reason) = self.deps.view.write(|view| view.apply_own(&delta)) {
                tracing::warn!(%reason, "the view is taken anew from the state");
                self.resync_from_state();
                return;
            }
            changes.extend(entry.changes.iter().cloned());
            self.ring.push(delta);
        }
        if self.leading {
            self.publish(&fresh, applied.epoch);
        }
        let to = fresh.last().map_or(index, |entry| entry.index);
        self.tell(to, Some(Arc::new(changes)));
        self.happened.notify_waiters();
    }
}

impl Handler<DeltaHeard> for StateSync {
    type Result = ();

    fn handle(&mut self, heard: DeltaHeard, _: &mut Ctx<Self>) {
        let from_master = self.deps.view.read(|view| {
            view.members().get(&heard.author).is_some_and(|m| m.spec.role == Role::Master)
        });
        let verdict = if from_master { Verdict::Accept } else { Verdict::Ignore };
        // The gossip layer may have given up on the verdict; then it counts as ignored.
        let _ = heard.verdict.send(verdict);
        if !from_master || self.is_fed_by_raft() {
            return;
        }
        if self.advance(heard.delta) == Step::Moved {
            self.count(true);
            self.advance_early();
        }
    }
}

impl Handler<BeaconHeard> for StateSync {
    type Result = ();

    fn handle(&mut self, BeaconHeard(beacon): BeaconHeard, ctx: &mut Ctx<Self>) {
        if self.is_fed_by_raft() {
            if self.deps.view.read(|view| view.lags(&beacon)) {
                self.note_lag();
            }
            return;
        }
        self.deps.leader_hint.write(|hint| *hint = Some(beacon.leader));
        if self.deps.view.read(|view| view.diverged_from(&beacon)) {
            tracing::warn!(index = beacon.index, "the view's hash differs from the leader's");
            self.deps.view.write(View::distrust);
        }
        if self.deps.view.read(|view| view.lags(&beacon)) {
            self.note_lag();
            self.follow(ctx);
        } else {
            self.lagging_since = None;
        }
    }
}

impl Handler<ServeFeed> for StateSync {
    type Result = ResponseFuture<Response>;

    fn handle(&mut self, ask: ServeFeed, ctx: &mut Ctx<Self>) -> Self::Result {
        if !self.is_master() {
            let reason = "only masters serve the feed".to_owned();
            return Box::pin(async { Response::Refused { reason } });
        }
        let Some(beacon) = self.own_beacon() else {
            let reason = "no leader is known now".to_owned();
            return Box::pin(async { Response::Unavailable { reason } });
        };
        let (epoch, index) = self.deps.view.read(|view| (view.epoch(), view.index()));
        if ask.epoch != epoch || ask.from > index || !self.ring.covers(ask.from, index) {
            let scope = ask.scope;
            let view = self.deps.consensus.state.read(|state| View::of(state, scope));
            return Box::pin(async { Response::Snapshot(Box::new(view)) });
        }
        if ask.wait_ms > 0 {
            return self.serve_later(ask, beacon, ctx);
        }
        let deltas = self.ring.since(ask.from, limits::FEED_BYTES_MAX, Instant::now());
        Box::pin(async { Response::Feed { deltas, beacon } })
    }
}

impl StateSync {
    /// Holds a request open until something is there that gossip had time to bring. What is younger is not
    /// in the answer, nor does its beacon speak of it: the follower waits for gossip, and asks again.
    fn serve_later(
        &self,
        ask: ServeFeed,
        beacon: Beacon,
        ctx: &mut Ctx<Self>,
    ) -> ResponseFuture<Response> {
        let next = self.ring.has_next_since(ask.from);
        let now = Instant::now();
        if let Some(until) = now.checked_sub(GOSSIP_HEAD_START)
            && let deltas = self.ring.since(ask.from, limits::FEED_BYTES_MAX, until)
            && let Some(last) = deltas.last()
        {
            let (index, hash, clock_ms) = (last.to, last.hash, last.clock_ms);
            let beacon = Beacon { index, hash, clock_ms, ..beacon };
            return Box::pin(async { Response::Feed { deltas, beacon } });
        }
        // From here on: what happens before the first poll must not be missed.
        let happened = Arc::clone(&self.happened).notified_owned();
        let me = ctx.own_ref();
        Box::pin(async move {
            let wait = Duration::from_millis(u64::from(ask.wait_ms.min(FEED_WAIT_MS)));
            let happened = next.is_some() || tokio::time::timeout(wait, happened).await.is_ok();
            let wait_ms = if happened {
                tokio::time::sleep_until(next.unwrap_or_else(Instant::now) + GOSSIP_HEAD_START)
                    .await;
                // What is old enough is there, unless the ring began anew; then it waits for the rest.
                wait.saturating_sub(now.elapsed()).as_millis().max(1) as u32
            } else {
                // The follower hears where the log is.
                0
            };
            let answer = me.ask(ServeFeed { wait_ms, ..ask }).await;
            answer.unwrap_or_else(|error| Response::Unavailable { reason: error.to_string() })
        })
    }
}

impl Handler<FeedCame> for StateSync {
    type Result = ();

    fn handle(&mut self, FeedCame(answer): FeedCame, ctx: &mut Ctx<Self>) {
        self.fetching = false;
        let result = answer.and_then(|(from, answer)| self.take_feed(from, answer));
        if let Err(reason) = result {
            tracing::debug!(%reason, "feed request failed");
            self.tries += 1;
        }
        self.follow(ctx);
    }
}

impl Handler<Rescope> for StateSync {
    type Result = ();

    fn handle(&mut self, Rescope(scope): Rescope, ctx: &mut Ctx<Self>) {
        let members: Vec<_> =
            self.deps.view.read(|view| view.members().values().cloned().collect());
        self.deps.view.write(|view| *view = View::seed(scope, members));
        self.caught_up = false;
        if self.is_master() {
            self.resync_from_state();
        } else {
            self.follow(ctx);
        }
    }
}
