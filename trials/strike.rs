//! Whom a strike hits.

use ipfs_kit::cli::local_cluster::LocalCluster;
use ipfs_kit_core::ops::{NodeLs, Nothing};

use crate::rng::Rng;

/// A kind of strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Any one node.
    One,
    /// The leader.
    Leader,
    /// As many nodes as leave a bare majority, masters or not.
    Minority,
    /// All nodes at once.
    All,
}

impl Strike {
    /// One of them.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.within(0..=3) {
            0 => Self::One,
            1 => Self::Leader,
            2 => Self::Minority,
            _ => Self::All,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Leader => "leader",
            Self::Minority => "minority",
            Self::All => "all",
        }
    }

    /// The nodes that it hits now. Where nobody knows a leader, the strike for it hits anybody.
    pub async fn victims(self, cluster: &LocalCluster, rng: &mut Rng) -> Vec<usize> {
        let all: Vec<usize> = cluster.running().collect();
        let minority = all.len().saturating_sub(1) / 2;
        match self {
            Self::One => rng.some(all, 1),
            Self::Leader => match leader(cluster).await {
                Some(leader) => vec![leader],
                None => rng.some(all, 1),
            },
            Self::Minority => rng.some(all, minority),
            Self::All => all,
        }
    }
}

async fn leader(cluster: &LocalCluster) -> Option<usize> {
    let nodes = cluster.any_master().ok()?.run::<NodeLs>(&Nothing {}).await.ok()?;
    let leader = nodes.items.iter().find(|node| node.leader)?;
    cluster.find(&leader.name)
}
