//! A deterministic network of cores for tests: one seed decides losses, delays, duplicates,
//! partitions, crashes and slow disks. A [`Ledger`] checks Raft's promises after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::conf::ConfState;
use crate::membership::{DesiredMembers, MembershipPolicy, MembershipStep, next_step};
use crate::raft_core::{Outgoing, Proposed};
use crate::reads::ReadToken;
use crate::status::Role;
use crate::transfers::SnapshotReport;
use crate::{CompactionPolicy, ProposeError, RaftId, RequestId};

mod host;
mod ledger;
pub mod solo;
#[cfg(test)]
mod tests;

pub use host::{Disk, Flaw, Host, Machine};
pub use ledger::Ledger;

pub fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

pub fn ids(list: &[u64]) -> BTreeSet<RaftId> {
    list.iter().map(|n| id(*n)).collect()
}

/// What goes wrong, in percent of the chances it has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplicate: u64,
    pub delay_max: u64,
    pub slow_disk: u64,
    pub lost_tick: u64,
}

impl Faults {
    pub const NASTY: Self =
        Self { loss: 5, duplicate: 3, delay_max: 4, slow_disk: 20, lost_tick: 5 };
}

#[derive(Debug, Clone)]
enum Packet {
    Message(Bytes),
    Snapshot(Bytes, Box<Machine>),
    Report(SnapshotReport),
}

pub struct Net {
    pub now: u64,
    pub hosts: BTreeMap<RaftId, Host>,
    pub faults: Faults,
    pub blocked: BTreeSet<(RaftId, RaftId)>,
    pub ledger: Ledger,
    pub compaction: CompactionPolicy,
    pub delivered: u64,
    seed: u64,
    rng: ChaCha8Rng,
    packets: BTreeMap<(u64, u64), (RaftId, RaftId, Packet)>,
    sequence: u64,
    proposals: u64,
    reads: u64,
    trace: DefaultHasher,
}

impl Net {
    /// A group of the members `1..=voters`, as if it had been running before.
    pub fn new(seed: u64, voters: u64) -> Self {
        let mut net = Self {
            now: 0,
            hosts: BTreeMap::new(),
            faults: Faults { delay_max: 1, ..Faults::default() },
            blocked: BTreeSet::new(),
            ledger: Ledger::default(),
            compaction: CompactionPolicy {
                tail_entries: 20,
                retain_max_entries: 60,
                step_entries: 5,
                checkpoint_entries: 15,
                silent_ticks: 20,
            },
            delivered: 0,
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            packets: BTreeMap::new(),
            sequence: 0,
            proposals: 0,
            reads: 0,
            trace: DefaultHasher::new(),
        };
        let conf = ConfState { voters: (1..=voters).map(id).collect(), ..ConfState::default() };
        for n in 1..=voters {
            net.hosts.insert(id(n), Host::new(id(n), seed, Disk::bootstrapped(id(n), &conf)));
        }
        net
    }

    pub fn join(&mut self, n: u64) {
        self.hosts.insert(id(n), Host::new(id(n), self.seed, Disk::default()));
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.finish()
    }

    pub fn leader(&self) -> Option<RaftId> {
        let up = self.hosts.values().filter_map(|host| Some(host.core.as_ref()?.status()));
        let leaders = up.filter(|status| status.role == Role::Leader);
        leaders.max_by_key(|status| status.term).map(|status| status.id)
    }

    pub fn crash(&mut self, member: RaftId) {
        (self.now, "crash", member).hash(&mut self.trace);
        self.hosts.get_mut(&member).unwrap().crash();
    }

    pub fn restart(&mut self, member: RaftId) {
        (self.now, "restart", member).hash(&mut self.trace);
        let host = self.hosts.get_mut(&member).unwrap();
        if host.core.is_none() {
            host.start(self.seed);
        }
    }

    /// Cuts the network between `side` and all others, in both directions.
    pub fn partition(&mut self, side: &BTreeSet<RaftId>) {
        self.blocked.clear();
        for a in self.hosts.keys() {
            for b in self.hosts.keys().filter(|b| side.contains(a) != side.contains(b)) {
                self.blocked.insert((*a, *b));
            }
        }
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
        self.faults = Faults { delay_max: 1, ..Faults::default() };
        for member in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.restart(member);
        }
    }

    /// Lets one tick pass everywhere, delivers what is due, and runs every member's cycle.
    pub fn tick(&mut self) {
        self.now += 1;
        let members: Vec<RaftId> = self.hosts.keys().copied().collect();
        for member in &members {
            let lost = self.chance(self.faults.lost_tick);
            if let Some(core) = self.host(*member).core.as_mut().filter(|_| !lost) {
                core.tick().unwrap();
            }
        }
        while let Some(first) = self.packets.first_entry().filter(|e| e.key().0 <= self.now) {
            let (from, to, packet) = first.remove();
            self.deliver(from, to, packet);
            self.pump(to);
        }
        for member in members {
            self.pump(member);
        }
    }

    pub fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Runs until `done`, and fails after `ticks`.
    pub fn run_until(&mut self, what: &str, ticks: u64, done: impl Fn(&Self) -> bool) {
        for _ in 0..ticks {
            if done(self) {
                return;
            }
            self.tick();
        }
        let states: Vec<_> = self
            .hosts
            .values()
            .map(|host| host.core.as_ref().map(crate::RaftCore::status))
            .collect();
        assert!(done(self), "seed {}: not within {ticks} ticks: {what}\n{states:#?}", self.seed);
    }

    fn host(&mut self, member: RaftId) -> &mut Host {
        self.hosts.get_mut(&member).unwrap()
    }

    fn deliver(&mut self, from: RaftId, to: RaftId, packet: Packet) {
        let Some(host) = self.hosts.get_mut(&to) else { return };
        if host.core.is_none() || self.blocked.contains(&(from, to)) {
            return;
        }
        self.delivered += 1;
        match packet {
            Packet::Message(bytes) => {
                (self.now, from, to, &bytes).hash(&mut self.trace);
                host.receive(from, bytes);
            }
            Packet::Snapshot(bytes, machine) => {
                (self.now, "snapshot", from, to, &bytes).hash(&mut self.trace);
                host.inbound = Some(*machine);
                host.receive(from, bytes);
                self.send(to, from, Packet::Report(SnapshotReport::Finished));
            }
            Packet::Report(report) => {
                host.core.as_mut().unwrap().report_snapshot(from, report).unwrap();
            }
        }
    }

    /// Runs the cycle of one member until it rests. A slow disk leaves a batch out until the next
    /// time.
    fn pump(&mut self, member: RaftId) {
        if self.host(member).core.is_none() {
            return;
        }
        loop {
            if self.host(member).pending.is_none() {
                let Some(messages) = self.host(member).begin() else { break };
                self.send_all(member, messages);
                self.ledger.check_leader(self.hosts[&member].core.as_ref().unwrap());
                if self.chance(self.faults.slow_disk) {
                    break;
                }
            }
            let host = self.hosts.get_mut(&member).unwrap();
            let messages = host.finish(&mut self.ledger, &self.compaction);
            self.send_all(member, messages);
        }
    }

    fn send_all(&mut self, from: RaftId, messages: Vec<Outgoing>) {
        for outgoing in messages {
            match outgoing {
                Outgoing::Message { to, bytes, .. } => self.send(from, to, Packet::Message(bytes)),
                Outgoing::Snapshot { to, bytes, manifest } => {
                    let checkpoint = self.hosts[&from].disk.checkpoint.as_ref().unwrap();
                    if checkpoint.0 == manifest {
                        let machine = Box::new(checkpoint.1.clone());
                        self.send(from, to, Packet::Snapshot(bytes, machine));
                    } else {
                        self.send(to, from, Packet::Report(SnapshotReport::Failed));
                    }
                }
            }
        }
    }

    fn send(&mut self, from: RaftId, to: RaftId, packet: Packet) {
        if self.blocked.contains(&(from, to)) || self.chance(self.faults.loss) {
            return;
        }
        let copies = 1 + u64::from(self.chance(self.faults.duplicate));
        for _ in 0..copies {
            let delay = self.below(self.faults.delay_max.max(1));
            self.sequence += 1;
            self.packets.insert((self.now + delay, self.sequence), (from, to, packet.clone()));
        }
    }

    /// Proposes `count` entries to whoever believes to lead.
    pub fn propose(&mut self, count: u64) -> Option<Proposed> {
        let leader = self.leader()?;
        self.proposals += 1;
        let number = self.proposals;
        let entries = (0..count).map(|n| Bytes::from(format!("proposal {number} entry {n}")));
        let core = self.host(leader).core.as_mut().unwrap();
        match core.propose(entries.collect()) {
            Ok(proposed) => {
                self.ledger.proposed(proposed);
                self.pump(leader);
                Some(proposed)
            }
            Err(ProposeError::Busy { .. } | ProposeError::Transferring { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    /// Asks a member for a read; the ledger notes what the answer must not be older than.
    pub fn read(&mut self, member: RaftId) {
        self.reads += 1;
        let token = ReadToken(self.reads);
        if let Some(core) = &mut self.host(member).core {
            core.read_index(token).unwrap();
            self.ledger.read_started(token);
        }
    }

    /// Lets the leader make one step towards the desired members.
    pub fn reconcile(&mut self, desired: &DesiredMembers) -> Option<MembershipStep> {
        let leader = self.leader()?;
        let policy = MembershipPolicy { promote_lag_entries: 10, silent_ticks: 10 };
        let core = self.hosts.get_mut(&leader)?.core.as_mut()?;
        let step = next_step(&core.status(), desired, &policy);
        self.proposals += 1;
        let request = RequestId(self.proposals.into());
        match &step {
            MembershipStep::Propose(change) => {
                // A busy or handing-over leader refuses; the next look comes soon.
                let _ = core.propose_membership(change.clone(), request, Bytes::new());
            }
            MembershipStep::TransferLeadership { to } => {
                let _ = core.transfer_leader(*to);
            }
            _ => {}
        }
        self.pump(leader);
        Some(step)
    }

    /// The members of the group, by the word of whoever has applied the most. Others may not know
    /// yet that they have been removed.
    pub fn members(&self) -> Vec<&Host> {
        let newest = self.hosts.values().max_by_key(|host| host.machine.applied);
        let conf = &newest.expect("a net has hosts").machine.conf;
        self.hosts.values().filter(|host| conf.contains(host.id)).collect()
    }

    /// True if all members have applied the same, up to the end of the ledger.
    pub fn converged(&self) -> bool {
        let end = self.ledger.committed_end();
        self.members().iter().all(|host| host.machine.applied == end)
    }
}
