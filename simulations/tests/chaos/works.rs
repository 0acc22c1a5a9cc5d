//! Whether a node does its work: it answers a linearizable question and shows every byte.

use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{CidRequest, PinStatus};
use ipfs_kit_simulations::scenarios::client;
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

use crate::strike::failed;

/// How long a node may take to work again after all its children are back, in virtual milliseconds: an
/// election, connections, and a feed that catches up.
pub const WITHIN_MS: u64 = 30_000;

/// Waits until a node works.
pub async fn works(stage: &mut Stage, host: HostId, cid: &Cid) -> Result<(), Broken> {
    let until_ms = stage.now_ms() + WITHIN_MS;
    while let Err(reason) = attempt(stage, host, cid).await? {
        if stage.now_ms() > until_ms {
            return Err(failed(format!("{host} does not work again: {reason}")));
        }
        stage.step().await?;
    }
    Ok(())
}

/// Bytes that differ are no failure of this attempt: the ledger accuses the node of them.
async fn attempt(stage: &mut Stage, host: HostId, cid: &Cid) -> Result<Result<(), String>, Broken> {
    let handle = stage.cluster.borrow().machine(host).handle();
    let Some(handle) = handle else { return Ok(Err("it is down".to_owned())) };
    let asked = handle.operate::<PinStatus>(CidRequest { cid: cid.clone() });
    if let Err(failure) = stage.during(asked).await? {
        return Ok(Err(failure.message));
    }
    let (cluster, ledger) = (stage.cluster.clone(), stage.ledger.clone());
    stage.during(client::read(&cluster, &ledger, host, cid)).await
}
