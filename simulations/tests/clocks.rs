//! Machines whose clocks are an hour apart, in either direction.

use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, client, peace, story};
use ipfs_kit_simulations::world::HostId;
use ipfs_kit_simulations::world::net::Outage;

/// One hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// How long an election may take, in virtual milliseconds.
const ELECT_MS: u64 = 20_000;

/// Every master leads once, whatever its clock says; what has no end is kept by all of them.
#[test]
fn clocks_an_hour_apart_cost_no_pin() {
    play_scene(13, async |stage| {
        story::gather(stage).await?;
        for number in 0..=LEECHER.0 {
            let offset_ms = [HOUR_MS, -HOUR_MS, 0][number % 3];
            stage.cluster.borrow().world.host(HostId(number)).clock.set_offset_ms(offset_ms);
        }
        let mut trees = vec![story::add(stage, HostId(0), 0).await?];
        for number in 1..=3 {
            let leader = stage.cluster.borrow().leader().map(|(host, _)| host);
            let leader = leader.expect("a cluster at rest has a leader");
            stage.cluster.borrow_mut().crash(leader, Outage::Process);
            let next = stage
                .until("another leader", ELECT_MS, |cluster| {
                    cluster.leader().map(|(host, _)| host).ok_or("nobody leads".into())
                })
                .await?;
            trees.push(story::add(stage, next, number).await?);
            stage.cluster.borrow_mut().start(leader);
            stage.until("rest after the loss", peace::REST_MS, at_rest).await?;
        }
        for tree in &trees {
            client::read_back(stage, LEECHER, tree).await?;
        }
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}
