//! Verbs of test builds: break a child from outside, by its path.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipfs_kit_core::restart::Exit;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::Body;
use super::node::{Node, lock};
use super::panics::guard;
use super::path::ActorPath;
use super::tree::Tree;

/// Injections that may wait for one child; more are refused.
const INJECTIONS_MAX: usize = 64;

/// What can be done to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// It panics: an actor is revived in place and keeps its queue.
    Panic,
    /// It is dropped without a word: an actor is re-created, its queue is lost.
    Kill,
    /// It does nothing for a while: an actor's messages wait, a task isn't polled.
    Stall(Duration),
    /// Its mailbox is full for a while.
    Overflow(Duration),
}

/// Nobody is running at the path, or too many injections wait there. Nothing has happened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("nothing can be injected at {path}")]
pub struct NoSuchChild {
    /// The path.
    pub path: ActorPath,
}

#[derive(Default)]
pub(crate) struct Injections {
    waiting: Mutex<VecDeque<Injection>>,
    arrived: Notify,
    rebuilt: AtomicBool,
    full_until: Mutex<Option<Instant>>,
}

impl Injections {
    async fn next(&self) -> Injection {
        loop {
            if let Some(injection) = lock(&self.waiting).pop_front() {
                return injection;
            }
            // A permit is kept if one arrives in between.
            self.arrived.notified().await;
        }
    }

    /// Whether the mailbox pretends to be full.
    pub(crate) fn is_overflowing(&self) -> bool {
        lock(&self.full_until).is_some_and(|until| Instant::now() < until)
    }

    /// Whether the last revival rebuilt the state.
    pub(crate) fn set_rebuilt(&self, rebuilt: bool) {
        self.rebuilt.store(rebuilt, Ordering::SeqCst);
    }

    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn is_rebuilt(&self) -> bool {
        self.rebuilt.load(Ordering::SeqCst)
    }
}

impl Tree {
    /// Does something bad to a running child, as soon as it yields.
    ///
    /// # Errors
    /// There is none.
    pub fn inject(&self, path: &ActorPath, injection: Injection) -> Result<(), NoSuchChild> {
        let none = || NoSuchChild { path: path.clone() };
        let node = self.hub().node(path).filter(|node| node.is_alive()).ok_or_else(none)?;
        let mut waiting = lock(&node.injections.waiting);
        if waiting.len() >= INJECTIONS_MAX {
            return Err(none());
        }
        waiting.push_back(injection);
        node.injections.arrived.notify_one();
        Ok(())
    }
}

pub(crate) async fn injected(node: &Arc<Node>) -> Injection {
    node.injections.next().await
}

/// Carries out an injection; answers with the exit that it caused.
pub(crate) fn inject(injection: Injection, node: &Arc<Node>, body: &mut dyn Body) -> Option<Exit> {
    match injection {
        Injection::Panic => return Some(panic_in(node)),
        Injection::Kill => return Some(Exit::Killed),
        Injection::Stall(duration) => body.inject_stall(duration),
        Injection::Overflow(duration) => {
            *lock(&node.injections.full_until) = Some(Instant::now() + duration);
        }
    }
    None
}

fn panic_in(node: &Arc<Node>) -> Exit {
    match guard(node, || panic!("injected panic")) {
        Err(cause) => Exit::Panicked(cause),
        Ok(()) => Exit::Killed,
    }
}
