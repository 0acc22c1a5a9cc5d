//! Machines whose clocks are an hour apart, in either direction.

use std::collections::BTreeSet;

use ipfs_kit_actors::api::{Ack, AddOptions};
use ipfs_kit_core::id::Cid;
use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::client::{self, Added};
use ipfs_kit_simulations::scenarios::{LEECHER, peace, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;
use ipfs_kit_simulations::world::net::Outage;

/// One hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// What the machines' clocks are wrong by, one after the other; the masters are the first three.
const OFFSETS_MS: [i64; 3] = [HOUR_MS, -HOUR_MS, 0];
/// How long an election may take, in virtual milliseconds.
const ELECT_MS: u64 = 20_000;
/// Leaders that die, one after the other.
const ROUNDS: u64 = 3;

/// A tree whose pin ends in half an hour.
async fn add_for_a_while(stage: &mut Stage, at: HostId) -> Result<Cid, Broken> {
    let options = AddOptions {
        name: "for a while".into(),
        replicas_min: Some(2),
        replicas_max: Some(2),
        expires_in_ms: Some(HOUR_MS as u64 / 2),
        ack: Ack::Replicated,
        ..AddOptions::default()
    };
    let (cluster, ledger, seed) = (stage.cluster.clone(), stage.ledger.clone(), stage.seed);
    let adding = client::add(&cluster, &ledger, at, seed, ROUNDS + 1, options);
    match stage.during(adding).await? {
        Added::Acknowledged(cid) => Ok(cid),
        Added::Unknown(reason) => Err(Broken::new("CLOCK-1", reason)),
    }
}

async fn next_leader(stage: &mut Stage) -> Result<HostId, Broken> {
    let old = stage.cluster.borrow().leader().map(|(host, _)| host);
    let old = old.expect("a cluster at rest has a leader");
    stage.cluster.borrow_mut().crash(old, Outage::Process);
    let elected = stage.until("another leader", ELECT_MS, |cluster| {
        cluster.leader().map(|(host, _)| host).ok_or("nobody leads".into())
    });
    let elected = elected.await?;
    stage.cluster.borrow_mut().start(old);
    Ok(elected)
}

/// Whoever leads and whatever its clock says: no pin is lost, and none ends before its time.
#[test]
fn clocks_an_hour_apart_cost_no_pin() {
    play_scene(13, async |stage| {
        story::gather(stage).await?;
        let for_a_while = add_for_a_while(stage, HostId(2)).await?;
        for number in 0..=LEECHER.0 {
            let offset_ms = OFFSETS_MS[number % OFFSETS_MS.len()];
            stage.cluster.borrow().world.host(HostId(number)).clock.set_offset_ms(offset_ms);
        }
        let mut trees = Vec::new();
        let mut led = BTreeSet::new();
        for number in 0..ROUNDS {
            let leader = next_leader(stage).await?;
            led.insert(leader);
            trees.push(story::add(stage, leader, number).await?);
            stage.until("rest after the loss", peace::REST_MS, at_rest).await?;
            let (_, leader) = stage.cluster.borrow().leader().expect("it is at rest");
            let is_there = leader.state(|state| state.pins().contains_key(&for_a_while));
            assert_eq!(is_there, Some(true), "round {number}: half an hour is not over");
        }
        let wrong = [HostId(0), HostId(1)].into();
        assert!(led.is_superset(&wrong), "with this seed the wrong clocks do not lead: {led:?}");
        for tree in &trees {
            client::read_back(stage, LEECHER, tree).await?;
        }
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}
