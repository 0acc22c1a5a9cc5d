//! Raft where the pieces meet: what neither the core nor the log shows alone.

use std::time::Duration;

use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{NodeRequest, NodeRm, TokenCreate, TokenCreateRequest};
use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::cluster::node::Handle;
use ipfs_kit_simulations::faults::{Cut, Fault};
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, client, peace, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

/// How long a node may take to notice and stop in order, in virtual milliseconds.
const END_MS: u64 = 20_000;
/// Longer than an election, in virtual milliseconds.
const A_WHILE_MS: u64 = 10_000;
/// How long the others may take to hear of a commit: 5 ms, and the way of a message there.
const TOLD_MS: u64 = 5 + 10;
/// Commits that are waited for, so that each phase of a tick is met.
const COMMITS: usize = 12;

fn leader(stage: &Stage) -> (HostId, Handle) {
    stage.cluster.borrow().leader().expect("somebody leads")
}

fn term(stage: &Stage) -> u64 {
    leader(stage).1.raft().expect("it leads").term
}

/// Lets a leader commit an entry that nothing follows.
async fn commit(stage: &mut Stage, handle: &Handle) -> Result<(), Broken> {
    let request = TokenCreateRequest { role: Role::Leecher, expires_in_ms: None };
    stage.during(handle.operate::<TokenCreate>(request)).await?.expect("the leader may");
    Ok(())
}

#[test]
fn pitfall_7_a_master_whose_log_can_not_be_synced_ends_and_the_others_go_on() {
    play_scene(17, async |stage| {
        story::gather(stage).await?;
        let before = story::add(stage, HostId(0), 0).await?;
        stage.until("rest before", peace::REST_MS, at_rest).await?;
        let (broken, handle) = leader(stage);
        let disk = stage.cluster.borrow().world.host(broken).disk.sim().clone();
        disk.fail_sync_after(0);
        let request = TokenCreateRequest { role: Role::Leecher, expires_in_ms: None };
        let run = stage.cluster.borrow().machine(broken).runs();
        let asked = tokio::task::spawn_local(async move {
            handle.operate::<TokenCreate>(request).await.is_ok()
        });
        stage
            .until("the end of the node", END_MS, |cluster| match cluster.ended() {
                [(host, why)] if *host == broken && why.contains("raft/log") => Ok(()),
                ended => Err(format!("{ended:?}")),
            })
            .await?;
        assert!(!asked.await.unwrap_or(false), "it acknowledged what it could not keep");
        stage.until("rest after", peace::REST_MS, at_rest).await?;
        assert_eq!(stage.cluster.borrow().machine(broken).runs(), run + 1, "its disk works again");
        client::read_back(stage, LEECHER, &before).await?;
        Ok(())
    });
}

#[test]
fn pitfall_13_a_removed_master_that_runs_on_disturbs_nobody() {
    play_scene(18, async |stage| {
        story::gather(stage).await?;
        stage.until("rest before", peace::REST_MS, at_rest).await?;
        let (at, handle) = leader(stage);
        let victim = (0..3).map(HostId).find(|host| *host != at).expect("there are three");
        let node = stage.cluster.borrow().machine(victim).node().expect("it has joined");
        let before = term(stage);
        stage.apply(&Fault::Partition { side: vec![victim], cut: Cut::Both });
        let request = NodeRequest { node: node.to_string() };
        stage.during(handle.operate::<NodeRm>(request)).await?.expect("two are a majority");
        // It has learnt of nothing, and campaigns; then a master tells it.
        stage.pass(A_WHILE_MS).await?;
        stage.apply(&Fault::Heal);
        stage
            .until("the end of the removed master", END_MS, |cluster| match cluster.ended() {
                [(host, why), ..] if *host == victim && why.contains("removed") => Ok(()),
                ended => Err(format!("{ended:?}")),
            })
            .await?;
        stage.pass(A_WHILE_MS).await?;
        assert_eq!((leader(stage).0, term(stage)), (at, before));
        assert!(!knows(&stage.cluster.borrow(), node));
        Ok(())
    });
}

fn knows(cluster: &Cluster, node: NodeId) -> bool {
    let (_, handle) = cluster.leader().expect("somebody leads");
    handle.state(|state| state.members().contains_key(&node)).expect("it is a master")
}

#[test]
fn what_is_committed_is_told_within_milliseconds_when_no_entry_follows() {
    play_scene(19, async |stage| {
        story::gather(stage).await?;
        stage.until("rest before", peace::REST_MS, at_rest).await?;
        for _ in 0..COMMITS {
            let (_, handle) = leader(stage);
            commit(stage, &handle).await?;
            let committed = handle.raft().expect("it leads").commit;
            let begun_ms = stage.now_ms();
            while !others_applied(&stage.cluster.borrow(), committed) {
                let waited_ms = stage.now_ms() - begun_ms;
                assert!(waited_ms < TOLD_MS, "{committed} is not told after {waited_ms} ms");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stage.pass(200).await?;
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        Ok(())
    });
}

fn others_applied(cluster: &Cluster, index: u64) -> bool {
    let running = cluster.running().into_iter();
    running.filter_map(|(_, handle)| handle.raft()).all(|raft| raft.applied >= index)
}
