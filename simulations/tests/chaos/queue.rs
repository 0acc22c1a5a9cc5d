//! A queue through a blow: questions that wait for an actor while it is struck.
//!
//! The actor is stalled first, so that nothing of its queue is at work, then asked. Whoever has kept its
//! queue answers every one of these questions in its next life; whoever has not leaves every asker with an
//! error and shows them as dead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use ipfs_kit_actors::cache::{CacheActor, CacheGet};
use ipfs_kit_actors::cluster_ctl::ClusterCtlActor;
use ipfs_kit_actors::cluster_manager::coordination::{Coordination, ReadBarrier};
use ipfs_kit_actors::cluster_manager::dynamic_role::DynamicRole;
use ipfs_kit_actors::cluster_manager::monitoring::Monitoring;
use ipfs_kit_actors::cluster_manager::state_sync::{ServeFeed, StateSync};
use ipfs_kit_actors::events::ViewMoved;
use ipfs_kit_actors::follow::FollowActor;
use ipfs_kit_actors::index::IndexActor;
use ipfs_kit_actors::ipfs::{IpfsActor, ServeHave};
use ipfs_kit_actors::store::{Collect, StoreActor};
use ipfs_kit_actors::supervision::{ActorPath, AskError, Injection, MailboxView, Tree};
use ipfs_kit_core::follow::Scope;
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

use crate::strike::{failed, tree};

/// Questions in a queue.
const QUESTIONS: usize = 8;
/// How long an actor is stalled unless it is revived first.
const STALL: Duration = Duration::from_secs(300);
/// How long a stall may take to be seen, in virtual milliseconds.
const STALLED_MS: u64 = 1_000;
/// How long the askers wait: longer than any restart.
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = BoxFuture<'static, Result<(), AskError>>;

/// Questions that wait for an actor.
pub struct Queue {
    /// The actor.
    pub path: ActorPath,
    tree: Tree,
    answers: Vec<Answer>,
    before: MailboxView,
}

impl Queue {
    /// Stalls an actor and asks it.
    pub async fn fill(stage: &mut Stage, host: HostId, path: &ActorPath) -> Result<Self, Broken> {
        let tree = tree(&stage.cluster.borrow(), host).map_err(failed)?;
        tree.inject(path, Injection::Stall(STALL)).map_err(|error| failed(error.to_string()))?;
        let stalled = |_: &Cluster| {
            let current = tree.view(path).and_then(|view| view.current);
            let is_stalled = current.is_some_and(|now| now.awaiting && now.message == "wait");
            is_stalled.then_some(()).ok_or_else(|| "it is not stalled".to_owned())
        };
        stage.until(&format!("a stall of {path}"), STALLED_MS, stalled).await?;
        let before = mailbox(&tree, path)?;
        let asked: Option<Vec<Answer>> = (0..QUESTIONS).map(|_| question(&tree, path)).collect();
        let answers = asked.ok_or_else(|| {
            failed(format!("nobody knows what to ask {path}: give it a line in `question`"))
        })?;
        let waiting = mailbox(&tree, path)?.depth;
        if waiting != before.depth + QUESTIONS {
            let detail = format!("{path} has {waiting} messages, and had {}", before.depth);
            return Err(failed(detail));
        }
        Ok(Self { path: path.clone(), tree, answers, before })
    }

    /// Every question is answered, and nothing of the queue was lost.
    pub async fn kept(mut self, stage: &mut Stage) -> Result<(), Broken> {
        let answers = self.answers(stage).await?;
        let now = mailbox(&self.tree, &self.path)?;
        let handled = now.handled - self.before.handled;
        let is_kept = answers.iter().all(Result::is_ok)
            && handled >= QUESTIONS as u64
            && now.dead == self.before.dead;
        if is_kept { Ok(()) } else { Err(self.broken("was not kept", &answers, &now)) }
    }

    /// Every asker hears that the actor is gone, and every question is shown as dead.
    pub async fn lost(mut self, stage: &mut Stage) -> Result<(), Broken> {
        let answers = self.answers(stage).await?;
        let now = mailbox(&self.tree, &self.path)?;
        let is_told =
            |answer: &Result<(), AskError>| matches!(answer, Err(AskError::Interrupted { .. }));
        let is_lost =
            answers.iter().all(is_told) && now.dead >= self.before.dead + QUESTIONS as u64;
        if is_lost { Ok(()) } else { Err(self.broken("was not lost openly", &answers, &now)) }
    }

    async fn answers(&mut self, stage: &mut Stage) -> Result<Vec<Result<(), AskError>>, Broken> {
        stage.during(join_all(self.answers.drain(..))).await
    }

    fn broken(&self, how: &str, answers: &[Result<(), AskError>], now: &MailboxView) -> Broken {
        let (path, before) = (&self.path, &self.before);
        failed(format!("the queue of {path} {how}: {answers:?}, {before:?}, then {now:?}"))
    }
}

fn mailbox(tree: &Tree, path: &ActorPath) -> Result<MailboxView, Broken> {
    let mailbox = tree.view(path).and_then(|view| view.mailbox);
    mailbox.ok_or_else(|| failed(format!("{path} has no mailbox")))
}

/// A question that changes nothing, for every actor that there is; it is queued by the call.
fn question(tree: &Tree, path: &ActorPath) -> Option<Answer> {
    /// Asks an actor of this type, if it is the one.
    macro_rules! ask {
        ($actor:ty, $message:expr) => {{
            let answer = tree.actor::<$actor>(path)?.ask_within($message, PATIENCE);
            Some(answer.map(|answer| answer.map(drop)).boxed())
        }};
    }
    let nothing_moved = || ViewMoved { index: 0, changes: Some(Arc::default()) };
    match path.name() {
        "store" => ask!(StoreActor, Collect),
        "ipfs" => ask!(IpfsActor, ServeHave { cids: Vec::new() }),
        "coordination" => ask!(Coordination, ReadBarrier { within: Duration::from_secs(1) }),
        "state-sync" => {
            ask!(StateSync, ServeFeed { from: 0, epoch: 0, scope: Scope::MembersOnly, wait_ms: 0 })
        }
        "monitoring" => ask!(Monitoring, nothing_moved()),
        "dynamic-role" => ask!(DynamicRole, nothing_moved()),
        "cluster-ctl" => ask!(ClusterCtlActor, nothing_moved()),
        "follow" => ask!(FollowActor, nothing_moved()),
        "index" => ask!(IndexActor, nothing_moved()),
        "cache" => ask!(CacheActor, CacheGet { cids: Vec::new() }),
        _ => None,
    }
}
