//! Supervision under a paused clock: every kind of exit against every strategy, and the promises of
//! references, mailboxes, trees and specs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, AtomicResponse, Handler, Message,
    ResponseActFuture, Running, WrapFuture,
};

use super::node::lock;
use super::testkit::{self, wait_for_state, wait_until};
use super::*;

mod context;
mod dynamic;
mod mailbox;
mod restarts;
mod shutdown;
mod views;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What happened, in order, across all actors of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, words: impl Into<String>) {
        lock(&self.0).push(words.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is gone")]
struct DiskError {
    #[source]
    source: std::io::Error,
}

fn disk_error() -> DiskError {
    DiskError { source: std::io::Error::other("cable pulled") }
}

/// An actor that counts, logs its life, and can be made to end in every way.
struct Worker {
    name: &'static str,
    log: Log,
    count: u64,
    /// How long it flushes when it is asked to stop.
    flush: Option<Duration>,
    flushed: bool,
}

impl Worker {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone(), count: 0, flush: None, flushed: false }
    }
}

supervised!(Worker);

impl Actor for Worker {
    type Context = Ctx<Self>;

    fn started(&mut self, _: &mut Ctx<Self>) {
        self.log.note(format!("{} started", self.name));
    }

    fn stopping(&mut self, ctx: &mut Ctx<Self>) -> Running {
        match self.flush {
            Some(flush) if !self.flushed => {
                self.log.note(format!("{} flushes", self.name));
                let pause = tokio::time::sleep(flush).into_actor(self);
                ctx.spawn(pause.map(|(), worker, ctx| {
                    worker.flushed = true;
                    ctx.stop();
                }));
                Running::Continue
            }
            _ => Running::Stop,
        }
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.log.note(format!("{} stopped", self.name));
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident $(($field:ty))? -> $result:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        struct $name $(($field))?;
        impl Message for $name {
            type Result = $result;
        }
    )+};
}

messages! {
    Add(u64) -> u64;
    Panic -> ();
    Fail -> ();
    Leave -> ();
    /// Holds up the mailbox.
    Hold(Duration) -> ();
    /// Takes its time without holding up the mailbox.
    Slow(Duration) -> ();
    SendToSelf(u64) -> ();
}

impl Handler<Add> for Worker {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Ctx<Self>) -> u64 {
        self.count += n;
        self.count
    }
}

impl Handler<Panic> for Worker {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Ctx<Self>) {
        panic!("boom");
    }
}

impl Handler<Fail> for Worker {
    type Result = ();

    fn handle(&mut self, _: Fail, ctx: &mut Ctx<Self>) {
        ctx.fail(disk_error());
    }
}

impl Handler<Leave> for Worker {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}

impl Handler<Hold> for Worker {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Hold(duration): Hold, _: &mut Ctx<Self>) -> AtomicResponse<Self, ()> {
        AtomicResponse::new(Box::pin(tokio::time::sleep(duration).into_actor(self)))
    }
}

impl Handler<Slow> for Worker {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Slow(duration): Slow, _: &mut Ctx<Self>) -> ResponseActFuture<Self, ()> {
        Box::pin(tokio::time::sleep(duration).into_actor(self))
    }
}

impl Handler<SendToSelf> for Worker {
    type Result = ();

    fn handle(&mut self, SendToSelf(n): SendToSelf, ctx: &mut Ctx<Self>) {
        self.count += 1;
        if n > 0 {
            ctx.own_ref().tell(SendToSelf(n - 1)).expect("one place is enough");
        }
    }
}

/// A small tree of workers, and everything a test needs of it.
struct World {
    tree: Tree,
    root: Root,
    log: Log,
    refs: BTreeMap<&'static str, ActorRef<Worker>>,
}

fn quick() -> BackOff {
    BackOff { base_ms: 100, cap_ms: 1_000, jitter_percent: 0, quiet_ms: 60_000 }
}

fn worker(name: &'static str, log: &Log) -> (ChildSpec, ActorRef<Worker>) {
    let (actor_ref, log) = (ActorRef::vacant(), log.clone());
    let spec = ChildSpec::actor(name, &actor_ref, move |_| Worker::new(name, &log));
    (spec.stop_deadline(ms(500)).capacity(8), actor_ref)
}

fn path(text: &str) -> ActorPath {
    ActorPath::parse(text).expect("a path")
}

impl World {
    /// Starts workers of these names under one supervisor.
    async fn start(tree: Tree, strategy: Strategy, names: &[&'static str]) -> Self {
        let keep = |_: &str, spec: ChildSpec| spec;
        Self::start_with(tree, strategy, names, keep).await
    }

    async fn start_with(
        tree: Tree,
        strategy: Strategy,
        names: &[&'static str],
        adapt: impl Fn(&str, ChildSpec) -> ChildSpec,
    ) -> Self {
        let log = Log::default();
        let mut refs = BTreeMap::new();
        let mut spec = SupervisorSpec::new("node", strategy).back_off(quick());
        for name in names {
            let (child, actor_ref) = worker(name, &log);
            spec = spec.child(adapt(name, child));
            refs.insert(*name, actor_ref);
        }
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        root.ready().await.expect("it starts");
        log.take();
        Self { tree, root, log, refs }
    }

    fn of(&self, name: &str) -> &ActorRef<Worker> {
        &self.refs[name]
    }

    fn view(&self, name: &str) -> NodeView {
        self.tree.view(&path(&format!("/node/{name}"))).expect("it is in the tree")
    }

    fn incarnations(&self) -> Vec<u64> {
        let snapshot = self.tree.snapshot();
        let root = snapshot.find(self.root.path()).expect("the root is there");
        root.children.iter().map(|child| child.incarnation).collect()
    }

    async fn running(&self, name: &str, incarnation: u64) {
        let path = path(&format!("/node/{name}"));
        wait_for_state(&self.tree, &path, State::Running, incarnation, MINUTE).await;
    }

    async fn stop(mut self) {
        assert_eq!(self.root.stop().await, Exit::Normal);
    }
}
