//! The supervisor: a loop that reports to the ledger what happens and carries out what it wishes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ipfs_kit_core::restart::{Cause, ChildIx, Effect, Exit, Ledger};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fault::Fault;
use super::node::Node;
use super::panics::install_hook;
use super::path::ActorPath;
use super::runner::{News, ORDERS_MAX, Order, Report, RunnerId, run_child};
use super::spec::{CHILDREN_MAX, ChildSpec, SpecError, SupervisorSpec, TaskCtx};
use super::tree::{Change, Hub, Tree};

mod control;
mod root;
pub use control::{DynamicError, SupervisorRef};
pub use root::{Root, launch};

use control::{Command, Done, Verb};

/// Reports that may wait for a supervisor; its children wait beyond that.
const REPORTS_MAX: usize = 64;

/// What every supervisor of a tree is given.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) hub: Arc<Hub>,
    /// All jitter of the tree comes from it.
    pub(crate) seed: u64,
}

impl Env {
    /// A seed that is another one for each incarnation of each supervisor (FNV-1a over its name).
    fn seed_for(&self, path: &ActorPath, incarnation: u64) -> u64 {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed;
        for byte in path.as_str().bytes().chain(incarnation.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        hash
    }
}

/// What a waiting caller waits for.
enum Want {
    Ready,
    Down,
    Gone,
}

/// A child's place.
struct Slot {
    spec: ChildSpec,
    node: Arc<Node>,
    generation: u64,
    orders: mpsc::Sender<Order>,
    /// The spec that takes the place once the present child is down.
    successor: Option<ChildSpec>,
    caller: Option<(Want, Done)>,
    /// Whether the present incarnation was asked to stop, and whether the last one crashed unasked.
    asked_to_stop: bool,
    crashed: bool,
}

struct Supervisor {
    spec: Rc<SupervisorSpec>,
    env: Env,
    ctx: TaskCtx,
    ledger: Ledger,
    slots: BTreeMap<ChildIx, Slot>,
    generation: u64,
    runners: JoinSet<(RunnerId, bool)>,
    reports: mpsc::Sender<Report>,
    outcome: Option<Exit>,
}

/// Runs a supervisor until it is asked to stop or gives up.
pub(crate) async fn supervise(
    spec: Rc<SupervisorSpec>,
    env: Env,
    ctx: TaskCtx,
) -> Result<(), Fault> {
    let (reports, mut incoming) = mpsc::channel(REPORTS_MAX);
    let mut commands = spec.control.as_ref().map(SupervisorRef::open);
    let seed = env.seed_for(ctx.path(), ctx.incarnation());
    let ledger = Ledger::new(spec.group, seed);
    ctx.node().clear_group_restarts();
    let mut supervisor = Supervisor {
        spec,
        env,
        ctx,
        ledger,
        slots: BTreeMap::new(),
        generation: 0,
        runners: JoinSet::new(),
        reports,
        outcome: None,
    };
    supervisor.begin()?;
    supervisor.run(&mut incoming, &mut commands).await
}

impl Supervisor {
    fn now_ms(&self) -> u64 {
        self.env.hub.now_ms()
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let spec = self.spec.clone();
        // Those that an earlier incarnation was given at run time are not part of this one.
        let names: Vec<&str> = spec.children.iter().map(ChildSpec::name).collect();
        self.env.hub.retain_children(self.ctx.path(), &names);
        for child in &spec.children {
            let (ix, _) = self.ledger.add(self.now_ms(), child.rule);
            self.fill(ix, child.clone(), None)?;
        }
        let effects = self.ledger.start(self.now_ms());
        self.carry_out(effects);
        Ok(())
    }

    async fn run(
        &mut self,
        incoming: &mut mpsc::Receiver<Report>,
        commands: &mut Option<mpsc::Receiver<Command>>,
    ) -> Result<(), Fault> {
        let stopped = self.ctx.stopped();
        let mut stopped = std::pin::pin!(stopped);
        let mut stopping = false;
        loop {
            if let Some(exit) = self.outcome.take() {
                self.release_all().await;
                return match exit {
                    Exit::Failed(cause) => Err(Fault::of(cause)),
                    _ => Ok(()),
                };
            }
            if self.ledger.is_settled() {
                self.ctx.ready();
            }
            let wake_at_ms = self.ledger.wake_at_ms();
            tokio::select! {
                biased;
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    let effects = self.ledger.stop(self.now_ms());
                    self.carry_out(effects);
                }
                Some(command) = next_command(commands) => self.command(command),
                Some(report) = incoming.recv() => self.report(report),
                Some(ended) = self.runners.join_next() => self.runner_ended(ended.ok()),
                () = until(self.ctx.node().epoch, wake_at_ms) => {
                    let effects = self.ledger.on_wake(self.now_ms());
                    self.carry_out(effects);
                }
            }
        }
    }

    /// Puts a spec into a place and starts its runner, parked.
    fn fill(
        &mut self,
        ix: ChildIx,
        spec: ChildSpec,
        caller: Option<(Want, Done)>,
    ) -> Result<(), Fault> {
        let path = self.ctx.path().child(spec.name())?;
        if !spec.is_supervisor() {
            // What lives here now has nobody below it.
            self.env.hub.retain_children(&path, &[]);
        }
        let node = self.env.hub.register(spec.node_spec(path, ix.0));
        self.generation += 1;
        let generation = self.generation;
        let orders = self.spawn_runner(RunnerId { child: ix, generation }, &spec, &node);
        let slot = Slot {
            spec,
            node,
            generation,
            orders,
            successor: None,
            caller,
            asked_to_stop: false,
            crashed: false,
        };
        self.slots.insert(ix, slot);
        Ok(())
    }

    fn spawn_runner(
        &mut self,
        id: RunnerId,
        spec: &ChildSpec,
        node: &Arc<Node>,
    ) -> mpsc::Sender<Order> {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let body = spec.build(node.clone(), &self.env);
        let runner = run_child(id, node.clone(), body, receiver, self.reports.clone());
        self.runners.spawn_local(async move {
            let ended = AssertUnwindSafe(runner).catch_unwind().await;
            (id, ended.is_err())
        });
        orders
    }

    fn report(&mut self, report: Report) {
        let Some(slot) = self.slots.get_mut(&report.from.child) else { return };
        if slot.generation != report.from.generation {
            // A word of somebody whose place was given away.
            return;
        }
        let ix = report.from.child;
        match report.news {
            News::Ready => {
                if slot.successor.is_none() {
                    slot.answer(&Want::Ready, Ok(()));
                }
                let effects = self.ledger.on_ready(self.now_ms(), ix);
                self.carry_out(effects);
            }
            News::Exited(exit) => self.exited(ix, &exit),
        }
    }

    fn exited(&mut self, ix: ChildIx, exit: &Exit) {
        if let Some(slot) = self.slots.get_mut(&ix) {
            slot.crashed = exit.is_abnormal() && !slot.asked_to_stop;
        }
        let effects = self.ledger.on_exit(self.now_ms(), ix, exit);
        self.carry_out(effects);
        if self.ledger.is_closing()
            && let Some(slot) = self.slots.get_mut(&ix)
        {
            slot.settle_down();
        }
    }

    /// A runner ends by itself only if it panicked: its guard has a hole.
    fn runner_ended(&mut self, ended: Option<(RunnerId, bool)>) {
        let Some((id, true)) = ended else { return };
        if self.slots.get(&id.child).is_some_and(|slot| slot.generation == id.generation) {
            let exit = Exit::Panicked(Cause::new("panic", "the child's runner panicked"));
            if let Some(slot) = self.slots.get(&id.child) {
                slot.node.exited(exit.clone(), None);
            }
            self.exited(id.child, &exit);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start { child } => self.start(child),
                Effect::Stop { child, purpose } => {
                    if let Some(slot) = self.slots.get_mut(&child) {
                        slot.asked_to_stop = true;
                    }
                    self.order(child, Order::Stop(purpose));
                }
                Effect::Kill { child, missed } => {
                    if let Some(slot) = self.slots.get(&child) {
                        tracing::warn!(path = %slot.node.path(), ?missed, "deadline missed");
                    }
                    self.order(child, Order::Kill(Some(missed)));
                }
                Effect::BackOff { child, crash, until_ms } => {
                    self.ctx.node().count_group_restart();
                    if let Some(slot) = self.slots.get(&child) {
                        let delay_ms = until_ms.saturating_sub(self.now_ms());
                        tracing::info!(path = %slot.node.path(), crash, delay_ms, "restarting");
                        slot.node.change(Change::BackOff { until_ms });
                    }
                }
                Effect::Rest { child } => {
                    self.order(child, Order::Discard);
                    if let Some(slot) = self.slots.get_mut(&child) {
                        slot.settle_down();
                        slot.answer(&Want::Down, Ok(()));
                    }
                }
                Effect::Release { child } => {
                    if let Some(mut slot) = self.slots.remove(&child) {
                        self.env.hub.remove(slot.node.path());
                        slot.answer(&Want::Gone, Ok(()));
                    }
                }
                Effect::Escalate { cause } => {
                    tracing::error!(supervisor = %self.ctx.path(), %cause, "giving up");
                }
                Effect::Finish { exit } => self.outcome = Some(exit),
            }
        }
    }

    /// Starts the child of a place, or the successor that waits for it.
    fn start(&mut self, ix: ChildIx) {
        let Some(slot) = self.slots.get_mut(&ix) else { return };
        if let Some(successor) = slot.successor.take() {
            let caller = slot.caller.take();
            let old_path = slot.node.path().clone();
            // The old runner ends when its orders are gone, and drops what it held.
            self.slots.remove(&ix);
            if old_path.name() != successor.name() {
                self.env.hub.remove(&old_path);
            }
            if let Err(fault) = self.fill(ix, successor, caller) {
                // Names were checked when the successor was accepted.
                tracing::error!(%old_path, cause = %fault.cause(), "no successor");
                return;
            }
        }
        let Some(slot) = self.slots.get_mut(&ix) else { return };
        slot.asked_to_stop = false;
        slot.crashed = false;
        if slot.orders.is_closed() {
            let (spec, node) = (slot.spec.clone(), slot.node.clone());
            self.generation += 1;
            let id = RunnerId { child: ix, generation: self.generation };
            let orders = self.spawn_runner(id, &spec, &node);
            if let Some(slot) = self.slots.get_mut(&ix) {
                slot.orders = orders;
                slot.generation = id.generation;
            }
        }
        self.order(ix, Order::Start);
    }

    fn order(&mut self, ix: ChildIx, order: Order) {
        let Some(slot) = self.slots.get(&ix) else { return };
        if let Err(error) = slot.orders.try_send(order) {
            // Only a runner that has ended refuses; its end is reported by itself.
            tracing::error!(path = %slot.node.path(), ?order, %error, "order refused");
        }
    }

    /// Everybody is down: lets the runners go, and waits until they have dropped what they held.
    async fn release_all(&mut self) {
        for slot in self.slots.values_mut() {
            slot.settle_down();
            if let Some((_, done)) = slot.caller.take() {
                done.answer(Err(DynamicError::Interrupted));
            }
        }
        self.slots.clear();
        while self.runners.join_next().await.is_some() {}
    }

    fn command(&mut self, command: Command) {
        let Command { verb, done } = command;
        match verb {
            Verb::Start(spec) => self.start_named(spec, done),
            Verb::Replace(name, spec) => self.replace_named(&name, spec, done),
            Verb::Stop(name) => self.end_named(&name, Want::Down, done),
            Verb::Remove(name) => self.end_named(&name, Want::Gone, done),
        }
    }

    fn find(&self, name: &str) -> Option<ChildIx> {
        let named = |slot: &Slot| match &slot.successor {
            Some(successor) => successor.name() == name,
            None => slot.spec.name() == name,
        };
        self.slots.iter().find(|(_, slot)| named(slot)).map(|(ix, _)| *ix)
    }

    fn start_named(&mut self, spec: ChildSpec, done: Done) {
        if let Some(ix) = self.find(spec.name()) {
            let stopped = self.slots.get(&ix).is_some_and(|slot| slot.is_at_rest());
            if stopped {
                return self.put_in_place(ix, spec, done);
            }
            return done.answer(Err(DynamicError::Duplicate { name: spec.name }));
        }
        if self.slots.len() >= CHILDREN_MAX {
            return done.answer(Err(DynamicError::TooManyChildren));
        }
        if self.ledger.is_closing() {
            return done.answer(Err(DynamicError::Interrupted));
        }
        let now_ms = self.now_ms();
        let (ix, effects) = self.ledger.add(now_ms, spec.rule);
        if let Err(fault) = self.fill(ix, spec, Some((Want::Ready, done))) {
            // Names were checked when the command was given.
            tracing::error!(supervisor = %self.ctx.path(), cause = %fault.cause(), "no child");
        }
        self.carry_out(effects);
    }

    fn replace_named(&mut self, name: &str, spec: ChildSpec, done: Done) {
        let Some(ix) = self.find(name) else {
            return done.answer(Err(DynamicError::Unknown { name: name.to_owned() }));
        };
        if spec.name() != name && self.find(spec.name()).is_some() {
            return done.answer(Err(DynamicError::Duplicate { name: spec.name }));
        }
        self.put_in_place(ix, spec, done);
    }

    fn put_in_place(&mut self, ix: ChildIx, spec: ChildSpec, done: Done) {
        let rule = spec.rule;
        let Some(slot) = self.slots.get_mut(&ix) else { return };
        slot.successor = Some(spec);
        slot.call(Want::Ready, done);
        let effects = self.ledger.replace_child(self.now_ms(), ix, rule);
        self.carry_out(effects);
    }

    fn end_named(&mut self, name: &str, want: Want, done: Done) {
        let Some(ix) = self.find(name) else {
            return done.answer(Err(DynamicError::Unknown { name: name.to_owned() }));
        };
        let Some(slot) = self.slots.get_mut(&ix) else { return };
        slot.successor = None;
        let remove = matches!(want, Want::Gone);
        slot.call(want, done);
        let now_ms = self.now_ms();
        let effects = if remove {
            self.ledger.remove_child(now_ms, ix)
        } else {
            self.ledger.stop_child(now_ms, ix)
        };
        self.carry_out(effects);
    }
}

impl Slot {
    /// Answers the caller that waits for this.
    fn answer(&mut self, event: &Want, answer: Result<(), DynamicError>) {
        let met = self
            .caller
            .as_ref()
            .is_some_and(|(want, _)| std::mem::discriminant(want) == std::mem::discriminant(event));
        if met && let Some((_, done)) = self.caller.take() {
            done.answer(answer);
        }
    }

    /// A new caller takes the place of one that still waits.
    fn call(&mut self, want: Want, done: Done) {
        if let Some((_, earlier)) = self.caller.replace((want, done)) {
            earlier.answer(Err(DynamicError::Superseded));
        }
    }

    fn is_at_rest(&self) -> bool {
        use super::tree::State::{Failed, Stopped};
        matches!(self.node.state(), Stopped | Failed)
    }

    /// The child is down for good.
    fn settle_down(&self) {
        if self.is_at_rest() || self.node.is_alive() {
            return;
        }
        self.node.change(if self.crashed { Change::GaveUp } else { Change::Stopped });
    }
}

impl Drop for Supervisor {
    /// Killed, or its future was dropped: its runners go with it, and the tree must not lie.
    fn drop(&mut self) {
        for slot in self.slots.values() {
            slot.node.close_gate();
            if !slot.is_at_rest() {
                slot.node.change(Change::Stopped);
            }
        }
    }
}

async fn next_command(commands: &mut Option<mpsc::Receiver<Command>>) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => pending().await,
    }
}

async fn until(epoch: Instant, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep_until(epoch + Duration::from_millis(at_ms)).await,
        None => pending().await,
    }
}
