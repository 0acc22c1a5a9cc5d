//! Monitoring: this member's heartbeats, and on the leader the judgement of everybody's.
//!
//! Liveness is no Raft write: heartbeats go over direct calls, and only a change of judgement becomes a
//! command. A heartbeat also carries the outcomes that gossip has not got through, and its answer where
//! the log is, so a cluster without gossip still converges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message, ResponseFuture, SpawnHandle};
use ipfs_kit_core::command::Op;
use ipfs_kit_core::delta::Beacon;
use ipfs_kit_core::failure::{self, FailureDetector, Verdict};
use ipfs_kit_core::follow::View;
use ipfs_kit_core::id::{Incarnation, NodeId};
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{Liveness, Member, MemberSpec, Role};
use ipfs_kit_core::pin::ReplicaReport;
use ipfs_kit_core::proto::{Heartbeat, HeartbeatReply, Request, Response, Usage};
use tokio::time::Instant;

use crate::cluster_manager::coordination::{Coordination, Submit};
use crate::cluster_manager::state_sync::StateSync;
use crate::consensus::ConsensusHandle;
use crate::events::{BeaconHeard, ConnectionChanged, LeadershipChanged, ViewMoved};
use crate::ports::Clock;
use crate::rpc::{Rpc, RpcError, unexpected};
use crate::shared::{Shared, SharedView};
use crate::supervised;
use crate::supervision::{ActorRef, Ctx};

/// Reports that wait for a heartbeat; beyond it the holders' own repetition carries them.
const REPORTS_WAITING_MAX: usize = 16 * limits::REPORTS_MAX;

/// Why a node has to stop for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Expelled {
    /// Another live run has this node's identity.
    #[error("another running node has this node's identity; it is reached at {}", addrs.join(", "))]
    IdentityInUse {
        /// Where the other one is.
        addrs: Vec<String>,
    },
    /// The cluster has removed this node.
    #[error("this node was removed from its cluster")]
    NotAMember,
}

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node.
    pub node: NodeId,
    /// This run.
    pub incarnation: Incarnation,
    /// What this node says of itself now.
    pub spec: Shared<MemberSpec>,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// The rules of the judgement.
    pub failure: failure::Config,
    /// Typed calls.
    pub rpc: Rpc,
    /// What heartbeats say of this node's wall clock.
    pub clock: Arc<dyn Clock>,
    /// This node's view.
    pub view: SharedView,
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// Commands go through it.
    pub coordination: ActorRef<Coordination>,
    /// Beacons go to it.
    pub state_sync: ActorRef<StateSync>,
    /// What this node stores now.
    pub usage: Shared<Usage>,
    /// What the leader has heard of each member; shown to users.
    pub heard: Shared<BTreeMap<NodeId, HeardOf>>,
    /// Where reports of holders go on the leader.
    pub outcomes: OutcomeSink,
    /// An address of this node at which others can't reach it; shown to users.
    pub unreachable: Shared<Option<(String, String)>>,
    /// Called once when this node must stop.
    pub expelled: Arc<dyn Fn(Expelled) + Send + Sync>,
    /// The leader as last heard of.
    pub leader_hint: Shared<Option<NodeId>>,
    /// When another member last accepted this run: as its leader, or by following this one.
    pub accepted: Shared<Option<Instant>>,
    /// The last answer of a leader to this node; shown to users.
    pub session: Shared<Option<Session>>,
}

/// A leader's answer to this node's heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// When it came, on this node's clock.
    pub at: Instant,
    /// The log index that the leader was at.
    pub index: u64,
}

/// Where reports of holders go on the leader.
pub type OutcomeSink = Arc<dyn Fn(NodeId, Vec<ReplicaReport>) + Send + Sync>;

/// What the leader has heard of a member.
#[derive(Clone, Debug)]
pub struct HeardOf {
    /// When, on this node's clock.
    pub at: Instant,
    /// What it stores.
    pub usage: Usage,
    /// An advertised address at which it can't be reached, with the reason.
    pub unreachable: Option<(String, String)>,
}

/// See the module.
pub struct Monitoring {
    deps: Deps,
    machine: FailureDetector,
    started: Instant,
    wake: Option<SpawnHandle>,
    leading: bool,
    beating: bool,
    tries: usize,
    waiting: Vec<ReplicaReport>,
    probed: BTreeMap<NodeId, Vec<String>>,
}

/// A heartbeat came in, from a member or passed on by another master.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Response")]
pub struct HeartbeatCame(pub Heartbeat);

/// A member says that it stops.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct GoodbyeCame {
    /// Who.
    pub node: NodeId,
    /// Which run.
    pub incarnation: Incarnation,
}

/// Outcomes that gossip did not carry.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct ReportByHeartbeat {
    /// What.
    pub reports: Vec<ReplicaReport>,
}

/// A member refuses this run because another one has its identity there.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct IdentityTaken;

/// A master refuses this node because the cluster has removed it.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Removed;

#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    master: NodeId,
    sent: Vec<ReplicaReport>,
    answer: Result<HeartbeatReply, RpcError>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Probed {
    node: NodeId,
    unreachable: Option<(String, String)>,
}

impl Monitoring {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        let mut machine = FailureDetector::new(deps.failure);
        // The leadership is told only when it changes; after a restart the glance knows it.
        let leading = deps.consensus.leading();
        if leading {
            let members = members_of(&deps.consensus);
            let own = deps.node;
            machine.step(0, failure::Input::BecameLeader { own, members }, &mut Vec::new());
        }
        Self {
            deps,
            machine,
            started: Instant::now(),
            wake: None,
            leading,
            beating: false,
            tries: 0,
            waiting: Vec::new(),
            probed: BTreeMap::new(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Carries out the machine's wishes; the verdict, if the input was a heartbeat.
    fn drive(&mut self, ctx: &mut Ctx<Self>, input: failure::Input) -> Option<Verdict> {
        let mut effects = Vec::new();
        self.machine.step(self.now_ms(), input, &mut effects);
        let mut answer = None;
        for effect in effects {
            match effect {
                failure::Effect::SetLiveness { node, liveness } => {
                    tracing::info!(%node, ?liveness, "judged");
                    self.submit(Op::SetLiveness { node, liveness });
                }
                failure::Effect::Answer { verdict, .. } => answer = Some(verdict),
                failure::Effect::WakeAt(at_ms) => self.wake_at(ctx, at_ms),
                failure::Effect::Note(note) => tracing::warn!(?note, "liveness"),
            }
        }
        answer
    }

    fn wake_at(&mut self, ctx: &mut Ctx<Self>, at_ms: u64) {
        if let Some(wake) = self.wake.take() {
            ctx.cancel_future(wake);
        }
        let wait = Duration::from_millis(at_ms.saturating_sub(self.now_ms()).max(1));
        self.wake = Some(ctx.run_later(wait, |actor, ctx| {
            actor.wake = None;
            actor.drive(ctx, failure::Input::Tick);
        }));
    }

    fn judge_everybody(&mut self, ctx: &mut Ctx<Self>) {
        let members = members_of(&self.deps.consensus);
        self.drive(ctx, failure::Input::BecameLeader { own: self.deps.node, members });
    }

    /// Commits in the background; what fails shows again at the next look.
    fn submit(&self, op: Op) {
        let coordination = self.deps.coordination.clone();
        let within = self.deps.heartbeat * 3;
        tokio::task::spawn_local(async move {
            match coordination.ask(Submit::new(op, within)).await {
                Ok(Ok(_)) => {}
                Ok(Err(reason)) => tracing::debug!(%reason, "not committed"),
                Err(reason) => tracing::debug!(%reason, "coordination did not take it"),
            }
        });
    }

    fn own_beacon(&self) -> Option<Beacon> {
        let (term, leader) = self.deps.consensus.glance.read(|glance| (glance.term, glance.leader));
        let leader = leader?;
        Some(self.deps.view.read(|view| Beacon {
            epoch: view.epoch(),
            term,
            leader,
            index: view.index(),
            hash: view.hash(),
            clock_ms: view.clock_ms(),
        }))
    }

    fn beat(&mut self, ctx: &mut Ctx<Self>) {
        if self.beating {
            return;
        }
        self.beating = true;
        let count = self.waiting.len().min(limits::REPORTS_MAX);
        let sent: Vec<ReplicaReport> = self.waiting.drain(..count).collect();
        let heartbeat = Heartbeat {
            node: self.deps.node,
            incarnation: self.deps.incarnation,
            spec: self.deps.spec.read(Clone::clone),
            index: self.deps.view.read(View::index),
            wall_ms: self.deps.clock.wall_ms(),
            usage: self.deps.usage.read(|usage| *usage),
            reports: sent.clone(),
        };
        let me = ctx.own_ref();
        if self.leading {
            let master = self.deps.node;
            let reason = "this leader is not ready".to_owned();
            let answer =
                self.judge(ctx, heartbeat).ok_or(RpcError::Unavailable { node: master, reason });
            // Dropped only when the actor has stopped.
            let _ = me.tell(Answered { master, sent, answer });
            return;
        }
        let Some(master) = self.next_master() else {
            self.beating = false;
            return;
        };
        let rpc = self.deps.rpc.clone();
        let deadline = (self.deps.heartbeat * 2).max(Duration::from_millis(500));
        tokio::task::spawn_local(async move {
            let answer = match rpc.call(master, &Request::Heartbeat(heartbeat), deadline).await {
                Ok(Response::Heartbeat(reply)) => Ok(reply),
                Ok(other) => Err(unexpected(master, &other)),
                Err(error) => Err(error),
            };
            // Dropped only when the actor has stopped.
            let _ = me.tell(Answered { master, sent, answer });
        });
    }

    fn next_master(&self) -> Option<NodeId> {
        let hint = self.deps.leader_hint.read(|hint| *hint).filter(|_| self.tries == 0);
        let hint = hint.filter(|leader| *leader != self.deps.node);
        hint.or_else(|| {
            let masters = self.deps.view.read(|view| masters_but(view, self.deps.node));
            let at = self.deps.node.0 as usize + self.tries;
            (!masters.is_empty()).then(|| masters[at % masters.len()])
        })
    }

    /// The leader's answer to a heartbeat; none while it does not know where the log is.
    fn judge(&mut self, ctx: &mut Ctx<Self>, heartbeat: Heartbeat) -> Option<HeartbeatReply> {
        let node = heartbeat.node;
        let member = self.deps.consensus.state.read(|state| state.members().get(&node).cloned());
        let Some(member) = member else { return Some(HeartbeatReply::NotAMember) };
        let verdict = self.drive(
            ctx,
            failure::Input::Heartbeat {
                node,
                incarnation: heartbeat.incarnation,
                addrs: heartbeat.spec.addrs.clone(),
            },
        );
        match verdict? {
            Verdict::Welcome => {}
            Verdict::Wait { retry_ms } => return Some(HeartbeatReply::Wait { retry_ms }),
            Verdict::IdentityInUse { other, addrs } => {
                return Some(HeartbeatReply::IdentityInUse { other, addrs });
            }
            // The detector learns of a member with the next change of the view.
            Verdict::NotAMember => return None,
        }
        if node != self.deps.node {
            self.note_accepted();
        }
        self.deps.consensus.hear_clock(node, heartbeat.wall_ms);
        if differs(&member, &heartbeat.spec) {
            self.submit(Op::Register { node, spec: heartbeat.spec.clone() });
        }
        self.probe(ctx, &member, &heartbeat.spec);
        if !heartbeat.reports.is_empty() {
            (self.deps.outcomes)(node, heartbeat.reports);
        }
        let unreachable = self.deps.heard.write(|heard| {
            let unreachable = heard.get(&node).and_then(|before| before.unreachable.clone());
            let now = HeardOf {
                at: Instant::now(),
                usage: heartbeat.usage,
                unreachable: unreachable.clone(),
            };
            heard.insert(node, now);
            unreachable
        });
        self.own_beacon().map(|beacon| HeartbeatReply::Welcome { beacon, unreachable })
    }

    fn note_accepted(&self) {
        self.deps.accepted.write(|accepted| *accepted = Some(Instant::now()));
    }

    /// Dials back each advertised address once for each change of them.
    fn probe(&mut self, ctx: &mut Ctx<Self>, member: &Member, spec: &MemberSpec) {
        let node = member.id;
        if node == self.deps.node || self.probed.get(&node) == Some(&spec.addrs) {
            return;
        }
        self.probed.insert(node, spec.addrs.clone());
        let peers = self.deps.rpc.peers().clone();
        let (key, addrs, me) = (member.spec.key, spec.addrs.clone(), ctx.own_ref());
        tokio::task::spawn_local(async move {
            let mut unreachable = None;
            for addr in addrs {
                if let Err(reason) = peers.probe(key, addr.clone()).await {
                    tracing::warn!(%node, %addr, %reason, "advertised address can't be reached");
                    unreachable.get_or_insert((addr, reason));
                }
            }
            // Dropped only when the actor has stopped.
            let _ = me.tell(Probed { node, unreachable });
        });
    }
}

fn members_of(consensus: &ConsensusHandle) -> Vec<(NodeId, Liveness)> {
    consensus.state.read(|state| state.members().values().map(|m| (m.id, m.liveness)).collect())
}

fn masters_but(view: &View, me: NodeId) -> Vec<NodeId> {
    view.members()
        .values()
        .filter(|m| m.spec.role == Role::Master && m.id != me)
        .map(|m| m.id)
        .collect()
}

/// Whether a member says something of itself that the registry does not know. The role is not its to say.
fn differs(member: &Member, spec: &MemberSpec) -> bool {
    let mut known = member.spec.clone();
    known.role = spec.role;
    known != *spec
}

impl Actor for Monitoring {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        ctx.run_interval(self.deps.heartbeat, |actor, ctx| actor.beat(ctx));
        self.beat(ctx);
    }
}

supervised!(Monitoring);

impl Handler<HeartbeatCame> for Monitoring {
    type Result = ResponseFuture<Response>;

    fn handle(
        &mut self,
        HeartbeatCame(heartbeat): HeartbeatCame,
        ctx: &mut Ctx<Self>,
    ) -> Self::Result {
        if self.leading {
            let answer = match self.judge(ctx, heartbeat) {
                Some(reply) => Response::Heartbeat(reply),
                None => Response::Unavailable { reason: "this leader is not ready".into() },
            };
            return Box::pin(async { answer });
        }
        let leader = self.deps.consensus.leader().filter(|leader| *leader != self.deps.node);
        let Some(leader) = leader else {
            return Box::pin(async { Response::NotLeader { leader: None } });
        };
        let rpc = self.deps.rpc.clone();
        let deadline = self.deps.heartbeat.max(Duration::from_millis(300));
        Box::pin(async move {
            let passed_on = rpc.call(leader, &Request::Heartbeat(heartbeat), deadline).await;
            passed_on.unwrap_or_else(|error| Response::Unavailable { reason: error.to_string() })
        })
    }
}

impl Handler<GoodbyeCame> for Monitoring {
    type Result = ();

    fn handle(&mut self, bye: GoodbyeCame, ctx: &mut Ctx<Self>) {
        let GoodbyeCame { node, incarnation } = bye;
        self.drive(ctx, failure::Input::Goodbye { node, incarnation });
    }
}

impl Handler<IdentityTaken> for Monitoring {
    type Result = ();

    fn handle(&mut self, _: IdentityTaken, _: &mut Ctx<Self>) {
        let accepted = self.deps.accepted.read(|accepted| *accepted);
        let ago_ms = accepted.map(|at| at.elapsed().as_millis() as u64);
        if self.deps.failure.is_displaced(ago_ms) {
            let node = self.deps.node;
            let known = |view: &View| view.members().get(&node).map(|m| m.spec.addrs.clone());
            let addrs = self.deps.view.read(known).unwrap_or_default();
            (self.deps.expelled)(Expelled::IdentityInUse { addrs });
        }
    }
}

impl Handler<Removed> for Monitoring {
    type Result = ();

    fn handle(&mut self, _: Removed, _: &mut Ctx<Self>) {
        (self.deps.expelled)(Expelled::NotAMember);
    }
}

impl Handler<ReportByHeartbeat> for Monitoring {
    type Result = ();

    fn handle(&mut self, report: ReportByHeartbeat, ctx: &mut Ctx<Self>) {
        let room = REPORTS_WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend(report.reports.into_iter().take(room));
        self.beat(ctx);
    }
}

impl Handler<LeadershipChanged> for Monitoring {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, ctx: &mut Ctx<Self>) {
        let was = std::mem::replace(&mut self.leading, changed.leading);
        self.deps.leader_hint.write(|hint| *hint = changed.leader);
        if changed.leading && !was {
            // Its own registration first: where it is reached may be news.
            self.probed.clear();
            self.judge_everybody(ctx);
            self.beat(ctx);
        } else if !changed.leading && was {
            self.deps.heard.write(BTreeMap::clear);
            self.deps.consensus.forget_clocks();
            self.drive(ctx, failure::Input::LostLeadership);
        }
    }
}

impl Handler<ViewMoved> for Monitoring {
    type Result = ();

    fn handle(&mut self, moved: ViewMoved, ctx: &mut Ctx<Self>) {
        let Some(changes) = moved.changes else {
            if self.leading {
                self.judge_everybody(ctx);
            }
            return;
        };
        for change in changes.iter() {
            if let ipfs_kit_core::delta::Change::Member { node, new, .. } = change {
                let liveness = new.as_ref().map(|member| member.liveness);
                self.drive(ctx, failure::Input::MemberChanged { node: *node, liveness });
            }
        }
    }
}

impl Handler<ConnectionChanged> for Monitoring {
    type Result = ();

    fn handle(&mut self, changed: ConnectionChanged, ctx: &mut Ctx<Self>) {
        if !changed.connected {
            self.drive(ctx, failure::Input::Disconnected { node: changed.node });
        }
    }
}

impl Handler<Answered> for Monitoring {
    type Result = ();

    fn handle(&mut self, answered: Answered, ctx: &mut Ctx<Self>) {
        self.beating = false;
        match answered.answer {
            Ok(HeartbeatReply::Welcome { beacon, unreachable }) => {
                self.tries = 0;
                let session = Session { at: Instant::now(), index: beacon.index };
                self.deps.session.write(|shown| *shown = Some(session));
                if answered.master != self.deps.node {
                    self.note_accepted();
                }
                let news = self.deps.unreachable.write(|shown| {
                    let news = *shown != unreachable;
                    shown.clone_from(&unreachable);
                    news
                });
                if let Some((addr, reason)) = unreachable.filter(|_| news) {
                    tracing::warn!(%addr, %reason, "the cluster can't reach this node's address");
                }
                if let Err(reason) = self.deps.state_sync.tell(BeaconHeard(beacon)) {
                    tracing::debug!(%reason, "state-sync did not take a beacon");
                }
                if !self.waiting.is_empty() {
                    self.beat(ctx);
                }
            }
            Ok(HeartbeatReply::Wait { retry_ms }) => {
                tracing::info!(retry_ms, "another run of this node was heard a moment ago");
                ctx.run_later(Duration::from_millis(retry_ms), |actor, ctx| actor.beat(ctx));
            }
            Ok(HeartbeatReply::IdentityInUse { addrs, .. }) => {
                (self.deps.expelled)(Expelled::IdentityInUse { addrs });
            }
            Ok(HeartbeatReply::NotAMember) => (self.deps.expelled)(Expelled::NotAMember),
            Err(reason) => {
                tracing::debug!(master = %answered.master, %reason, "heartbeat not answered");
                self.tries += 1;
                let room = REPORTS_WAITING_MAX.saturating_sub(self.waiting.len());
                self.waiting.extend(answered.sent.into_iter().take(room));
            }
        }
    }
}

impl Handler<Probed> for Monitoring {
    type Result = ();

    fn handle(&mut self, probed: Probed, _: &mut Ctx<Self>) {
        self.deps.heard.write(|heard| {
            if let Some(of) = heard.get_mut(&probed.node) {
                of.unreachable = probed.unreachable;
            }
        });
    }
}
