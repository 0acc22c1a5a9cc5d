//! The context that our actors run in: actix's, with figures, typed failure and readiness.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::dev::{
    AsyncContextParts, ContextFut, ContextParts, Mailbox, MessageResponse, SpawnHandle,
};
use actix::{Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, Handler, Message};
use ipfs_kit_core::restart::Cause;

use super::actor_ref::ActorRef;
use super::body::SupervisedActor;
use super::fault::Fault;
use super::node::Node;
use super::path::ActorPath;

/// Messages that an actor handles before others get the thread. actix itself would go on until the
/// mailbox is empty, which an actor that sends to itself never lets happen.
const HANDLED_PER_POLL_MAX: u32 = 64;

/// Makes an actor, for its first incarnation and for every revival.
pub(crate) type Factory<A> = Rc<dyn Fn(&mut Ctx<A>) -> A>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// Ready once `started` has returned.
    AfterStarted,
    /// Ready when the actor says so.
    Deferred,
    Ready,
}

/// The context of a supervised actor: `impl Actor for X { type Context = Ctx<Self>; }`.
///
/// Do the actix things as ever (`spawn`, `wait`, `notify_later`, `run_interval`, `stop`), except that
/// others are reached through [`ActorRef`] and not through `Addr`. Prefer `AtomicResponse` or
/// `ResponseActFuture` to `ResponseFuture`, which runs as a task of its own outside of supervision.
pub struct Ctx<A: Actor<Context = Self>> {
    parts: ContextParts<A>,
    node: Arc<Node>,
    own_ref: ActorRef<A>,
    factory: Factory<A>,
    readiness: Readiness,
    failure: Option<Cause>,
    rebuilt: bool,
    handled_in_poll: u32,
    poll_again: bool,
    /// Spawned futures that can be cancelled, by handle.
    cancels: BTreeMap<usize, Weak<Cell<bool>>>,
}

impl<A: SupervisedActor> Ctx<A> {
    /// A new actor with an empty mailbox, ready to be polled.
    pub(crate) fn create(
        node: Arc<Node>,
        own_ref: ActorRef<A>,
        factory: Factory<A>,
    ) -> ContextFut<A, Self> {
        let mut mailbox = Mailbox::default();
        // Unbounded for actix: its bound doesn't hold, ours is in front of it.
        mailbox.set_capacity(0);
        let mut ctx = Self {
            parts: ContextParts::new(mailbox.sender_producer()),
            node,
            own_ref,
            factory: factory.clone(),
            readiness: Readiness::AfterStarted,
            failure: None,
            rebuilt: true,
            handled_in_poll: 0,
            poll_again: false,
            cancels: BTreeMap::new(),
        };
        let actor = factory(&mut ctx);
        ContextFut::new(ctx, actor, mailbox)
    }

    /// A fresh actor from the factory of its spec, for `Supervised::restarting`; see `supervised!`.
    pub fn fresh(&mut self) -> A {
        self.rebuilt = true;
        let factory = self.factory.clone();
        factory(self)
    }

    /// A reference to this actor, to be given away.
    pub fn own_ref(&self) -> ActorRef<A> {
        self.own_ref.clone()
    }
}

impl<A: Actor<Context = Self>> Ctx<A> {
    /// Gives up: the incarnation ends at once with this cause. `stopped` runs, `stopping` doesn't.
    pub fn fail(&mut self, fault: impl Into<Fault>) {
        if self.failure.is_none() {
            self.failure = Some(fault.into().into_cause());
        }
        self.parts.terminate();
    }

    /// Where this actor lives.
    pub fn path(&self) -> &ActorPath {
        self.node.path()
    }

    /// Which of its lives this is, from 1.
    pub fn incarnation(&self) -> u64 {
        self.node.incarnation()
    }

    /// To be called in the factory or in `started`: the actor isn't ready before [`Ctx::ready`].
    pub fn defer_ready(&mut self) {
        if self.readiness == Readiness::AfterStarted {
            self.readiness = Readiness::Deferred;
        }
    }

    /// The actor is ready: what was started after it may go on.
    pub fn ready(&mut self) {
        self.readiness = Readiness::Ready;
        self.poll_again = true;
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn count_handled(&mut self) {
        self.handled_in_poll += 1;
    }

    // What the runner needs.

    pub(crate) fn reset(&mut self) {
        self.readiness = Readiness::AfterStarted;
        self.failure = None;
        self.rebuilt = false;
        self.cancels.clear();
    }

    pub(crate) fn begin_poll(&mut self) {
        self.handled_in_poll = 0;
        self.poll_again = false;
    }

    /// Whether the future has more to do although it is pending.
    pub(crate) fn wants_poll(&self) -> bool {
        self.poll_again || self.handled_in_poll >= HANDLED_PER_POLL_MAX
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.readiness != Readiness::Deferred
    }

    pub(crate) fn take_failure(&mut self) -> Option<Cause> {
        self.failure.take()
    }

    /// Whether this incarnation's state came out of the factory.
    pub(crate) fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    fn cancels_of_live(&mut self) {
        self.cancels.retain(|_, cancel| cancel.strong_count() > 0);
    }
}

impl<A: Actor<Context = Self>> ActorContext for Ctx<A> {
    fn stop(&mut self) {
        self.parts.stop();
        self.poll_again = true;
    }

    fn terminate(&mut self) {
        self.parts.terminate();
        self.poll_again = true;
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Actor<Context = Self>> AsyncContextParts<A> for Ctx<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for Ctx<A> {
    fn address(&self) -> Addr<A> {
        self.parts.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let cancel = Rc::new(Cell::new(false));
        let entry = Rc::downgrade(&cancel);
        let handle = self.parts.spawn(Spawned { future: Box::pin(future), cancel });
        // Forget the dead ones whenever the map could have doubled.
        if self.cancels.len().is_power_of_two() {
            self.cancels_of_live();
        }
        self.cancels.insert(handle.into_usize(), entry);
        handle
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let first = self.node.begin_await();
        let shown = first.then(|| Awaiting(self.node.clone()));
        self.parts.wait(Waited { future: Box::pin(future), _shown: shown });
    }

    /// Also true when it is somebody else's turn: actix asks before it takes the next message.
    fn waiting(&self) -> bool {
        self.parts.waiting() || self.handled_in_poll >= HANDLED_PER_POLL_MAX
    }

    /// Not left to actix: what it remembers of a cancellation would hit a future of the next
    /// incarnation that happens to get the same handle.
    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        let Some(cancel) = self.cancels.remove(&handle.into_usize()) else { return false };
        let Some(cancel) = cancel.upgrade() else { return false };
        cancel.set(true);
        self.poll_again = true;
        true
    }

    fn notify<M>(&mut self, message: M)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        self.spawn(SelfMessage { message: Some(message), due: None });
    }

    fn notify_later<M>(&mut self, message: M, after: Duration) -> SpawnHandle
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let due = Some(Box::pin(tokio::time::sleep(after)));
        self.spawn(SelfMessage { message: Some(message), due })
    }
}

type BoxedFuture<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// A future that runs beside the mailbox, until it is cancelled.
struct Spawned<A: Actor> {
    future: BoxedFuture<A>,
    cancel: Rc<Cell<bool>>,
}

impl<A: Actor> ActorFuture<A> for Spawned<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut A::Context,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        if self.cancel.get() {
            return Poll::Ready(());
        }
        self.future.as_mut().poll(actor, ctx, task)
    }
}

/// Shows in the tree that a message holds up the mailbox, until dropped.
struct Awaiting(Arc<Node>);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.end_await();
    }
}

/// A future that holds up the mailbox.
struct Waited<A: Actor> {
    future: BoxedFuture<A>,
    _shown: Option<Awaiting>,
}

impl<A: Actor> ActorFuture<A> for Waited<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut A::Context,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        self.future.as_mut().poll(actor, ctx, task)
    }
}

/// A message that an actor sends to itself, now or later: it passes by the mailbox and its gate, but
/// not by the turn of the others. The turn's end polls it again, see [`Ctx::wants_poll`].
struct SelfMessage<M> {
    message: Option<M>,
    due: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<M> Unpin for SelfMessage<M> {}

impl<A, M> ActorFuture<A> for SelfMessage<M>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + 'static,
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Ctx<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        if let Some(due) = &mut self.due {
            std::task::ready!(due.as_mut().poll(task));
        }
        if ctx.handled_in_poll >= HANDLED_PER_POLL_MAX {
            // actix would poll what this handler notifies in the same turn, and so on for ever.
            self.due = None;
            return Poll::Pending;
        }
        if let Some(message) = self.message.take() {
            ctx.count_handled();
            let node = ctx.node.clone();
            node.begin_message(std::any::type_name::<M>(), None);
            actor.handle(message, ctx).handle(ctx, None);
            node.end_message();
        }
        Poll::Ready(())
    }
}
