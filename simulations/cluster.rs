//! A cluster of real nodes on the simulated machines: founded, joined by tokens, crashed, started again.

pub mod node;
pub mod process;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ipfs_kit_actors::gateways::Gateways;
use ipfs_kit_actors::journal;
use ipfs_kit_actors::membership::{self, JoinFailure};
use ipfs_kit_actors::node as actors_node;
use ipfs_kit_actors::ports::{Clock, Network, Peers};
use ipfs_kit_actors::settings::{Membership, NodeSettings, RaftSettings, Timing};
use ipfs_kit_core::command::Refusal;
use ipfs_kit_core::id::{ClusterId, Incarnation, NodeId};
use ipfs_kit_core::member::{HoldPolicy, MemberSpec, Role};
use ipfs_kit_core::replication;
use ipfs_kit_core::token::JoinToken;

use self::node::{Handle, Phase, Run};
use crate::rng::{self, Rng};
use crate::trace::Trace;
use crate::world::entropy::SimEntropy;
use crate::world::net::Outage;
use crate::world::{Host, HostId, World};

/// How long an operator's tool waits before it starts a node that ended by itself, in milliseconds.
const RESTART_AFTER_MS: u64 = 2_000;
/// How long a node tries to join.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// A part of the product that is switched off, to see that the checkers notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
    /// Followers get no answer when they ask for what they missed.
    Feed,
    /// The leader re-replicates nothing.
    Copies,
}

/// What all nodes of a run are told alike.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Liveness and dissemination.
    pub timing: Timing,
    /// Raft.
    pub raft: RaftSettings,
    /// The leader's planner.
    pub replication: replication::Config,
    /// Bytes a second that a node fetches in order to hold pins that others hold already; 0: no limit.
    pub repair_bytes_s: u64,
}

impl Profile {
    /// Draws what a run's nodes are told: the product's own timing, and logs short enough to be compacted.
    #[must_use]
    pub fn draw(seed: u64, sabotage: &BTreeSet<Sabotage>) -> Self {
        let mut rng = Rng::new(seed, "profile");
        let checkpoint_entries = rng.within(10..=200);
        let tail_entries = rng.within(0..=100);
        let mut replication = replication::Config {
            retry_ms: 5_000,
            retry_ms_max: 20_000,
            rescan_ms: 60_000,
            ..replication::Config::default()
        };
        if sabotage.contains(&Sabotage::Copies) {
            replication.repair_concurrency = 0;
        }
        Self {
            timing: Timing { gc_ms: 20_000, ..Timing::default() },
            raft: RaftSettings { checkpoint_entries, tail_entries, ..RaftSettings::default() },
            replication,
            repair_bytes_s: 0,
        }
    }
}

/// A machine of the cluster and the node on it.
#[derive(Debug)]
pub struct Machine {
    /// Where.
    pub host: HostId,
    /// The role with which it joins, or the one that was committed for it later.
    pub role: Role,
    membership: Option<Membership>,
    runs: u64,
    newest: Incarnation,
    run: Option<Run>,
    /// Ended by itself; to be started again then.
    restart_at_ms: Option<u64>,
}

impl Machine {
    /// The run of its node, if there is one: it may be starting, or have ended.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Its node's handle, while it runs.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.run.as_ref()?.handle()
    }

    /// Times its node was started.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Its number, once it is a member.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.membership.as_ref().map(|membership| membership.node)
    }
}

/// All of them.
#[derive(Debug)]
pub struct Cluster {
    /// The machines underneath.
    pub world: World,
    /// What nodes are told when they start.
    pub profile: Profile,
    machines: Vec<Machine>,
    /// Nodes that ended by themselves, with the reason, in order.
    ended: Vec<(HostId, String)>,
}

impl Cluster {
    /// Machines with these names and roles; nothing runs yet.
    #[must_use]
    pub fn new(seed: u64, members: &[(&str, Role)], profile: Profile, trace: Trace) -> Self {
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        let world = World::new(seed, &names, trace);
        let machines = members.iter().enumerate().map(|(number, (_, role))| Machine {
            host: HostId(number),
            role: *role,
            membership: None,
            runs: 0,
            newest: Incarnation(0),
            run: None,
            restart_at_ms: None,
        });
        Self { world, profile, machines: machines.collect(), ended: Vec::new() }
    }

    /// All machines in order.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, host: HostId) -> &Machine {
        &self.machines[host.0]
    }

    /// Nodes that run now, in order.
    #[must_use]
    pub fn running(&self) -> Vec<(HostId, Handle)> {
        let running = self.machines.iter();
        running.filter_map(|machine| Some((machine.host, machine.handle()?))).collect()
    }

    /// The node that leads, by its own word; of several, the one with the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<(HostId, Handle)> {
        let leading = self.running().into_iter().filter_map(|(host, handle)| {
            let raft = handle.raft()?;
            raft.leading.then_some((raft.term, host, handle))
        });
        leading.max_by_key(|(term, ..)| *term).map(|(_, host, handle)| (host, handle))
    }

    /// The machine of a member.
    #[must_use]
    pub fn host_of(&self, node: NodeId) -> Option<HostId> {
        self.machines.iter().find(|machine| machine.node() == Some(node)).map(|m| m.host)
    }

    /// Nodes that ended by themselves so far, with the reason.
    #[must_use]
    pub fn ended(&self) -> &[(HostId, String)] {
        &self.ended
    }

    /// What a node says of itself.
    #[must_use]
    pub fn spec(&self, host: HostId) -> MemberSpec {
        let machine = self.world.host(host);
        MemberSpec {
            key: machine.key,
            name: machine.name.clone(),
            role: self.machine(host).role,
            addrs: vec![machine.addr.clone()],
            zone: String::new(),
            weight: 1,
            hold: HoldPolicy::Auto,
        }
    }

    /// Founds the cluster on a machine and starts its node.
    pub fn found(&mut self, host: HostId) -> Result<(), Refusal> {
        let mut id = ClusterId([0; 16]);
        Rng::new(self.world.seed, "cluster").fill(&mut id.0);
        let spec = self.spec(host);
        let incarnation = self.next_incarnation(host);
        let wall_ms = self.world.host(host).clock.wall_ms();
        let (_, membership) = membership::found(id, &spec, incarnation, wall_ms)?;
        self.remember(host, membership);
        self.launch(host, incarnation);
        Ok(())
    }

    /// Remembers what a machine's node was admitted as.
    pub fn admit(&mut self, host: HostId, membership: Membership) {
        let node = membership.node;
        self.world.trace.event(format_args!("{host} joins as {node}"));
        self.remember(host, membership);
    }

    /// Writes the membership into the machine's folder, as `init` and a first start do.
    fn remember(&mut self, host: HostId, membership: Membership) {
        if let Err(reason) = journal::save_membership(&*self.world.host(host).disk(), &membership) {
            self.world.trace.event(format_args!("{host} can't remember its place: {reason}"));
        }
        self.machines[host.0].membership = Some(membership);
    }

    /// What a starting node knows: what its folder says, which the runs before kept up to date.
    fn recall(&self, host: HostId) -> Option<Membership> {
        match journal::load_membership(&*self.world.host(host).disk()) {
            Ok(Some(membership)) => Some(membership),
            Ok(None) => self.machines[host.0].membership.clone(),
            Err(reason) => {
                self.world.trace.event(format_args!("{host} can't recall its place: {reason}"));
                self.machines[host.0].membership.clone()
            }
        }
    }

    /// Another role was committed for a machine's node.
    pub fn expect_role(&mut self, host: HostId, role: Role) {
        self.machines[host.0].role = role;
    }

    /// Starts a member's node unless it is up.
    pub fn start(&mut self, host: HostId) {
        let machine = &self.machines[host.0];
        if machine.run.is_some() || machine.membership.is_none() {
            return;
        }
        self.world.trace.event(format_args!("{host} starts"));
        let incarnation = self.next_incarnation(host);
        self.launch(host, incarnation);
    }

    /// Ends a machine's node without a word.
    pub fn crash(&mut self, host: HostId, outage: Outage) {
        self.world.unplug(host, outage);
        let machine = &mut self.machines[host.0];
        machine.restart_at_ms = None;
        if let Some(run) = machine.run.take() {
            run.kill();
        }
        self.world.power_off(host, outage);
    }

    /// Asks a machine's node to stop in order.
    pub fn stop(&self, host: HostId) {
        if let Some(run) = &self.machines[host.0].run {
            run.stop();
        }
    }

    /// Starts again, after a moment, what ended by itself, as an operator's tool does.
    pub fn tend(&mut self) {
        let now_ms = self.world.trace.now_ms();
        for number in 0..self.machines.len() {
            let host = HostId(number);
            let machine = &mut self.machines[number];
            if let Some(at_ms) = machine.restart_at_ms {
                if at_ms <= now_ms {
                    machine.restart_at_ms = None;
                    self.start(host);
                }
                continue;
            }
            let Some(Phase::Ended { reason }) = machine.run.as_ref().map(Run::phase) else {
                continue;
            };
            self.world.trace.event(format_args!("{host} ended by itself: {reason}"));
            self.ended.push((host, reason));
            self.crash(host, Outage::Process);
            self.machines[number].restart_at_ms = Some(now_ms + RESTART_AFTER_MS);
        }
    }

    /// Newer than every run before, whatever the machine's wall clock says.
    fn next_incarnation(&mut self, host: HostId) -> Incarnation {
        let wall_ms = self.world.host(host).clock.wall_ms();
        let machine = &mut self.machines[host.0];
        machine.newest = Incarnation(wall_ms.max(machine.newest.0 + 1));
        machine.newest
    }

    fn launch(&mut self, host: HostId, incarnation: Incarnation) {
        let (spec, membership) = (self.spec(host), self.recall(host));
        let machine = &mut self.machines[host.0];
        machine.runs += 1;
        let seed = rng::derive(self.world.seed, &format!("node on {host}, run {}", machine.runs));
        let settings = NodeSettings {
            spec,
            membership,
            incarnation,
            seed,
            timing: self.profile.timing,
            raft: self.profile.raft,
            replication: self.profile.replication,
            replicas_min: 1,
            replicas_max: 2,
            cache_bytes_max: 1 << 20,
            storage_bytes_max: 1 << 30,
            storage_reserve_bytes: 0,
            transfer_bytes_s: 0,
            repair_bytes_s: self.profile.repair_bytes_s,
            profile: "unixfs-v1-2025".to_owned(),
            hash_threads: 0,
        };
        let place = self.world.host(host);
        let entropy = SimEntropy::new(self.world.seed, host, machine.runs);
        let world = actors_node::World {
            gateways: Gateways::default(),
            network: Some((place.network(), place.peers())),
            clock: place.clock(),
            executor: place.executor(),
            disk: place.disk(),
            entropy: Arc::new(entropy),
            interfaces: Vec::new(),
        };
        machine.run = Some(Run::launch(settings, world));
    }
}

/// Asks for admission with a token, listening meanwhile, as `init --join` does.
pub async fn join(
    host: &JoinSite,
    spec: &MemberSpec,
    token: &JoinToken,
) -> Result<Membership, JoinFailure> {
    let run = host.network.start().await;
    let listening = async {
        if let Ok(run) = run {
            let _inbound = run.inbound;
            // A network that fails leaves the join to its own deadline.
            let _ = run.driver.await;
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        admission = membership::join(&*host.peers, token, spec, JOIN_WITHIN) => {
            admission.map(|admission| admission.membership)
        }
        never = listening => match never {},
    }
}

/// What a machine needs to join.
pub struct JoinSite {
    peers: Arc<dyn Peers>,
    network: Arc<dyn Network>,
}

impl JoinSite {
    /// Of a machine.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self { peers: host.peers(), network: host.network() }
    }
}
