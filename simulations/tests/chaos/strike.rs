//! One blow: a child is broken, and everything that was promised of it is looked at.

use std::collections::BTreeMap;

use ipfs_kit_actors::supervision::{
    ActorPath, Exit, Injection, Kind, NodeView, Snapshot, State, Tree,
};
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

use crate::Subject;
use crate::policy::{self, family};
use crate::queue::Queue;

/// How long until a node bears another blow, in virtual milliseconds: the longest window, and a back-off.
const CALM_MS: u64 = 75_000;
/// How long a child may take to be back, in virtual milliseconds: the longest back-off with its jitter, its
/// siblings' deadlines to stop, and the starts.
const BACK_MS: u64 = 30_000;

/// A promise that was broken.
pub fn failed(detail: String) -> Broken {
    Broken::new("CHAOS-1", detail)
}

/// The live tree of a machine's node.
pub fn tree(cluster: &Cluster, host: HostId) -> Result<Tree, String> {
    let handle = cluster.machine(host).handle();
    Ok(handle.ok_or_else(|| format!("{host} does not run"))?.tree().clone())
}

/// What it shows now.
pub fn snapshot(cluster: &Cluster, host: HostId) -> Result<Snapshot, String> {
    Ok(tree(cluster, host)?.snapshot())
}

/// Breaks a child of whoever is the subject, as soon as its supervisor bears it, and waits until it is back
/// as its policy says; answers with the machine that was hit.
pub async fn strike(
    stage: &mut Stage,
    subject: Subject,
    path: &ActorPath,
    injection: Injection,
) -> Result<HostId, Broken> {
    let calm = |cluster: &Cluster| {
        let host = subject.host(cluster)?;
        policy::bears_a_blow(&snapshot(cluster, host)?, path).map(|()| host)
    };
    let host = stage.until(&format!("calm before {path}"), CALM_MS, calm).await?;
    stage.tell(&format!("{injection:?} of {host}{path}"));
    let queues = fill_queues(stage, host, path).await?;
    let before = everything(&stage.cluster.borrow());
    let blow = Blow { host, path: path.clone(), injection, before };
    let tree = tree(&stage.cluster.borrow(), host).map_err(failed)?;
    tree.inject(path, injection).map_err(|error| failed(error.to_string()))?;
    let what = format!("{injection:?} of {host}{path}");
    let back = stage.until(&what, BACK_MS, |cluster| blow.look(cluster)).await?;
    back.map_err(|detail| failed(format!("{what}: {detail}")))?;
    for queue in queues {
        let is_killed = injection == Injection::Kill && queue.path == *path;
        let kept = if is_killed { queue.lost(stage).await } else { queue.kept(stage).await };
        kept?;
    }
    Ok(host)
}

/// Gives something to do to every actor that has its queue in the range of a blow: the one that is hit, and
/// the siblings that restart with it. What is below a supervisor in the range is made anew with it.
async fn fill_queues(
    stage: &mut Stage,
    host: HostId,
    path: &ActorPath,
) -> Result<Vec<Queue>, Broken> {
    let now = snapshot(&stage.cluster.borrow(), host).map_err(failed)?;
    let range = policy::range(&now, path).map_err(failed)?;
    let mut queues = Vec::new();
    for actor in range.into_iter().filter(|node| node.kind == Kind::Actor) {
        queues.push(Queue::fill(stage, host, &actor.path).await?);
    }
    Ok(queues)
}

/// What every node of the cluster shows.
fn everything(cluster: &Cluster) -> BTreeMap<HostId, Snapshot> {
    let running = cluster.running().into_iter();
    running.map(|(host, handle)| (host, handle.tree().snapshot())).collect()
}

/// What was done, and how it was before.
struct Blow {
    host: HostId,
    path: ActorPath,
    injection: Injection,
    before: BTreeMap<HostId, Snapshot>,
}

impl Blow {
    /// What is still missing is the outer error; the inner one is what can't be made good any more.
    fn look(&self, cluster: &Cluster) -> Result<Result<(), String>, String> {
        let now = everything(cluster);
        let mut missing = Ok(());
        for (host, before) in &self.before {
            let Some(now) = now.get(host) else { return Ok(Err(format!("{host} is down"))) };
            let was: Vec<&ActorPath> = before.nodes().iter().map(|node| &node.path).collect();
            let is: Vec<&ActorPath> = now.nodes().iter().map(|node| &node.path).collect();
            if was != is {
                missing = Err(format!("{host} has {is:?}, and had {was:?}"));
                continue;
            }
            let range = if *host == self.host { self.range(before)? } else { Vec::new() };
            for (was, is) in before.nodes().into_iter().zip(now.nodes()) {
                let node = format!("{host}{}", is.path);
                match (range.contains(&&is.path), is.incarnation - was.incarnation) {
                    (false, 0) => {
                        if is.state != was.state || is.since_ms != was.since_ms {
                            return Ok(Err(format!("{node} is outside the range, and {is:?}")));
                        }
                    }
                    (true, 1) if is.state == State::Running => {}
                    (true, 0 | 1) => missing = Err(format!("{node} is {}", is.state.as_str())),
                    (in_range, lives) => {
                        let detail = format!("{node}: {lives} new lives, in range: {in_range}");
                        return Ok(Err(detail));
                    }
                }
            }
        }
        missing?;
        Ok(self.is_shown(&self.before[&self.host], &now[&self.host]))
    }

    /// Everybody who restarts, those below supervisors included.
    fn range<'a>(&self, before: &'a Snapshot) -> Result<Vec<&'a ActorPath>, String> {
        let range = policy::range(before, &self.path)?;
        Ok(range.into_iter().flat_map(family).map(|node| &node.path).collect())
    }

    /// Whether the tree says what happened.
    fn is_shown(&self, before: &Snapshot, now: &Snapshot) -> Result<(), String> {
        let there = |tree: &Snapshot| tree.find(&self.path).cloned().ok_or("it is gone");
        let (was, is): (NodeView, NodeView) = (there(before)?, there(now)?);
        if is.restarts != was.restarts + 1 {
            return Err(format!("{} restarts are shown, {} before", is.restarts, was.restarts));
        }
        let last = is.last_exit.ok_or("no exit is shown")?;
        let is_this = match (&last.exit, self.injection) {
            (Exit::Panicked(cause), Injection::Panic) => cause.text == "injected panic",
            (exit, Injection::Kill) => *exit == Exit::Killed,
            _ => false,
        };
        if !is_this || last.at_ms < before.taken_at_ms {
            return Err(format!("its last exit is shown as {last:?}"));
        }
        let parent = policy::parent(now, &self.path)?;
        if parent.restarts_in_window.is_none_or(|count| count == 0) {
            return Err(format!("{} counts no restart", parent.path));
        }
        Ok(())
    }
}
