//! Every child of every role's tree is broken on purpose, in a whole cluster in virtual time.
//!
//! What is promised: a child that panics or is killed is back under its supervisor's policy; whoever is
//! outside the strategy's range keeps its incarnation; an actor that is revived in place keeps its
//! queue, one that was killed does not; the tree shows all of it; and a child that never stops failing
//! ends its node. What is broken is read from the live tree, so that a new child is covered at once.

mod policy;
mod queue;
mod strike;
mod works;

use ipfs_kit_actors::supervision::{ActorPath, Injection, NodeView, State};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{NodeRole, NodeRoleRequest};
use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{self, LEECHER, client, peace, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

/// The worker that is broken; its place in [`scenarios::MEMBERS`].
const WORKER: HostId = HostId(3);
/// Another one.
const OTHER_WORKER: HostId = HostId(4);

/// Whose tree is broken.
#[derive(Clone, Copy, Debug)]
enum Subject {
    /// The master that leads at the moment of each blow.
    Leader,
    /// A master that does not.
    Follower,
    /// One of the others.
    Fixed(HostId),
}

impl Subject {
    /// The machine to hit now.
    fn host(self, cluster: &Cluster) -> Result<HostId, String> {
        let (leader, _) = cluster.leader().ok_or("nobody leads")?;
        match self {
            Self::Leader => Ok(leader),
            Self::Follower => {
                let follows =
                    |host: &HostId| *host != leader && cluster.machine(*host).handle().is_some();
                let masters = scenarios::shape().masters;
                masters.into_iter().find(follows).ok_or_else(|| "no other master runs".into())
            }
            Self::Fixed(host) => Ok(host),
        }
    }
}

#[test]
fn every_child_of_the_leading_master_comes_back() {
    play_scene(1, async |stage| break_every_child(stage, Subject::Leader, MASTER).await);
}

#[test]
fn every_child_of_a_following_master_comes_back() {
    play_scene(2, async |stage| break_every_child(stage, Subject::Follower, MASTER).await);
}

#[test]
fn every_child_of_a_worker_comes_back() {
    play_scene(3, async |stage| break_every_child(stage, Subject::Fixed(WORKER), WORKERS).await);
}

#[test]
fn every_child_of_the_leecher_comes_back() {
    play_scene(4, async |stage| break_every_child(stage, Subject::Fixed(LEECHER), LEECHERS).await);
}

/// What a role's tree must have at least: a tree that misses a branch would pass by not being tested.
const MASTER: &[&str] =
    &["consensus/raft", "role/cluster-ctl", "role/follow", "role/index", "role/cache"];
const WORKERS: &[&str] = &["role/follow", "role/index", "role/cache"];
const LEECHERS: &[&str] = &["role/cache"];

/// Whoever changed its role runs another tree than its node began with.
#[test]
fn every_child_of_a_promoted_worker_comes_back() {
    play_scene(6, async |stage| {
        let mut cids = vec![begin(stage).await?];
        // Two, since a number of voters that is even bears no more failures.
        change_role(stage, &[WORKER, OTHER_WORKER], Role::Master).await?;
        let host = blows(stage, Subject::Fixed(WORKER), MASTER, &mut cids).await?;
        finish(stage, host, &cids).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}

#[test]
fn every_child_of_a_demoted_master_comes_back() {
    play_scene(7, async |stage| {
        let mut cids = vec![begin(stage).await?];
        change_role(stage, &[WORKER, OTHER_WORKER], Role::Master).await?;
        // The leader among them: it hands over first.
        let leader = Subject::Leader.host(&stage.cluster.borrow()).map_err(strike::failed)?;
        let masters = scenarios::shape().masters;
        let other = masters.into_iter().find(|host| *host != leader).unwrap();
        change_role(stage, &[leader, other], Role::Worker).await?;
        let subject = Subject::Fixed(leader);
        let has_raft = |stage: &Stage| {
            let paths = children(stage, subject)?;
            Ok::<_, Broken>(paths.iter().any(|path| path.name() == "raft"))
        };
        assert!(!has_raft(stage)?, "a worker has no raft");
        let host = blows(stage, subject, WORKERS, &mut cids).await?;
        assert!(!has_raft(stage)?, "a worker has got a raft");
        finish(stage, host, &cids).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}

#[test]
fn a_child_that_fails_again_and_again_ends_its_node() {
    play_scene(5, async |stage| {
        let cid = begin(stage).await?;
        let path = ActorPath::parse("/node/network/swarm").unwrap();
        let left = policy::wear_out(stage, WORKER, &path).await?;
        let root = &left.roots[0];
        let network = policy::parent(&left, &path).unwrap();
        let (of_root, of_network) = (root.restarts_limit.unwrap(), network.restarts_limit.unwrap());
        // The group bore as many restarts as it may in each of its lives, and so did the root with it.
        assert_eq!(network.incarnation, u64::from(of_root) + 1, "lives of the group");
        let lives = network.incarnation * (u64::from(of_network) + 1);
        assert_eq!(left.find(&path).unwrap().incarnation, lives, "lives of the child");
        assert_eq!(root.state, State::Failed);
        assert!(is_by_intensity(root) && is_by_intensity(network), "{root:?}");
        let ended = stage.cluster.borrow().ended().to_vec();
        assert!(ended[0].0 == WORKER && ended[0].1.contains("intensity"), "{ended:?}");
        // An operator's tool starts it again; nothing was lost.
        finish(stage, WORKER, &[cid]).await?;
        assert_eq!(stage.cluster.borrow().ended().len(), 1, "only this one has ended");
        Ok(())
    });
}

fn is_by_intensity(node: &NodeView) -> bool {
    let cause = node.last_exit.as_ref().and_then(|last| last.exit.cause());
    cause.is_some_and(|cause| cause.kind == "intensity")
}

/// A cluster at rest that holds a tree.
async fn begin(stage: &mut Stage) -> Result<Cid, Broken> {
    story::gather(stage).await?;
    let cid = story::add(stage, HostId(0), 0).await?;
    stage.until("rest before the blows", peace::REST_MS, at_rest).await?;
    Ok(cid)
}

/// The cluster comes to rest, and every byte is there, read by a machine that holds none of it and by the
/// one that was hit.
async fn finish(stage: &mut Stage, hit: HostId, cids: &[Cid]) -> Result<(), Broken> {
    stage.until("rest after the blows", peace::REST_MS, at_rest).await?;
    for cid in cids {
        client::read_back(stage, LEECHER, cid).await?;
        client::read_back(stage, hit, cid).await?;
    }
    stage.until("rest after reading", peace::REST_MS, at_rest).await?;
    Ok(())
}

async fn break_every_child(
    stage: &mut Stage,
    subject: Subject,
    at_least: &[&str],
) -> Result<(), Broken> {
    let mut cids = vec![begin(stage).await?];
    let host = blows(stage, subject, at_least, &mut cids).await?;
    finish(stage, host, &cids).await?;
    assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
    Ok(())
}

/// Hits every child of the subject's tree both ways; after each blow the node that was hit has to work.
/// Answers with the last one that was hit.
async fn blows(
    stage: &mut Stage,
    subject: Subject,
    at_least: &[&str],
    cids: &mut Vec<Cid>,
) -> Result<HostId, Broken> {
    let paths = children(stage, subject)?;
    for wanted in at_least {
        let wanted = format!("/node/{wanted}");
        assert!(paths.iter().any(|path| path.as_str() == wanted), "{wanted} is missing: {paths:?}");
    }
    let mut hit = HostId(0);
    for injection in [Injection::Panic, Injection::Kill] {
        for path in &paths {
            hit = strike::strike(stage, subject, path, injection).await?;
            works::works(stage, hit, &cids[0]).await?;
            cids.push(story::add(stage, hit, cids.len() as u64).await?);
        }
    }
    Ok(hit)
}

/// Gives the nodes of some machines another role.
async fn change_role(stage: &mut Stage, hosts: &[HostId], role: Role) -> Result<(), Broken> {
    for host in hosts {
        let (leader, node) = {
            let cluster = stage.cluster.borrow();
            (cluster.leader(), cluster.machine(*host).node())
        };
        let (_, leader) = leader.ok_or_else(|| strike::failed("nobody leads".into()))?;
        let node = node.ok_or_else(|| strike::failed(format!("{host} is no member")))?;
        let request = NodeRoleRequest { node: node.to_string(), role };
        let asked = stage.during(leader.operate::<NodeRole>(request)).await?;
        asked.map_err(|failure| strike::failed(failure.message))?;
        stage.cluster.borrow_mut().expect_role(*host, role);
    }
    stage.until("rest in the new roles", peace::REST_MS, at_rest).await?;
    Ok(())
}

/// Every child in the subject's live tree, each before those below it. The root is left out: it has nobody
/// above it that could bring it back.
fn children(stage: &Stage, subject: Subject) -> Result<Vec<ActorPath>, Broken> {
    let cluster = stage.cluster.borrow();
    let host = subject.host(&cluster).map_err(|reason| Broken::new("CHAOS-0", reason))?;
    let snapshot = strike::snapshot(&cluster, host).map_err(|r| Broken::new("CHAOS-0", r))?;
    let below_root = snapshot.roots.iter().flat_map(|root| &root.children);
    Ok(below_root.flat_map(policy::family).map(|node| node.path.clone()).collect())
}
