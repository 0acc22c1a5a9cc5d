//! Supervision in the sense of Erlang/OTP for actors, futures and groups of both.
//!
//! The problem: an actor that panics must not stay silent, must come back with fresh state and
//! without losing what is queued for it, must not come back for ever, and whoever depends on it must
//! come back with it. actix alone offers none of these: a panic ends one task and nobody is told.
//!
//! How it is solved:
//! - an actor runs in our own context ([`Ctx`]) under a guarded runner that catches panics and revives
//!   it in place; address and queue survive, the message in flight is lost;
//! - what to do after an exit is decided by a pure ledger (`ipfs_kit_core::restart`);
//! - a supervisor is a loop that carries out the ledger's wishes. A nested one is a child like any
//!   other, so that escalation is nothing but an abnormal exit;
//! - others hold an [`ActorRef`]: `ask` and `tell` through a capacity gate that really holds.
//!
//! Contract of delivery: at most once, in order per sender. The message in flight is lost in a panic;
//! the queue is kept by an actor that is revived in place, and becomes dead letters when the actor
//! is re-created (it was killed, or its spec says so) or stops for good. Anything that must happen is
//! derived again from state by a reconcile tick, never from the hope that a message arrived.
//!
//! Everything runs on one thread, in a tokio `LocalSet`; no actix `System` is needed, and a paused
//! clock works. References, the tree and its snapshots may be used from any thread.

mod actor_ref;
mod bell;
mod body;
#[cfg(any(test, feature = "chaos"))]
mod chaos;
mod context;
mod dead_letters;
mod envelope;
mod fault;
mod latency;
mod node;
mod panics;
mod path;
mod runner;
mod signal;
mod spec;
mod supervisor;
mod tree;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;

pub use actor_ref::{ActorRef, AskError, Recipient, TellError};
pub use body::SupervisedActor;
#[cfg(any(test, feature = "chaos"))]
pub use chaos::{Injection, NoSuchChild};
pub use context::Ctx;
pub use dead_letters::{DeadLetter, DeadReason};
pub use fault::Fault;
pub(crate) use panics::as_caller;
pub use path::{ActorPath, NAME_LEN_BYTES_MAX, PathError};
pub use spec::{ChildSpec, Revival, SpecError, SupervisorSpec, TaskCtx};
pub use supervisor::{DynamicError, Root, SupervisorRef, launch};
pub use tree::{
    Change, CurrentMessage, Health, Kind, LastExit, LatencyView, Lifecycle, MailboxView, NodeView,
    Snapshot, State, Tree, Watch, WatchEvent,
};

pub use crate::supervised;
pub use ipfs_kit_core::restart::{
    BackOff, Cause, Exit, Importance, Intensity, RestartPolicy, Strategy,
};

/// Implements `Supervised` for actors: on revival the state is rebuilt by the factory of the spec.
#[macro_export]
macro_rules! supervised {
    ($($actor:ty),+ $(,)?) => {$(
        impl ::actix::Supervised for $actor {
            fn restarting(&mut self, ctx: &mut <Self as ::actix::Actor>::Context) {
                *self = ctx.fresh();
            }
        }
    )+};
}
