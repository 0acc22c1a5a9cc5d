//! ClusterCtlActor: on the leader, the shell around the planner that keeps every pin at its copies.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message, SpawnHandle};
use ipfs_kit_core::command::Op;
use ipfs_kit_core::replication::{self, Effect, Glance, Input, Planner};

use crate::cluster_manager::coordination::{Coordination, Submit, SubmitError};
use crate::consensus::ConsensusHandle;
use crate::events::{LeadershipChanged, ViewMoved};
use crate::ports::Clock;
use crate::shared::Shared;
use crate::supervised;
use crate::supervision::{ActorRef, Ctx};

/// How long one proposal of the planner is tried; after that it is planned anew.
const WITHIN: Duration = Duration::from_secs(4);
/// Longest sleep between two looks.
const WAKE_MAX: Duration = Duration::from_secs(60);
/// Shortest sleep, so that a planner that wants to go on at once lets others have the thread.
const WAKE_MIN: Duration = Duration::from_millis(1);

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// The replicated state.
    pub consensus: ConsensusHandle,
    /// Commands go through it.
    pub coordination: ActorRef<Coordination>,
    /// What an entry would be stamped with.
    pub clock: Arc<dyn Clock>,
    /// The planner's settings.
    pub config: replication::Config,
    /// What the planner is at; shown to users.
    pub glance: Shared<Option<Glance>>,
}

/// See the module.
pub struct ClusterCtlActor {
    deps: Deps,
    planner: Planner,
    leading: bool,
    wake: Option<SpawnHandle>,
}

/// A proposal of the planner was answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    op: Op,
    result: Result<(), SubmitError>,
}

impl ClusterCtlActor {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        let planner = Planner::new(deps.config);
        Self { deps, planner, leading: false, wake: None }
    }

    fn drive(&mut self, ctx: &mut Ctx<Self>, input: Input<'_>) {
        let mut effects = Vec::new();
        let now_ms = self.deps.clock.wall_ms();
        let planner = &mut self.planner;
        self.deps.consensus.state.read(|state| planner.step(now_ms, state, input, &mut effects));
        for effect in effects {
            match effect {
                Effect::Propose(op) => self.propose(ctx, op),
                Effect::WakeAt(at_ms) => self.wake_in(ctx, at_ms.saturating_sub(now_ms)),
                Effect::Note(note) => tracing::warn!(?note, "replication"),
            }
        }
        let glance = self.leading.then(|| self.planner.glance());
        self.deps.glance.write(|shown| *shown = glance);
    }

    fn propose(&self, ctx: &mut Ctx<Self>, op: Op) {
        let coordination = self.deps.coordination.clone();
        let me = ctx.own_ref();
        tokio::task::spawn_local(async move {
            let submit = Submit::new(op.clone(), WITHIN);
            let result = match coordination.ask_within(submit, WITHIN * 2).await {
                Ok(outcome) => outcome.map(drop),
                Err(error) => Err(SubmitError::NoLeader {
                    within_ms: WITHIN.as_millis() as u64,
                    last: error.to_string(),
                }),
            };
            // Lost when the actor is restarting: the planner asks again after its own deadline.
            if let Err(reason) = me.tell(Answered { op, result }) {
                tracing::debug!(%reason, "an answer came too late");
            }
        });
    }

    fn wake_in(&mut self, ctx: &mut Ctx<Self>, ms: u64) {
        if let Some(wake) = self.wake.take() {
            ctx.cancel_future(wake);
        }
        let wait = Duration::from_millis(ms).clamp(WAKE_MIN, WAKE_MAX);
        self.wake = Some(ctx.run_later(wait, |actor, ctx| {
            actor.wake = None;
            actor.drive(ctx, Input::Tick);
        }));
    }

    fn lead(&mut self, ctx: &mut Ctx<Self>, leading: bool) {
        let was = std::mem::replace(&mut self.leading, leading);
        match (was, leading) {
            (false, true) => self.drive(ctx, Input::BecameLeader),
            (true, false) => self.drive(ctx, Input::LostLeadership),
            _ => {}
        }
    }
}

impl Actor for ClusterCtlActor {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        // The leadership is told only when it changes; the glance knows it now.
        let leading = self.deps.consensus.leading();
        self.lead(ctx, leading);
    }
}

supervised!(ClusterCtlActor);

impl Handler<LeadershipChanged> for ClusterCtlActor {
    type Result = ();

    fn handle(&mut self, changed: LeadershipChanged, ctx: &mut Ctx<Self>) {
        self.lead(ctx, changed.leading);
    }
}

impl Handler<ViewMoved> for ClusterCtlActor {
    type Result = ();

    fn handle(&mut self, moved: ViewMoved, ctx: &mut Ctx<Self>) {
        if !self.leading {
            return;
        }
        match moved.changes {
            Some(changes) => {
                for slice in changes.chunks(replication::SCAN_SLICE) {
                    self.drive(ctx, Input::Changed(slice));
                }
            }
            None => self.drive(ctx, Input::BecameLeader),
        }
    }
}

impl Handler<Answered> for ClusterCtlActor {
    type Result = ();

    fn handle(&mut self, answered: Answered, _: &mut Ctx<Self>) {
        if let Err(reason) = answered.result {
            tracing::debug!(%reason, op = ?answered.op, "a plan was not committed");
        }
    }
}
