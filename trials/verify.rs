//! What must hold at rest: every acknowledged pin is there and readable, and no store holds anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use ipfs_kit::cli::error::CliError;
use ipfs_kit::cli::local_cluster::LocalCluster;
use ipfs_kit_actors::api::VerifyLine;
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{Nothing, PinInfo, StoreFigures, StoreGc, StoreStat};
use tokio::time::Instant;

use crate::content::Content;
use crate::ledger::Ledger;
use crate::read::read_file;
use crate::rest::LOOK;
use crate::rng::Rng;

/// How long a collection may be told to wait, and what is released may take to go.
const COLLECTED_WITHIN: Duration = Duration::from_secs(30);

/// What a verification saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks in all stores.
    pub blocks: u64,
    /// Leases of adds that nobody knows the end of; their blocks are kept meanwhile.
    pub leases: u64,
}

/// Compares the cluster at rest with the ledger; what is lost is entered there. So much content is read
/// at most.
pub async fn verify(
    cluster: &LocalCluster,
    ledger: &Ledger,
    pins: &[PinInfo],
    read_max: usize,
    rng: &mut Rng,
) -> Result<Seen, CliError> {
    let pinned: BTreeSet<Cid> = pins.iter().map(|pin| pin.cid.clone()).collect();
    let contents: BTreeMap<Cid, Content> = {
        let mut ledger = ledger.open();
        ledger.compare(&pinned);
        let known = |cid: &Cid| Some((cid.clone(), ledger.items.get(cid)?.content.clone()));
        pinned.iter().filter_map(known).collect()
    };
    let mut seen = Seen::default();
    let read = rng.some(contents.values().collect(), read_max);
    read_all(cluster, ledger, &read, rng, &mut seen).await?;
    for at in cluster.running() {
        check_store(cluster, at, ledger, pins, &contents, &mut seen).await?;
    }
    Ok(seen)
}

/// Reads everything through one node or another.
async fn read_all(
    cluster: &LocalCluster,
    ledger: &Ledger,
    contents: &[&Content],
    rng: &mut Rng,
    seen: &mut Seen,
) -> Result<(), CliError> {
    let mut clients = Vec::new();
    for at in cluster.running() {
        clients.push((cluster.nodes()[at].name.clone(), cluster.client(at)?));
    }
    for (path, expected) in contents.iter().flat_map(|content| content.files()) {
        let Some((name, client)) = rng.pick(&clients) else { continue };
        match read_file(client, &path).await {
            Ok(bytes) if bytes == expected => {
                seen.files += 1;
                seen.bytes += bytes.len() as u64;
            }
            Ok(_) => ledger.lose(format!("{path} through {name} has other bytes than were added")),
            Err(error) => {
                ledger.lose(format!("{path} can't be read through {name}: {}", error.summary()));
            }
        }
    }
    Ok(())
}

/// A holder has every block of what it holds, intact, and nothing that no pin needs.
async fn check_store(
    cluster: &LocalCluster,
    at: usize,
    ledger: &Ledger,
    pins: &[PinInfo],
    contents: &BTreeMap<Cid, Content>,
    seen: &mut Seen,
) -> Result<(), CliError> {
    let node = &cluster.nodes()[at];
    let blocks_of = |wanted: &dyn Fn(&PinInfo) -> bool| -> u64 {
        let wanted = pins.iter().filter(|pin| wanted(pin)).filter_map(|pin| contents.get(&pin.cid));
        wanted.flat_map(|content| &content.blocks).collect::<BTreeSet<_>>().len() as u64
    };
    let held = blocks_of(&|pin| pin.replicas.iter().any(|copy| copy.name == node.name));
    // A master knows all pins and drops nothing that a pin needs.
    let most = if node.role == Role::Master { blocks_of(&|_| true) } else { held };
    let until = Instant::now() + COLLECTED_WITHIN;
    loop {
        let wrong = match look_at_store(cluster, at).await {
            Ok((figures, incomplete)) => {
                let Some(wrong) = judge(&figures, &incomplete, held, most) else {
                    seen.blocks += figures.blocks;
                    seen.leases += figures.leases;
                    break;
                };
                wrong
            }
            Err(error) if error.is_retryable() => error.summary(),
            Err(error) => return Err(error),
        };
        if Instant::now() >= until {
            ledger.lose(format!("the store of {}: {wrong}", node.name));
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut lines = pin!(cluster.client(at)?.verify().await?);
    while let Some(line) = lines.next().await {
        if let VerifyLine::Damaged { cid, .. } | VerifyLine::Wrong { cid } = line? {
            ledger.lose(format!("block {cid} of {} is damaged", node.name));
        }
    }
    Ok(())
}

async fn look_at_store(
    cluster: &LocalCluster,
    at: usize,
) -> Result<(StoreFigures, Vec<Cid>), CliError> {
    let client = cluster.client(at)?;
    let collected = client.run::<StoreGc>(&Nothing {}).await?;
    Ok((client.run::<StoreStat>(&Nothing {}).await?, collected.incomplete_roots))
}

/// What is wrong with a store that was just collected.
fn judge(figures: &StoreFigures, incomplete: &[Cid], held: u64, most: u64) -> Option<String> {
    let StoreFigures { blocks, leases, .. } = *figures;
    if let Some(root) = incomplete.first() {
        return Some(format!("below {root}, which it holds, something is missing"));
    }
    if blocks < held {
        return Some(format!("{blocks} blocks, and what it holds has {held}"));
    }
    // The blocks of an add that nobody knows the end of stay until it can't be pinned any more.
    if blocks > most && leases == 0 {
        return Some(format!("{blocks} blocks, and pins need {most} at most"));
    }
    None
}

#[cfg(test)]
mod tests;
