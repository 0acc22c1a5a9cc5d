//! Before a node starts: does another running node answer with its identity?
//!
//! A copied folder is the usual cause. Found out before anything of the folder is used, it costs
//! nothing; a second run of a master that elects itself from a copied log would cost what the first one
//! commits meanwhile. Where the other run can't be reached from here, the members' hellos tell the two
//! apart later.

use std::time::Duration;

use futures_util::future::join_all;
use ipfs_kit_core::id::{ClusterId, PeerKey};
use ipfs_kit_net as net;

/// Limit for reaching one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The first of `addrs` at which a node with this key answers, while this one does not listen yet.
/// What can't be found out counts as nobody.
pub async fn answers_at(cluster: ClusterId, key: PeerKey, addrs: Vec<String>) -> Option<String> {
    if addrs.is_empty() {
        return None;
    }
    // A stranger's key: whoever asks with its own would only hear that it talks to itself.
    let keypair = net::Keypair::generate().ok()?;
    let mut config = net::NetConfig::new(keypair, net::ClusterId(cluster.0));
    config.gossip = net::GossipMode::Disabled;
    config.timing.connect_ms = CONNECT_WITHIN.as_millis() as u64;
    let (handle, _events, driver) = match net::Net::start(config).await {
        Ok(started) => started,
        Err(reason) => {
            tracing::warn!(%reason, "whether another run of this node exists is not known");
            return None;
        }
    };
    let driving = tokio::spawn(driver);
    let looks = addrs.into_iter().map(|text| {
        let handle = &handle;
        async move {
            let addr = text.parse().ok()?;
            handle.probe(addr, net::PeerKey::from(key.0)).await.ok().map(|()| text)
        }
    });
    let found = join_all(looks).await.into_iter().flatten().next();
    handle.shutdown().await;
    driving.abort();
    found
}
