//! Dynamic role: when the cluster has committed another role for this node, its role child is swapped.
//!
//! The swap is an ordered stop of the old child and a start of the new one; the tree above it, consensus
//! among it, does not notice.

use std::time::Duration;

use actix::{Actor, AsyncContext, Handler, Message};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::role::{Effect, Input, RoleSwitch};
use tokio::time::Instant;

use crate::events::ViewMoved;
use crate::shared::{Shared, SharedView};
use crate::supervised;
use crate::supervision::Ctx;

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node.
    pub node: NodeId,
    /// This node's view: its committed role.
    pub view: SharedView,
    /// The role whose child runs now.
    pub running: Shared<Role>,
    /// Swaps the child; answers when the new one is ready.
    pub swap: Swap,
}

/// Swaps the role child for that of a role.
pub type Swap =
    std::rc::Rc<dyn Fn(Role) -> futures_util::future::LocalBoxFuture<'static, Result<(), String>>>;

/// See the module.
pub struct DynamicRole {
    deps: Deps,
    machine: RoleSwitch,
    started: Instant,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Swapped {
    to: Role,
    result: Result<(), String>,
}

impl DynamicRole {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        let machine = RoleSwitch::running(deps.running.read(|role| *role));
        Self { deps, machine, started: Instant::now() }
    }

    fn drive(&mut self, ctx: &mut Ctx<Self>, input: Input) {
        let mut effects = Vec::new();
        self.machine.step(self.started.elapsed().as_millis() as u64, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Swap { from, to } => self.swap(ctx, from.unwrap_or(to), to),
                Effect::Held { role, raft } => {
                    tracing::info!(%role, ?raft, "the new role waits for raft");
                }
                Effect::WakeAt(at_ms) => {
                    let now_ms = self.started.elapsed().as_millis() as u64;
                    let wait = Duration::from_millis(at_ms.saturating_sub(now_ms).max(1));
                    ctx.run_later(wait, |actor, ctx| actor.drive(ctx, Input::Tick));
                }
            }
        }
    }

    fn swap(&self, ctx: &mut Ctx<Self>, from: Role, to: Role) {
        tracing::info!(%from, %to, "the role changes");
        let swap = (self.deps.swap)(to);
        let (me, running) = (ctx.own_ref(), self.deps.running.clone());
        tokio::task::spawn_local(async move {
            let result = swap.await;
            if result.is_ok() {
                running.write(|role| *role = to);
            }
            // Lost when the actor is restarting; the running role is shared and tells it.
            if let Err(reason) = me.tell(Swapped { to, result }) {
                tracing::debug!(%reason, "a swap ended too late");
            }
        });
    }

    fn look(&mut self, ctx: &mut Ctx<Self>) {
        let node = self.deps.node;
        let input = self.deps.view.read(|view| view.members().get(&node).map(Input::of));
        if let Some(input) = input {
            self.drive(ctx, input);
        }
    }
}

impl Actor for DynamicRole {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.look(ctx);
    }
}

supervised!(DynamicRole);

impl Handler<ViewMoved> for DynamicRole {
    type Result = ();

    fn handle(&mut self, _: ViewMoved, ctx: &mut Ctx<Self>) {
        self.look(ctx);
    }
}

impl Handler<Swapped> for DynamicRole {
    type Result = ();

    fn handle(&mut self, swapped: Swapped, ctx: &mut Ctx<Self>) {
        match swapped.result {
            Ok(()) => self.drive(ctx, Input::Swapped { role: swapped.to }),
            Err(reason) => {
                tracing::error!(to = %swapped.to, %reason, "the role child did not start");
                self.drive(ctx, Input::Failed);
            }
        }
    }
}
