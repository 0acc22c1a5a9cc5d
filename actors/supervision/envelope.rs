//! The envelope of a message: who sent it when, its place in the queue, and what becomes of it.

use std::cell::Cell;

use actix::dev::{Envelope, EnvelopeProxy, MessageResponse, ToEnvelope};
use actix::{Actor, Handler, Message};
use quanta::Instant;
use tokio::sync::oneshot;

use super::context::Ctx;
use super::dead_letters::DeadReason;
use super::node::Ticket;
use super::panics::current_path;
use super::path::ActorPath;

thread_local! {
    /// The place in the queue for the message that is being sent, and when that is. actix packs a message without
    /// context in the middle of its send, so this is handed over beside the arguments.
    static POSTAGE: Cell<Option<(Ticket, Instant)>> = const { Cell::new(None) };
}

/// The next message that this thread sends through actix has this place in the queue.
pub(crate) fn put_postage(ticket: Ticket, now: Instant) {
    POSTAGE.with(|postage| postage.set(Some((ticket, now))));
}

/// The message has been sent: a place that it didn't use is given back.
pub(crate) fn take_postage() {
    drop(POSTAGE.with(Cell::take));
}

struct Parcel<M: Message> {
    message: Option<M>,
    reply: Option<oneshot::Sender<M::Result>>,
    /// Absent if somebody sent through a bare actix address, past the gate.
    ticket: Option<Ticket>,
    from: Option<ActorPath>,
    queued_at: Option<Instant>,
    span: tracing::Span,
}

impl<M: Message> Parcel<M> {
    /// Whether somebody asked and has stopped waiting.
    fn is_expired(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

impl<A, M> EnvelopeProxy<A> for Parcel<M>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut Ctx<A>) {
        ctx.count_handled();
        let expired = self.is_expired();
        // Leave the queue before the handler runs: the depth is of those that wait.
        let node = match self.ticket.take() {
            Some(ticket) => ticket.give_back(),
            None => ctx.node().clone(),
        };
        let Some(message) = self.message.take() else { return };
        if expired {
            node.count_expired();
            return;
        }
        let name = std::any::type_name::<M>();
        let span = tracing::debug_span!(
            parent: &self.span, "handle", actor = %ctx.path(), message = name
        );
        let _entered = span.enter();
        node.begin_message(name, self.queued_at);
        let reply = self.reply.take();
        actor.handle(message, ctx).handle(ctx, reply);
        node.end_message();
    }
}

impl<M: Message> Drop for Parcel<M> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        if self.message.is_none() {
            return;
        }
        let node = ticket.give_back();
        if self.is_expired() {
            node.count_expired();
        } else {
            let from = self.from.take();
            node.dead_letter(from, std::any::type_name::<M>(), DeadReason::Dropped);
        }
    }
}

impl<A, M> ToEnvelope<A, M> for Ctx<A>
where
    A: Actor<Context = Ctx<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        let (ticket, queued_at) = POSTAGE.with(Cell::take).unzip();
        // It is only ever the parent of a span of this level.
        let is_shown = tracing::level_enabled!(tracing::Level::DEBUG);
        let span = if is_shown { tracing::Span::current() } else { tracing::Span::none() };
        Envelope::with_proxy(Box::new(Parcel {
            message: Some(message),
            reply,
            ticket,
            from: current_path(),
            queued_at,
            span,
        }))
    }
}
