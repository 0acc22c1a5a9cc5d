//! The simulated machines: each has a network port, a disk, a wall clock and an executor.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod executor;
pub mod net;

use std::fmt;
use std::sync::Arc;

use ipfs_kit_actors::ports::{Clock, Executor, Network, Peers, WorkLane};
use ipfs_kit_core::id::PeerKey;
use ipfs_kit_store::disk::Disk;
use tokio::task::AbortHandle;

use self::clock::SimClock;
use self::disk::HostDisk;
use self::executor::SimExecutor;
use self::net::{Outage, SimNetwork, SimPort, Weather};
use crate::rng::Rng;
use crate::trace::Trace;

/// A machine, by its number in the world. It is not a member's number: that one is committed at join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// One machine. It outlives the processes that run on it.
#[derive(Debug)]
pub struct Host {
    /// Its number.
    pub id: HostId,
    /// Its name for people.
    pub name: String,
    /// The identity of its node.
    pub key: PeerKey,
    /// Where it listens.
    pub addr: String,
    /// Its side of the network.
    pub port: SimPort,
    /// Its disk.
    pub disk: HostDisk,
    /// Its wall clock.
    pub clock: SimClock,
    /// Its blocking work.
    pub executor: SimExecutor,
}

impl Host {
    /// The network as its node sees it.
    #[must_use]
    pub fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(self.port.clone())
    }

    /// What starts its network.
    #[must_use]
    pub fn network(&self) -> Arc<dyn Network> {
        Arc::new(self.port.clone())
    }

    /// Its wall clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// What runs its blocking work.
    #[must_use]
    pub fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.executor.clone())
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.port()
    }
}

/// All machines of a run and what lies between them.
#[derive(Debug)]
pub struct World {
    /// The run's seed.
    pub seed: u64,
    /// What happens.
    pub trace: Trace,
    /// The network.
    pub net: SimNetwork,
    hosts: Vec<Host>,
    courier: AbortHandle,
}

impl Drop for World {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

impl World {
    /// Machines with these names, in fair weather. Needs a `LocalSet` on a runtime with paused time.
    #[must_use]
    pub fn new(seed: u64, names: &[&str], trace: Trace) -> Self {
        let net = SimNetwork::new(seed, trace.clone());
        let courier = tokio::task::spawn_local(net.clone().courier()).abort_handle();
        let mut rng = Rng::new(seed, "identities");
        let hosts = names.iter().enumerate().map(|(number, name)| {
            let mut key = PeerKey([0; 32]);
            rng.fill(&mut key.0);
            let id = HostId(number);
            let addr = format!("10.0.0.{}:4001", number + 1);
            trace.event(format_args!("{id} is {name} at {addr}"));
            Host {
                id,
                name: (*name).to_owned(),
                key,
                port: net.attach(key, addr.clone()),
                addr,
                disk: HostDisk::new(seed, id, trace.clone()),
                clock: SimClock::new(trace.clone()),
                executor: SimExecutor::new(seed, id, trace.clone()),
            }
        });
        let hosts = hosts.collect();
        Self { seed, trace, net, hosts, courier }
    }

    /// All machines in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One machine.
    #[must_use]
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0]
    }

    /// Takes a machine off the network, before the tasks of its node are dropped.
    pub fn unplug(&self, id: HostId, outage: Outage) {
        self.net.crash(id, outage);
    }

    /// Ends what a machine's process had under way, after the tasks of its node are dropped: jobs that did
    /// not run, and open files. A power cut also loses or tears unsynced writes.
    pub fn power_off(&self, id: HostId, outage: Outage) {
        let host = self.host(id);
        host.executor.crash();
        host.disk.crash(outage);
    }

    /// Ends every disturbance: fair weather, no partition, quick machines, right clocks.
    pub fn calm(&self) {
        self.net.heal();
        self.net.set_weather(Weather::fair());
        for host in &self.hosts {
            self.net.set_slowness(host.id, 1);
            host.executor.set_longest_ms(WorkLane::Log, 1);
            host.clock.set_drift_ppm(0);
            host.clock.set_offset_ms(0);
        }
    }
}
