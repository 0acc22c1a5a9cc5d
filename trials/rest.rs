//! Rest: everybody is there, stands at the same place, and every pin has exactly its copies.

use std::time::Duration;

use ipfs_kit::cli::client::Client;
use ipfs_kit::cli::error::CliError;
use ipfs_kit::cli::local_cluster::LocalCluster;
use ipfs_kit_core::member::{Liveness, RaftStanding, Role};
use ipfs_kit_core::ops::{NodeLs, Nothing, PinInfo, PinLs, PinLsRequest, PinStatusKind};
use tokio::time::Instant;

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(50);
/// What is shown of a reason.
const SHOWN: usize = 3;

/// Waits for rest and returns all pins; an error says what was missing at the end.
pub async fn rest(cluster: &LocalCluster, within: Duration) -> Result<Vec<PinInfo>, String> {
    let until = Instant::now() + within;
    loop {
        let missing = match look(cluster).await {
            Ok(Ok(pins)) => return Ok(pins),
            Ok(Err(missing)) => missing,
            Err(error) => error.summary(),
        };
        if Instant::now() >= until {
            return Err(format!("no rest within {} s: {missing}", within.as_secs()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(cluster: &LocalCluster) -> Result<Result<Vec<PinInfo>, String>, CliError> {
    let master = cluster.any_master()?;
    for node in master.run::<NodeLs>(&Nothing {}).await?.items {
        if node.liveness != Liveness::Alive {
            return Ok(Err(format!("{} is {:?}", node.name, node.liveness)));
        }
        if node.role == Role::Master && node.raft != RaftStanding::Voter {
            return Ok(Err(format!("{} is {:?}", node.name, node.raft)));
        }
    }
    let pins = all_pins(&master).await?;
    let unsettled: Vec<String> =
        pins.iter().filter(|pin| !has_its_copies(pin)).map(describe).collect();
    if !unsettled.is_empty() {
        let shown = &unsettled[..unsettled.len().min(SHOWN)];
        return Ok(Err(format!("{} pins are unsettled: {}", unsettled.len(), shown.join("; "))));
    }
    let mut places = Vec::new();
    for at in cluster.running() {
        let view = cluster.status(at).await?.view;
        places.push(view.map(|view| (view.index, view.hash)));
    }
    match places.windows(2).all(|pair| pair[0] == pair[1]) {
        true => Ok(Ok(pins)),
        false => Ok(Err(format!("nodes stand at different places: {places:?}"))),
    }
}

/// Every pin, page after page.
pub async fn all_pins(client: &Client) -> Result<Vec<PinInfo>, CliError> {
    let mut pins = Vec::new();
    let mut after = None;
    loop {
        let request = PinLsRequest { after, ..PinLsRequest::default() };
        let page = client.run::<PinLs>(&request).await?;
        pins.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(pins),
        }
    }
}

fn has_its_copies(pin: &PinInfo) -> bool {
    pin.status == PinStatusKind::Pinned && pin.replicas.len() == usize::from(pin.replicas_max)
}

fn describe(pin: &PinInfo) -> String {
    let copies = pin.replicas.iter().map(|copy| format!("{} {:?}", copy.name, copy.state));
    let copies: Vec<String> = copies.collect();
    format!(
        "{} {:?} {}-{} ({})",
        pin.cid,
        pin.status,
        pin.replicas_min,
        pin.replicas_max,
        copies.join(", ")
    )
}
