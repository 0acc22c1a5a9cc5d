//! A master whose disk is full stands still, is no leader any more, and goes on when there is room.

use std::sync::Arc;

use ipfs_kit_actors::api::{self, Node};
use ipfs_kit_core::health::ReasonCode;
use ipfs_kit_core::ops::{Health, Nothing};
use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, client, peace, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;
use ipfs_kit_store::disk::Full;

/// How long an election may take, in virtual milliseconds.
const ELECT_MS: u64 = 20_000;

async fn reasons(stage: &mut Stage, host: HostId) -> Result<Vec<ReasonCode>, Broken> {
    let judge = |node: Arc<dyn Node>| async move { api::run::<Health>(&*node, Nothing {}).await };
    let cluster = stage.cluster.clone();
    let health = stage.during(client::ask(&cluster, host, "its health", judge)).await?;
    let reasons = health.expect("a node always says how it is").reasons;
    Ok(reasons.into_iter().map(|reason| reason.code).collect())
}

#[test]
fn a_leader_whose_disk_is_full_is_replaced_and_comes_back() {
    play_scene(14, async |stage| {
        story::gather(stage).await?;
        story::add(stage, HostId(0), 0).await?;
        stage.until("rest before", peace::REST_MS, at_rest).await?;
        let (full, _) = stage.cluster.borrow().leader().expect("a cluster at rest has a leader");
        let disk = stage.cluster.borrow().world.host(full).disk.sim().clone();
        disk.fill_after(0, Full::Everything);
        // What is added is what the leader's log has no room for.
        let other = if full == HostId(1) { HostId(2) } else { HostId(1) };
        let tree = story::add(stage, other, 1).await?;
        stage
            .until("another leader", ELECT_MS, |cluster| match cluster.leader() {
                Some((host, _)) if host != full => Ok(()),
                other => Err(format!("{:?} leads", other.map(|(host, _)| host))),
            })
            .await?;
        assert!(reasons(stage, full).await?.contains(&ReasonCode::RaftStalled));
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        disk.make_room();
        stage.until("rest after", peace::REST_MS, at_rest).await?;
        assert_eq!(reasons(stage, full).await?, []);
        client::read_back(stage, LEECHER, &tree).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}
