//! References to actors: `ask` and `tell` through a gate that holds.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix::dev::{Request, ToEnvelope};
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message};
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::context::Ctx;
use super::envelope::{put_postage, take_postage};
use super::node::{Node, Refusal, lock, millis, short_type_name};
use super::path::ActorPath;

/// How long an `ask` waits unless the reference says otherwise.
const ASK_DEADLINE: Duration = Duration::from_secs(5);

/// Why a question got no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// The mailbox is full. The message was dropped unseen; retrying later helps.
    #[error("{to} is overloaded: {capacity} messages wait")]
    Overloaded {
        /// Whom it was for.
        to: String,
        /// The bound that was reached.
        capacity: usize,
    },
    /// The actor isn't there (not started, being re-created, or stopped). The message was dropped
    /// unseen; retrying helps if it comes back.
    #[error("{to} is not available")]
    Unavailable {
        /// Whom it was for.
        to: String,
    },
    /// No answer in time. A message still queued is skipped; one being handled may take effect, so
    /// retrying is safe only for what may happen twice.
    #[error("{to} did not answer within {after_ms} ms")]
    Timeout {
        /// Whom it was for.
        to: String,
        /// The deadline.
        after_ms: u64,
    },
    /// The message was accepted, then the actor crashed, stopped, or dropped the answer. It may have
    /// taken effect; retrying is safe only for what may happen twice.
    #[error("{to} ended before it answered")]
    Interrupted {
        /// Whom it was for.
        to: String,
    },
}

impl AskError {
    /// Whether the message may have taken effect.
    pub fn may_have_run(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Interrupted { .. })
    }
}

/// Why a message wasn't accepted. It carries the message back: nothing has happened.
#[derive(thiserror::Error)]
pub enum TellError<M> {
    /// The mailbox is full; retrying later helps.
    #[error("{to} is overloaded: {capacity} messages wait")]
    Overloaded {
        /// Whom it was for.
        to: String,
        /// The bound that was reached.
        capacity: usize,
        /// The message.
        message: M,
    },
    /// The actor isn't there (not started, being re-created, or stopped); retrying helps if it comes
    /// back.
    #[error("{to} is not available")]
    Unavailable {
        /// Whom it was for.
        to: String,
        /// The message.
        message: M,
    },
}

impl<M> TellError<M> {
    /// The message that wasn't accepted.
    pub fn into_message(self) -> M {
        match self {
            Self::Overloaded { message, .. } | Self::Unavailable { message, .. } => message,
        }
    }
}

// By hand, so that a message needn't be `Debug`.
impl<M> std::fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Where an actor is now: filled when it starts, emptied when its mailbox goes.
struct Slot<A: Actor> {
    bound: Mutex<Option<Bound<A>>>,
}

struct Bound<A: Actor> {
    addr: Addr<A>,
    node: Arc<Node>,
}

/// A reference to an actor that survives its restarts. Cheap to clone, usable from any thread.
///
/// Made before the actor, so that actors can be wired in any order, circles included; the spec that
/// takes it (`ChildSpec::actor`) fills it whenever the actor is there.
pub struct ActorRef<A: Actor> {
    slot: Arc<Slot<A>>,
    deadline: Duration,
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), deadline: self.deadline }
    }
}

impl<A: Actor<Context = Ctx<A>>> Default for ActorRef<A> {
    fn default() -> Self {
        Self::vacant()
    }
}

impl<A: Actor<Context = Ctx<A>>> std::fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ActorRef({})", self.label())
    }
}

impl<A: Actor<Context = Ctx<A>>> ActorRef<A> {
    /// A reference to nobody yet.
    pub fn vacant() -> Self {
        Self { slot: Arc::new(Slot { bound: Mutex::new(None) }), deadline: ASK_DEADLINE }
    }

    /// The same reference with another deadline for [`ActorRef::ask`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Where the actor lives, while it is there.
    pub fn path(&self) -> Option<ActorPath> {
        lock(&self.slot.bound).as_ref().map(|bound| bound.node.path().clone())
    }

    /// Sends and doesn't wait. Accepted means queued, no more.
    ///
    /// # Errors
    /// The message comes back if it wasn't accepted.
    pub fn tell<M>(&self, message: M) -> Result<(), TellError<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let bound = lock(&self.slot.bound);
        let Some(Bound { addr, node }) = bound.as_ref() else {
            drop(bound);
            return Err(TellError::Unavailable { to: self.label(), message });
        };
        let to = || node.path().to_string();
        match node.admit() {
            Ok(ticket) => {
                put_postage(ticket, node.figures_now());
                let sent = addr.try_send(message);
                take_postage();
                let back = |gone: SendError<M>| gone.into_inner();
                sent.map_err(|gone| TellError::Unavailable { to: to(), message: back(gone) })
            }
            Err(Refusal::Full { capacity }) => {
                Err(TellError::Overloaded { to: to(), capacity, message })
            }
            Err(Refusal::Closed) => Err(TellError::Unavailable { to: to(), message }),
        }
    }

    /// Sends and waits for the answer, for as long as the reference's deadline.
    ///
    /// The message is queued by the call itself; what is returned only waits for the answer, and may
    /// be dropped to give it up. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// No answer; see [`AskError`] for what that means for the message.
    pub fn ask<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Result, AskError>> + Send + 'static + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_within(message, self.deadline)
    }

    /// Like [`ActorRef::ask`], with its own deadline.
    ///
    /// # Errors
    /// No answer; see [`AskError`] for what that means for the message.
    pub fn ask_within<M>(
        &self,
        message: M,
        deadline: Duration,
    ) -> impl Future<Output = Result<M::Result, AskError>> + Send + 'static + use<A, M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let bound = lock(&self.slot.bound);
        let Some(Bound { addr, node }) = bound.as_ref() else {
            drop(bound);
            return Ask::refused(AskError::Unavailable { to: self.label() });
        };
        let to = || node.path().to_string();
        match node.admit() {
            Ok(_) if !addr.connected() => Ask::refused(AskError::Unavailable { to: to() }),
            Ok(ticket) => {
                put_postage(ticket, node.figures_now());
                let ask = Ask::Sent {
                    #[expect(clippy::disallowed_methods, reason = "the gate has been passed")]
                    request: addr.send(message),
                    sleep: None,
                    until: Instant::now() + deadline,
                    after: deadline,
                    to: node.path().clone(),
                };
                take_postage();
                ask
            }
            Err(Refusal::Full { capacity }) => {
                Ask::refused(AskError::Overloaded { to: to(), capacity })
            }
            Err(Refusal::Closed) => Ask::refused(AskError::Unavailable { to: to() }),
        }
    }

    /// The part of the actor that handles one message, without the actor's type.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Recipient { deliver: Arc::new(Typed(self.clone(), PhantomData)), deadline: self.deadline }
    }

    fn label(&self) -> String {
        let path = self.path().map(|path| path.to_string());
        path.unwrap_or_else(|| short_type_name(std::any::type_name::<A>()))
    }

    /// The actor is there. Refused while another one is: one reference, one actor.
    pub(crate) fn bind(&self, addr: Addr<A>, node: Arc<Node>) -> Result<(), ActorPath> {
        let mut bound = lock(&self.slot.bound);
        if let Some(taken) = bound.as_ref()
            && !Arc::ptr_eq(&taken.node, &node)
            && taken.node.is_alive()
        {
            return Err(taken.node.path().clone());
        }
        // One that is parked has lost its place, and will find out.
        let gone = bound.replace(Bound { addr, node });
        drop(bound);
        drop(gone);
        Ok(())
    }

    pub(crate) fn is_bound_to(&self, node: &Arc<Node>) -> bool {
        lock(&self.slot.bound).as_ref().is_some_and(|bound| Arc::ptr_eq(&bound.node, node))
    }

    /// The actor's mailbox is gone. Only the node that bound the slot can empty it.
    pub(crate) fn unbind(&self, node: &Arc<Node>) {
        let mut bound = lock(&self.slot.bound);
        if bound.as_ref().is_some_and(|bound| Arc::ptr_eq(&bound.node, node)) {
            // Outside of the lock: dropping an address wakes the mailbox.
            let gone = bound.take();
            drop(bound);
            drop(gone);
        }
    }
}

pin_project! {
    /// A question on its way. It is moved before it is first polled and is large, so that it is made in one piece,
    /// and the timer of its deadline only where the answer isn't there at once.
    #[project = AskNow]
    enum Ask<A: Actor, M: Message>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Send,
        M: 'static,
        M::Result: Send,
    {
        Refused { error: Option<AskError> },
        Sent {
            #[pin]
            request: Request<A, M>,
            #[pin]
            sleep: Option<Sleep>,
            until: Instant,
            after: Duration,
            to: ActorPath,
        },
    }
}

impl<A, M> Ask<A, M>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    #[cold]
    fn refused(error: AskError) -> Self {
        Self::Refused { error: Some(error) }
    }
}

impl<A, M> Future for Ask<A, M>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Output = Result<M::Result, AskError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AskNow::Refused { error } => {
                let error = error.take().expect("nobody polls what has been ready");
                Poll::Ready(Err(error))
            }
            AskNow::Sent { request, mut sleep, until, after, to } => {
                if let Poll::Ready(answer) = request.poll(task) {
                    let gone = |_: MailboxError| AskError::Interrupted { to: to.to_string() };
                    return Poll::Ready(answer.map_err(gone));
                }
                if sleep.is_none() {
                    sleep.set(Some(tokio::time::sleep_until(*until)));
                }
                ready!(sleep.as_pin_mut().expect("just set").poll(task));
                let (to, after_ms) = (to.to_string(), millis(*after));
                Poll::Ready(Err(AskError::Timeout { to, after_ms }))
            }
        }
    }
}

/// What stands behind a [`Recipient`].
pub(crate) trait Deliver<M: Message>: Send + Sync {
    fn tell(&self, message: M) -> Result<(), TellError<M>>;
    fn ask(
        &self,
        message: M,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<M::Result, AskError>>;
}

struct Typed<A: Actor, M>(ActorRef<A>, PhantomData<fn(M)>);

impl<A, M> Deliver<M> for Typed<A, M>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.0.tell(message)
    }

    fn ask(
        &self,
        message: M,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<M::Result, AskError>> {
        Box::pin(self.0.ask_within(message, deadline))
    }
}

/// Whoever handles a message, without saying who: what an actor gets of another one. Like
/// [`ActorRef`] it survives restarts, is cheap to clone and may be used from any thread.
pub struct Recipient<M: Message> {
    deliver: Arc<dyn Deliver<M>>,
    deadline: Duration,
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self { deliver: self.deliver.clone(), deadline: self.deadline }
    }
}

impl<M: Message> Recipient<M> {
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn new(deliver: Arc<dyn Deliver<M>>) -> Self {
        Self { deliver, deadline: ASK_DEADLINE }
    }

    /// Sends and doesn't wait, see [`ActorRef::tell`].
    ///
    /// # Errors
    /// The message comes back if it wasn't accepted.
    pub fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.deliver.tell(message)
    }

    /// Sends and waits for the answer, see [`ActorRef::ask`].
    ///
    /// # Errors
    /// No answer; see [`AskError`] for what that means for the message.
    pub fn ask(&self, message: M) -> BoxFuture<'static, Result<M::Result, AskError>> {
        self.deliver.ask(message, self.deadline)
    }

    /// Sends and waits for the answer until a deadline, see [`ActorRef::ask_within`].
    ///
    /// # Errors
    /// No answer; see [`AskError`] for what that means for the message.
    pub fn ask_within(
        &self,
        message: M,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<M::Result, AskError>> {
        self.deliver.ask(message, deadline)
    }
}
