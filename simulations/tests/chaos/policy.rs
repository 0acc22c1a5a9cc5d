//! What a supervisor's policy says of a blow: who restarts with whom, and when it is too much.

use ipfs_kit_actors::supervision::{ActorPath, Injection, NodeView, Snapshot, State, Strategy};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

use crate::strike::{failed, tree};

/// How long a node may bear the loss of one child again and again, in virtual milliseconds: the window of the
/// root, and its children's deadlines to stop.
const WEAR_MS: u64 = 90_000;

/// A node and everything below it, each before those below it.
pub fn family(node: &NodeView) -> Vec<&NodeView> {
    let below = node.children.iter().flat_map(family);
    std::iter::once(node).chain(below).collect()
}

/// Those that its supervisor restarts together with a child, in the order of starting; the child itself
/// among them.
pub fn range<'a>(snapshot: &'a Snapshot, path: &ActorPath) -> Result<Vec<&'a NodeView>, String> {
    let parent = parent(snapshot, path)?;
    let of_child = parent.children.iter().position(|child| child.path == *path);
    let at = of_child.ok_or_else(|| format!("{path} is not there"))?;
    Ok(match parent.strategy {
        Some(Strategy::OneForOne) => vec![&parent.children[at]],
        Some(Strategy::RestForOne) => parent.children[at..].iter().collect(),
        Some(Strategy::OneForAll) => parent.children.iter().collect(),
        None => return Err(format!("{} has a child and no strategy", parent.path)),
    })
}

/// A child's supervisor.
pub fn parent<'a>(snapshot: &'a Snapshot, path: &ActorPath) -> Result<&'a NodeView, String> {
    let parent = path.parent().and_then(|parent| snapshot.find(&parent));
    parent.ok_or_else(|| format!("{path} has no supervisor"))
}

/// Whether a child can be hit without its supervisor giving up: everything runs, and the window has room.
pub fn bears_a_blow(snapshot: &Snapshot, path: &ActorPath) -> Result<(), String> {
    if let Some(node) = snapshot.nodes().into_iter().find(|node| node.state != State::Running) {
        return Err(format!("{} is {}", node.path, node.state.as_str()));
    }
    let parent = parent(snapshot, path)?;
    match (parent.restarts_in_window, parent.restarts_limit) {
        (Some(count), Some(limit)) if count < limit => Ok(()),
        window => Err(format!("the window of {} is {window:?}", parent.path)),
    }
}

/// Kills a child whenever it and its group run, until the node has ended; answers with the tree as the
/// node left it.
pub async fn wear_out(
    stage: &mut Stage,
    host: HostId,
    path: &ActorPath,
) -> Result<Snapshot, Broken> {
    let tree = tree(&stage.cluster.borrow(), host).map_err(failed)?;
    let group = path.parent().ok_or_else(|| failed(format!("{path} is a root")))?;
    let until_ms = stage.now_ms() + WEAR_MS;
    while stage.cluster.borrow().ended().is_empty() {
        if stage.now_ms() > until_ms {
            return Err(failed(format!("a node bore the loss of {path} for {WEAR_MS} ms")));
        }
        let now = tree.snapshot();
        let runs = |path| now.find(path).is_some_and(|node| node.state == State::Running);
        if runs(path) && runs(&group) {
            tree.inject(path, Injection::Kill).map_err(|error| failed(error.to_string()))?;
        }
        stage.step().await?;
    }
    Ok(tree.snapshot())
}
