//! What every process takes and what waits in every queue, over time.

use std::collections::BTreeMap;
use std::time::Duration;

use ipfs_kit::cli::local_cluster::LocalCluster;
use ipfs_kit_actors::supervision::Snapshot;
use ipfs_kit_core::ops::{Actors, Nothing};

/// How much more the last third may take than the second, and less: its share in percent.
const FLAT_PERCENT: f64 = 10.0;
/// Messages that a queue may hold more in the last third than in the second without growing.
const DEPTH_NOISE: f64 = 8.0;

/// One figure at one time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// The figure.
    pub value: f64,
}

/// All samples.
#[derive(Debug, Default)]
pub struct Samples {
    /// Resident bytes, by role, of processes that have warmed up.
    pub resident: BTreeMap<String, Vec<Sample>>,
    /// Messages that wait, by role and actor.
    pub depths: BTreeMap<String, Vec<Sample>>,
    /// Looks at a running node's actors that failed.
    pub unseen: u64,
}

/// A figure's means in the second and the last third of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thirds {
    /// In the second.
    pub second: f64,
    /// In the last.
    pub last: f64,
}

impl Samples {
    /// Looks at every node; at the memory of those only that are `warm`.
    pub async fn take(&mut self, cluster: &LocalCluster, at: Duration, warm: &[bool]) {
        for node in cluster.running().collect::<Vec<_>>() {
            let (role, process) = {
                let node = &cluster.nodes()[node];
                (node.role.as_str(), node.process())
            };
            if let Some(value) = process.filter(|_| warm[node]).and_then(resident_bytes) {
                self.resident.entry(role.to_owned()).or_default().push(Sample { at, value });
            }
            let Some(tree) = actors(cluster, node).await else {
                self.unseen += 1;
                continue;
            };
            for actor in tree.nodes() {
                let Some(mailbox) = &actor.mailbox else { continue };
                let queue = format!("{role} {}", actor.path);
                let value = mailbox.depth as f64;
                self.depths.entry(queue).or_default().push(Sample { at, value });
            }
        }
    }
}

async fn actors(cluster: &LocalCluster, at: usize) -> Option<Snapshot> {
    let answer = cluster.client(at).ok()?.run::<Actors>(&Nothing {}).await.ok()?;
    serde_json::from_value(answer).ok()
}

fn resident_bytes(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

/// The means of the second and the last third of a run; `None` where one has no sample.
pub fn thirds(samples: &[Sample], length: Duration) -> Option<Thirds> {
    let mean = |from: Duration, to: Duration| {
        let within = samples.iter().filter(|sample| (from..to).contains(&sample.at));
        let values: Vec<f64> = within.map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let third = length / 3;
    Some(Thirds { second: mean(third, third * 2)?, last: mean(third * 2, Duration::MAX)? })
}

impl Thirds {
    /// How much more the last third has than the second, in percent.
    pub fn change_percent(&self) -> f64 {
        (self.last / self.second - 1.0) * 100.0
    }

    /// Whether memory stays as it is.
    pub fn is_flat(&self) -> bool {
        self.change_percent().abs() <= FLAT_PERCENT
    }

    /// Whether a queue becomes longer and longer.
    pub fn grows(&self) -> bool {
        self.last > self.second * (1.0 + FLAT_PERCENT / 100.0) + DEPTH_NOISE
    }
}

#[cfg(test)]
mod tests;
