//! Peace: all faults end, and the cluster must come to rest, show every byte and let go of what nobody
//! needs.

use ipfs_kit_core::id::Cid;

use super::{LEECHER, client};
use crate::checkers::{at_rest, last};
use crate::cluster::Cluster;
use crate::stage::{Broken, Stage};
use crate::world::HostId;

/// How long a healed cluster may take to come to rest, in milliseconds: its longest back-offs and leases, and
/// the copies.
pub const REST_MS: u64 = 240_000;
/// How long what nobody needs may be kept, in milliseconds: until the lease of a root that never became
/// a pin ends, and three rounds of the collector.
const COLLECT_MS: u64 = 160_000;

/// How long a node that ends by itself may take to stop in order, in milliseconds.
const STOP_MS: u64 = 10_000;

/// Ends all faults and waits for it.
pub async fn run(stage: &mut Stage) -> Result<(), Broken> {
    stage.tell("peace");
    heal(&mut stage.cluster.borrow_mut());
    stage.until("rest after the churn", REST_MS, at_rest).await?;
    scan(stage)?;
    stage.tell("the leecher reads everything");
    for cid in &pinned(stage)? {
        read(stage, cid).await?;
    }
    stage.until_every(1_000, "only what is needed is kept", COLLECT_MS, collected).await?;
    stage.until("rest after the scan", REST_MS, at_rest).await?;
    scan(stage)
}

/// Reads a tree. Two things excuse a failure: the pin has expired meanwhile, or a node ended by itself,
/// because its disk had failed before the peace; then it must succeed when that node is back.
async fn read(stage: &mut Stage, cid: &Cid) -> Result<(), Broken> {
    let ended = stage.cluster.borrow().ended().len();
    let Err(broken) = client::read_back(stage, LEECHER, cid).await else { return Ok(()) };
    if !pinned(stage)?.contains(cid) {
        return Ok(());
    }
    stage.pass(STOP_MS).await?;
    if stage.cluster.borrow().ended().len() == ended {
        return Err(broken);
    }
    stage.until("rest after a node ended by itself", REST_MS, at_rest).await?;
    client::read_back(stage, LEECHER, cid).await
}

/// Every pin that the leader knows.
fn pinned(stage: &Stage) -> Result<Vec<Cid>, Broken> {
    let cluster = stage.cluster.borrow();
    let (_, leader) =
        cluster.leader().ok_or_else(|| Broken::new("LIVE-1", "nobody leads".into()))?;
    Ok(leader.state(|state| state.pins().keys().collect()).unwrap_or_default())
}

/// Ends everything that was wrong, and starts whatever is down.
pub fn heal(cluster: &mut Cluster) {
    cluster.world.calm();
    for number in 0..cluster.machines().len() {
        cluster.start(HostId(number));
    }
}

fn scan(stage: &Stage) -> Result<(), Broken> {
    let found = last(&stage.cluster.borrow(), &stage.ledger.borrow());
    if found.is_empty() { Ok(()) } else { Err(Broken { found }) }
}

fn collected(cluster: &Cluster) -> Result<(), String> {
    for (host, handle) in cluster.running() {
        crate::checkers::last::collected(&handle)
            .map_err(|missing| format!("{}: {missing}", cluster.world.host(host).name))?;
    }
    Ok(())
}
