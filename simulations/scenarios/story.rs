//! The story that every seed tells: found, join, add, lose a holder, lose the leader, get them back, read
//! everything.

use std::collections::BTreeSet;

use ipfs_kit_actors::api::{Ack, AddOptions};
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::limits;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{TokenCreate, TokenCreateRequest};
use ipfs_kit_core::proto::Request;
use ipfs_kit_core::token::JoinToken;

use super::client::{self, Added};
use super::{LEECHER, MEMBERS, peace};
use crate::checkers::at_rest;
use crate::cluster::{Cluster, JoinSite, Sabotage, join};
use crate::rng::Rng;
use crate::stage::{Broken, Stage};
use crate::world::HostId;
use crate::world::net::Outage;

/// How long an election or a first start may take, in milliseconds.
const ELECT_MS: u64 = 20_000;
/// How long a new member may take until all know it, in milliseconds.
const JOIN_MS: u64 = 60_000;
/// How long the loss of a holder may take to be repaired: lease, grace and the copy, in milliseconds.
const REPAIR_MS: u64 = 90_000;
/// Trees that are added in fair weather.
const TREES: u64 = 3;

/// Tells it.
pub async fn run(stage: &mut Stage, sabotage: &BTreeSet<Sabotage>) -> Result<(), Broken> {
    let mut rng = Rng::new(stage.seed, "story");
    gather(stage).await?;
    stage.tell("users add");
    let mut trees = Vec::new();
    for number in 0..TREES {
        let at = HostId(rng.within(0..=2) as usize);
        trees.push(add(stage, at, number).await?);
    }
    if sabotage.contains(&Sabotage::Feed) {
        stage.tell("sabotage: the feed is lost");
        stage.cluster.borrow().world.net.lose_requests(is_feed);
    }
    let holder = lose_holder(stage, &trees[0], &mut rng).await?;
    let (old_leader, _) = lose_leader(stage, &mut rng).await?;
    let at = stage.cluster.borrow().leader().map_or(HostId(1), |(host, _)| host);
    trees.push(add(stage, at, TREES).await?);
    stage.tell("the lost ones come back");
    stage.cluster.borrow_mut().start(holder);
    stage.cluster.borrow_mut().start(old_leader);
    stage.until("rest after the story", peace::REST_MS, at_rest).await?;
    stage.tell("the leecher reads");
    for tree in &trees {
        client::read_back(stage, LEECHER, tree).await?;
    }
    Ok(())
}

fn is_feed(request: &[u8]) -> bool {
    let request = codec::open(Kind::Request, request, limits::REQUEST_BYTES_MAX);
    matches!(request, Ok(Request::Feed { .. }))
}

/// Founds the cluster and lets everybody join with a token of their own.
pub async fn gather(stage: &mut Stage) -> Result<(), Broken> {
    stage.tell("the cluster is founded");
    let founded = stage.cluster.borrow_mut().found(HostId(0));
    founded.map_err(|refusal| Broken::new("STORY-1", format!("founding: {refusal}")))?;
    stage.until("the founder leads", ELECT_MS, |c| c.leader().ok_or("nobody leads".into())).await?;
    for (number, (name, role)) in MEMBERS.iter().enumerate().skip(1) {
        let host = HostId(number);
        let token = token(stage, *role).await?;
        let (site, spec) = {
            let cluster = stage.cluster.borrow();
            (JoinSite::of(cluster.world.host(host)), cluster.spec(host))
        };
        let admitted = stage.during(join(&site, &spec, &token)).await?;
        let membership = admitted
            .map_err(|error| Broken::new("STORY-2", format!("{name} could not join: {error}")))?;
        let mut cluster = stage.cluster.borrow_mut();
        cluster.admit(host, membership);
        cluster.start(host);
    }
    stage.until("all have joined", JOIN_MS, at_rest).await?;
    Ok(())
}

async fn token(stage: &mut Stage, role: Role) -> Result<JoinToken, Broken> {
    let handle = stage.cluster.borrow().machine(HostId(0)).handle();
    let handle = handle.ok_or_else(|| Broken::new("STORY-3", "the founder is down".into()))?;
    let request = TokenCreateRequest { role, expires_in_ms: None };
    let created = stage.during(handle.operate::<TokenCreate>(request)).await?;
    let created =
        created.map_err(|f| Broken::new("STORY-3", format!("no token: {}", f.message)))?;
    JoinToken::from_text(&created.token).map_err(|e| Broken::new("STORY-3", e.to_string()))
}

/// Adds a tree with two copies in fair weather, where it must succeed.
pub async fn add(stage: &mut Stage, at: HostId, number: u64) -> Result<Cid, Broken> {
    let options = AddOptions {
        name: format!("tree-{number}"),
        replicas_min: Some(2),
        replicas_max: Some(2),
        ack: Ack::Replicated,
        ..AddOptions::default()
    };
    let (cluster, ledger) = (stage.cluster.clone(), stage.ledger.clone());
    let seed = stage.seed;
    let adding = client::add(&cluster, &ledger, at, seed, number, options);
    match stage.during(adding).await? {
        Added::Acknowledged(cid) => Ok(cid),
        Added::Unknown(reason) => {
            let detail = format!("adding tree {number} through {at}: {reason}");
            Err(Broken::new("STORY-4", detail))
        }
    }
}

/// Live, durable copies of a pin, as the leader has committed it.
fn copies(cluster: &Cluster, cid: &Cid, without: Option<NodeId>) -> Result<Vec<NodeId>, String> {
    let (_, leader) = cluster.leader().ok_or("nobody leads")?;
    let copies = leader.state(|state| {
        let pin = state.pins().get(cid)?.read();
        let is_there = |node: &NodeId| {
            Some(*node) != without && state.members().get(node).is_some_and(|m| m.is_present())
        };
        Some(pin.pinned_on().filter(is_there).collect::<Vec<_>>())
    });
    copies.flatten().ok_or_else(|| format!("{cid} is not pinned"))
}

/// A machine with a copy dies; the cluster makes another one elsewhere.
async fn lose_holder(stage: &mut Stage, cid: &Cid, rng: &mut Rng) -> Result<HostId, Broken> {
    let holders = {
        let cluster = stage.cluster.borrow();
        copies(&cluster, cid, None).map_err(|missing| Broken::new("STORY-5", missing))?
    };
    let victim = rng.pick(&holders).copied();
    let host = victim.and_then(|node| stage.cluster.borrow().host_of(node));
    let host = host.ok_or_else(|| Broken::new("STORY-5", format!("{cid} has no holder")))?;
    stage.tell(&format!("{host} dies, which holds a copy"));
    stage.cluster.borrow_mut().crash(host, outage(rng));
    stage
        .until("two live copies after the loss of a holder", REPAIR_MS, |cluster| {
            let copies = copies(cluster, cid, victim)?;
            if copies.len() >= 2 { Ok(()) } else { Err(format!("{cid} is on {copies:?}")) }
        })
        .await?;
    Ok(host)
}

/// The leader dies; another one is elected.
async fn lose_leader(stage: &mut Stage, rng: &mut Rng) -> Result<(HostId, HostId), Broken> {
    let leader = stage.cluster.borrow().leader().map(|(host, _)| host);
    let old = leader.ok_or_else(|| Broken::new("STORY-6", "nobody leads".into()))?;
    stage.tell(&format!("{old} dies, which leads"));
    stage.cluster.borrow_mut().crash(old, outage(rng));
    let new = stage
        .until("another leader", ELECT_MS, |cluster| {
            cluster.leader().map(|(host, _)| host).ok_or("nobody leads".into())
        })
        .await?;
    Ok((old, new))
}

fn outage(rng: &mut Rng) -> Outage {
    if rng.chance(500) { Outage::Power } else { Outage::Process }
}
