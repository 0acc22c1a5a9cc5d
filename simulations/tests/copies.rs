//! Where copies come from: bits that decay on a holder's disk, and content that no pin names a source for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipfs_kit_actors::api::{self, Node};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::ops::{ContentLs, LsRequest, PinAdd, PinAddRequest};
use ipfs_kit_core::pin::ReplicaState;
use ipfs_kit_simulations::checkers::at_rest;
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::content::Content;
use ipfs_kit_simulations::ledger::Ends;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, client, peace, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;
use ipfs_kit_simulations::world::net::Outage;

/// How long a holder may take to be whole again, in virtual milliseconds: a collection finds what is
/// missing, and a fetch brings it.
const HEAL_MS: u64 = 90_000;
/// Bytes of a file by which it is found on the disk.
const NEEDLE_BYTES: usize = 64;

#[test]
fn a_holder_whose_block_decays_fetches_it_again() {
    play_scene(11, async |stage| {
        story::gather(stage).await?;
        let cid = story::add(stage, HostId(0), 0).await?;
        stage.until("rest before the decay", peace::REST_MS, at_rest).await?;
        let holder = holder(&stage.cluster.borrow(), &cid);
        let needle = needle(stage.seed);
        flip(&stage.cluster.borrow(), holder, &needle);
        let blocks = stage.cluster.borrow().machine(holder).handle().unwrap().blocks().clone();
        let whole = blocks.stat().unwrap().blocks;

        client::read_back(stage, holder, &cid).await?;
        assert_eq!(blocks.stat().unwrap().damaged, 1, "the read has met the damage");
        stage
            .until("the holder is whole again", HEAL_MS, |_| {
                let stat = blocks.stat().map_err(|error| error.to_string())?;
                let healed = stat.damaged == 0 && stat.blocks == whole;
                healed.then_some(()).ok_or_else(|| format!("{stat:?}"))
            })
            .await?;
        stage.until("rest after the decay", peace::REST_MS, at_rest).await?;
        client::read_back(stage, LEECHER, &cid).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "no node gave up");
        Ok(())
    });
}

#[test]
fn a_part_of_a_tree_is_pinned_from_whoever_has_it() {
    play_scene(12, async |stage| {
        story::gather(stage).await?;
        let cluster = stage.cluster.clone();
        let mut elsewhere = 0;
        for number in 0..4 {
            let tree = story::add(stage, HostId(0), number).await?;
            stage.until("two copies of the tree", peace::REST_MS, at_rest).await?;
            let having = holders(&cluster.borrow(), &tree);
            for file in files_of(stage, &tree).await? {
                let content = Content::of(stage.seed, number);
                stage.ledger.borrow_mut().ask(&file, content, Ends::Never);
                pin_one_copy(stage, &file).await?;
                stage.until("a copy of the file", peace::REST_MS, at_rest).await?;
                let holders = holders(&cluster.borrow(), &file);
                elsewhere += usize::from(holders.is_disjoint(&having));
            }
        }
        assert!(elsewhere > 0, "with this seed no file goes to a node that does not have it");
        Ok(())
    });
}

#[test]
fn repair_is_as_slow_as_it_is_told_to_be() {
    let unlimited_ms = repair_ms(0);
    // At this rate all trees would take one worker 120 s; some of them were elsewhere, and some come at once.
    let limited_ms = repair_ms(repaired_bytes_max() / 120);
    let held_up_ms = limited_ms.saturating_sub(unlimited_ms);
    assert!((15_000..=120_000).contains(&held_up_ms), "{limited_ms}, not {unlimited_ms} ms");
}

const REPAIR_SEED: u64 = 13;
const REPAIR_TREES: u64 = 24;

/// All trees; what they share is copied once.
fn repaired_bytes_max() -> u64 {
    let files = (0..REPAIR_TREES).flat_map(|number| {
        let content = Content::of(REPAIR_SEED, number);
        let files = content.files().map(|(name, bytes)| (name.to_owned(), bytes.len() as u64));
        files.collect::<Vec<_>>()
    });
    files.collect::<BTreeMap<_, _>>().into_values().sum()
}

/// Virtual time until all copies of a dead holder are replaced.
fn repair_ms(bytes_s: u64) -> u64 {
    let mut took_ms = 0;
    play_scene(REPAIR_SEED, async |stage| {
        stage.cluster.borrow_mut().profile.repair_bytes_s = bytes_s;
        story::gather(stage).await?;
        let mut trees = Vec::new();
        for number in 0..REPAIR_TREES {
            trees.push(story::add(stage, HostId(0), number).await?);
        }
        stage.until("two copies", peace::REST_MS, at_rest).await?;
        let cluster = stage.cluster.clone();
        let dead = holder(&cluster.borrow(), &trees[0]);
        let node = cluster.borrow().machine(dead).node().expect("it is a member");
        cluster.borrow_mut().crash(dead, Outage::Process);
        let killed_ms = stage.now_ms();
        stage
            .until("other holders", 2 * peace::REST_MS, |cluster| {
                let Some(_) = cluster.leader() else { return Err("nobody leads".to_owned()) };
                let live = |tree| holders(cluster, tree).iter().filter(|n| **n != node).count();
                let few = trees.iter().filter(|tree| live(tree) < 2).count();
                if few == 0 { Ok(()) } else { Err(format!("{few} trees have one copy")) }
            })
            .await?;
        took_ms = stage.now_ms() - killed_ms;
        Ok(())
    });
    took_ms
}

async fn files_of(stage: &mut Stage, tree: &Cid) -> Result<Vec<Cid>, Broken> {
    let request = LsRequest { path: tree.to_string(), skip: None, limit: None };
    let list = |node: Arc<dyn Node>| async move { api::run::<ContentLs>(&*node, request).await };
    let cluster = stage.cluster.clone();
    let page = stage.during(client::ask(&cluster, HostId(0), "list a tree", list)).await?;
    Ok(page.expect("the tree is there").items.into_iter().map(|file| file.cid).collect())
}

async fn pin_one_copy(stage: &mut Stage, cid: &Cid) -> Result<(), Broken> {
    let request = PinAddRequest {
        replicas_min: Some(1),
        replicas_max: Some(1),
        ..PinAddRequest::of(cid.clone())
    };
    let pin = |node: Arc<dyn Node>| async move { api::run::<PinAdd>(&*node, request).await };
    let cluster = stage.cluster.clone();
    let pinned = stage.during(client::ask(&cluster, LEECHER, "pin a file", pin)).await?;
    assert_eq!(pinned.map(|pin| pin.cid).as_ref(), Ok(cid));
    Ok(())
}

/// A machine that holds a copy.
fn holder(cluster: &Cluster, cid: &Cid) -> HostId {
    let holders = holders(cluster, cid);
    let holds = |machine: &&ipfs_kit_simulations::cluster::Machine| {
        machine.node().is_some_and(|node| holders.contains(&node))
    };
    cluster.machines().iter().find(holds).expect("somebody holds it").host
}

/// Who has said to hold it.
fn holders(cluster: &Cluster, cid: &Cid) -> BTreeSet<NodeId> {
    let (_, leader) = cluster.leader().expect("a cluster at rest has a leader");
    let holders = leader.state(|state| {
        let replicas = state.pins()[cid].read().replicas;
        let pinned = replicas.iter().filter(|(_, replica)| replica.state == ReplicaState::Pinned);
        pinned.map(|(node, _)| *node).collect()
    });
    holders.expect("a master shows its state")
}

/// The beginning of a file that fits one block.
fn needle(seed: u64) -> Vec<u8> {
    let content = Content::of(seed, 0);
    let fits = |(_, bytes): &(&str, Vec<u8>)| (NEEDLE_BYTES..256 << 10).contains(&bytes.len());
    let (_, bytes) = content.files().find(fits).expect("this seed draws a small file");
    bytes[..NEEDLE_BYTES].to_vec()
}

/// Flips one bit of the block that begins with the needle.
fn flip(cluster: &Cluster, host: HostId, needle: &[u8]) {
    let disk = cluster.world.host(host).disk.sim();
    let (path, offset) = disk
        .dump()
        .into_iter()
        .filter(|(path, _)| path.starts_with("blocks/"))
        .find_map(|(path, bytes)| {
            let at = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((path, at as u64))
        })
        .expect("the file is on the disk of its holder");
    disk.flip_bit(&path, offset + 7, 3).expect("the byte was just found there");
}
