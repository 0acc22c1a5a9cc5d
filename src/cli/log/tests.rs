//! Which lines get through.

use tracing::Level;

use super::targets;

#[test]
fn modules_have_levels_of_their_own_and_libraries_are_quiet() {
    let passes = |filter: &str, module: &str, level: Level| {
        targets(&filter.parse().unwrap()).would_enable(module, &level)
    };
    assert!(passes("info", "ipfs_kit_net::driver", Level::INFO));
    assert!(!passes("info", "ipfs_kit_net::driver", Level::DEBUG));
    assert!(passes("info,net=debug", "ipfs_kit_net::driver", Level::DEBUG));
    assert!(!passes("info,net=debug", "ipfs_kit_store::wal", Level::DEBUG));
    assert!(passes("error,actors::transfer=trace", "ipfs_kit_actors::transfer", Level::TRACE));
    assert!(!passes("error,actors::transfer=trace", "ipfs_kit_actors::store", Level::WARN));

    assert!(!passes("trace", "libp2p_swarm", Level::INFO), "even then");
    assert!(passes("trace,libp2p_swarm=debug", "libp2p_swarm", Level::DEBUG), "unless asked for");
    assert!(!passes("off", "libp2p_swarm", Level::ERROR), "off is off");
    assert!(!passes("error", "libp2p_swarm", Level::WARN));
    assert!(!passes("info,raft=off", "raft", Level::ERROR));
}
