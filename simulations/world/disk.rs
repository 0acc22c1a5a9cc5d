//! A machine's disk: the store's simulated disk, with every outage in the trace.

use std::sync::Arc;

use ipfs_kit_store::disk::{Disk, SimDisk};

use super::HostId;
use super::net::Outage;
use crate::rng;
use crate::trace::Trace;

/// One machine's disk. It outlives the node that uses it.
#[derive(Clone, Debug)]
pub struct HostDisk {
    disk: SimDisk,
    host: HostId,
    trace: Trace,
}

impl HostDisk {
    /// An empty disk, whose losses at a power cut are drawn from the run's seed.
    #[must_use]
    pub fn new(seed: u64, host: HostId, trace: Trace) -> Self {
        let disk = SimDisk::new(rng::derive(seed, &format!("disk of {host}")));
        Self { disk, host, trace }
    }

    /// The port for a node's stores.
    #[must_use]
    pub fn port(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// The simulated disk itself, for faults and for looking inside.
    #[must_use]
    pub fn sim(&self) -> &SimDisk {
        &self.disk
    }

    /// Ends all that the machine's process had open. A power cut loses, keeps or tears what was not synced;
    /// the end of the process alone loses nothing.
    pub fn crash(&self, outage: Outage) {
        let host = self.host;
        match outage {
            Outage::Process => self.disk.kill_process(),
            Outage::Power => {
                let report = self.disk.crash();
                self.trace.event(format_args!(
                    "fault {host} disk: {} unsynced writes kept, {} dropped, {} torn, {} names undone",
                    report.writes_kept,
                    report.writes_dropped,
                    report.writes_torn,
                    report.names_undone
                ));
            }
        }
    }
}
