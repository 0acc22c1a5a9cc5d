//! Faults as data: a schedule drawn from the seed before the run begins, printed with its verdict.
//!
//! Every seed has its own mix of kinds (swarm testing: Groce et al., ISSTA 2012), since a run with all kinds
//! at once hides what two of them do together. Every fault that lasts has its end in the schedule.

use std::collections::BTreeMap;
use std::fmt;

use ipfs_kit_actors::ports::WorkLane;
use ipfs_kit_actors::supervision::Injection;

use crate::cluster::Cluster;
use crate::rng::Rng;
use crate::world::HostId;
use crate::world::net::{Outage, Weather};

/// Pause between two faults, in milliseconds.
const GAP_MIN_MS: u64 = 300;
const GAP_MAX_MS: u64 = 9_000;
/// How long a fault lasts, in milliseconds: from a blink to well beyond every lease.
const LAST_MIN_MS: u64 = 200;
const LAST_MAX_MS: u64 = 40_000;
/// Largest error of a wall clock, in milliseconds.
const CLOCK_OFFSET_MAX_MS: u64 = 120_000;
/// Largest drift of a wall clock, in parts per million; a bad crystal has 100.
const CLOCK_DRIFT_MAX_PPM: u64 = 2_000;

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A machine's node ends without a word.
    Crash {
        /// Which.
        host: HostId,
        /// With or without the machine's power.
        outage: Outage,
    },
    /// A machine's node starts again, if it is down.
    Restart {
        /// Which.
        host: HostId,
    },
    /// Machines are cut off from all others.
    Partition {
        /// Those on one side.
        side: Vec<HostId>,
        /// Which directions are cut.
        cut: Cut,
    },
    /// All partitions end.
    Heal,
    /// The whole network's delays and losses change.
    Weather(Weather),
    /// A machine's connections break.
    Disconnect {
        /// Which.
        host: HostId,
    },
    /// A machine's network fails; its node has to start another.
    NetworkFails {
        /// Which.
        host: HostId,
    },
    /// A child of a node's supervision tree panics or is dropped; its supervisor has to bring it back.
    ChildFails {
        /// On which machine.
        host: HostId,
        /// Which of those that run, counted in path order and around.
        nth: usize,
        /// How.
        how: ChildFailure,
    },
    /// The next sync of a machine's disk fails; its node must stop, and trust nothing since the one before.
    SyncFails {
        /// Which.
        host: HostId,
    },
    /// Everything to and from a machine takes this many times as long.
    SlowHost {
        /// Which.
        host: HostId,
        /// How many times; 1 is normal.
        factor: u64,
    },
    /// Writes of the Raft log take up to this long.
    SlowLog {
        /// Which.
        host: HostId,
        /// In milliseconds; 1 is normal.
        longest_ms: u64,
    },
    /// A wall clock is set wrong.
    ClockOffset {
        /// Whose.
        host: HostId,
        /// In milliseconds; 0 is right.
        offset_ms: i64,
    },
    /// A wall clock runs at a wrong speed.
    ClockDrift {
        /// Whose.
        host: HostId,
        /// In parts per million; 0 is right.
        drift_ppm: i64,
    },
}

/// How a child of a supervision tree fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildFailure {
    /// It panics: an actor is revived in place.
    Panic,
    /// It is dropped without a word: an actor is made anew.
    Kill,
}

/// Which directions a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both.
    Both,
    /// What the side says.
    FromSide,
    /// What the side hears.
    ToSide,
}

/// Kinds of faults that a seed's mix has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One node ends and starts again.
    Crash,
    /// Several nodes end at once, the majority of the masters included, and start again.
    CrashMany,
    /// Two sides.
    Partition,
    /// Loss.
    Loss,
    /// Long and uneven delays.
    Delay,
    /// Gossip gets lost or comes twice.
    Gossip,
    /// Broken connections.
    Disconnect,
    /// A node's network component fails.
    NetworkFails,
    /// A child of a supervision tree fails.
    ChildFails,
    /// A disk fails to sync.
    SyncFails,
    /// A slow machine.
    SlowHost,
    /// A slow disk under the Raft log.
    SlowLog,
    /// Wrong wall clocks.
    Clock,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Crash,
        Self::CrashMany,
        Self::Partition,
        Self::Loss,
        Self::Delay,
        Self::Gossip,
        Self::Disconnect,
        Self::NetworkFails,
        Self::ChildFails,
        Self::SyncFails,
        Self::SlowHost,
        Self::SlowLog,
        Self::Clock,
    ];

    /// How often a mix has it, in a thousand.
    fn likelihood_per_mille(self) -> u32 {
        match self {
            Self::Crash | Self::Partition => 700,
            Self::Loss | Self::Delay | Self::Gossip | Self::Disconnect => 500,
            Self::NetworkFails | Self::ChildFails => 300,
            Self::SlowHost | Self::SlowLog | Self::Clock => 300,
            Self::CrashMany | Self::SyncFails => 250,
        }
    }
}

/// The machines as faults see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Those whose majority decides.
    pub masters: Vec<HostId>,
    /// All others.
    pub others: Vec<HostId>,
}

impl Shape {
    fn all(&self) -> Vec<HostId> {
        self.masters.iter().chain(&self.others).copied().collect()
    }
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Virtual milliseconds since the run began.
    pub at_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// Everything that will go wrong in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The kinds that this seed has.
    pub mix: Vec<Kind>,
    /// What happens, in order of time.
    pub faults: Vec<Planned>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mix: {:?}", self.mix)?;
        for Planned { at_ms, fault } in &self.faults {
            writeln!(f, "{:>7}.{:03} {fault:?}", at_ms / 1000, at_ms % 1000)?;
        }
        Ok(())
    }
}

impl Schedule {
    /// Draws a schedule for the time between two moments of a run.
    #[must_use]
    pub fn draw(seed: u64, shape: &Shape, from_ms: u64, until_ms: u64) -> Self {
        let mut rng = Rng::new(seed, "faults");
        let mix: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| rng.chance(kind.likelihood_per_mille())).collect();
        let mut drawing =
            Drawing { rng, shape, until_ms, busy_until_ms: BTreeMap::new(), faults: Vec::new() };
        let mut at_ms = from_ms;
        loop {
            at_ms += drawing.rng.within(GAP_MIN_MS..=GAP_MAX_MS);
            let Some(kind) = drawing.rng.pick(&mix).copied() else { break };
            if at_ms >= until_ms {
                break;
            }
            drawing.draw(kind, at_ms);
        }
        let mut faults = drawing.faults;
        // Stable: what was drawn first comes first within one millisecond.
        faults.sort_by_key(|planned| planned.at_ms);
        Self { mix, faults }
    }
}

struct Drawing<'a> {
    rng: Rng,
    shape: &'a Shape,
    until_ms: u64,
    /// Until when a machine is down: it is not crashed twice.
    busy_until_ms: BTreeMap<HostId, u64>,
    faults: Vec<Planned>,
}

impl Drawing<'_> {
    fn draw(&mut self, kind: Kind, at_ms: u64) {
        match kind {
            Kind::Crash => self.crash_one(at_ms),
            Kind::CrashMany => self.crash_many(at_ms),
            Kind::Partition => self.partition(at_ms),
            Kind::Loss | Kind::Delay | Kind::Gossip => self.weather(kind, at_ms),
            Kind::Disconnect => {
                if let Some(host) = self.any_host() {
                    self.plan(at_ms, Fault::Disconnect { host });
                }
            }
            Kind::NetworkFails => {
                if let Some(host) = self.any_host() {
                    self.plan(at_ms, Fault::NetworkFails { host });
                }
            }
            Kind::ChildFails => {
                let nth = self.rng.within(0..=99) as usize;
                let panics = self.rng.chance(500);
                let how = if panics { ChildFailure::Panic } else { ChildFailure::Kill };
                if let Some(host) = self.any_host() {
                    self.plan(at_ms, Fault::ChildFails { host, nth, how });
                }
            }
            Kind::SyncFails => {
                if let Some(host) = self.any_host() {
                    self.plan(at_ms, Fault::SyncFails { host });
                }
            }
            Kind::SlowHost => {
                let factor = self.rng.within(5..=100);
                if let Some(host) = self.any_host() {
                    let end = Fault::SlowHost { host, factor: 1 };
                    self.lasting(at_ms, Fault::SlowHost { host, factor }, end);
                }
            }
            Kind::SlowLog => {
                let longest_ms = self.rng.within(20..=400);
                if let Some(host) = self.rng.pick(&self.shape.masters).copied() {
                    let end = Fault::SlowLog { host, longest_ms: 1 };
                    self.lasting(at_ms, Fault::SlowLog { host, longest_ms }, end);
                }
            }
            Kind::Clock => self.clock(at_ms),
        }
    }

    fn plan(&mut self, at_ms: u64, fault: Fault) {
        self.faults.push(Planned { at_ms, fault });
    }

    fn lasting(&mut self, at_ms: u64, fault: Fault, end: Fault) {
        let end_ms = self.end_ms(at_ms);
        self.plan(at_ms, fault);
        self.plan(end_ms, end);
    }

    /// Short ones are more likely than long ones.
    fn end_ms(&mut self, at_ms: u64) -> u64 {
        let longest_ms = self.rng.within(LAST_MIN_MS..=LAST_MAX_MS);
        (at_ms + self.rng.within(LAST_MIN_MS..=longest_ms)).min(self.until_ms)
    }

    fn any_host(&mut self) -> Option<HostId> {
        self.rng.pick(&self.shape.all()).copied()
    }

    fn outage(&mut self) -> Outage {
        if self.rng.chance(500) { Outage::Power } else { Outage::Process }
    }

    fn is_up(&self, host: HostId, at_ms: u64) -> bool {
        self.busy_until_ms.get(&host).is_none_or(|until_ms| *until_ms < at_ms)
    }

    fn crash(&mut self, host: HostId, at_ms: u64, end_ms: u64) {
        let outage = self.outage();
        self.busy_until_ms.insert(host, end_ms);
        self.plan(at_ms, Fault::Crash { host, outage });
        self.plan(end_ms, Fault::Restart { host });
    }

    /// One node, and never so that the masters lose their majority by single crashes alone.
    fn crash_one(&mut self, at_ms: u64) {
        let masters = &self.shape.masters;
        let masters_down = masters.iter().filter(|host| !self.is_up(**host, at_ms)).count();
        let spare = masters.len().saturating_sub(1) / 2;
        let candidates: Vec<HostId> = self
            .shape
            .all()
            .into_iter()
            .filter(|host| self.is_up(*host, at_ms))
            .filter(|host| !masters.contains(host) || masters_down < spare)
            .collect();
        if let Some(host) = self.rng.pick(&candidates).copied() {
            let end_ms = self.end_ms(at_ms);
            self.crash(host, at_ms, end_ms);
        }
    }

    /// Any number of nodes at once, back one after the other.
    fn crash_many(&mut self, at_ms: u64) {
        let mut hosts = self.shape.all();
        self.rng.shuffle(&mut hosts);
        let count = self.rng.within(2..=hosts.len().max(2) as u64) as usize;
        for host in hosts.into_iter().take(count) {
            if self.is_up(host, at_ms) {
                let end_ms = self.end_ms(at_ms);
                self.crash(host, at_ms, end_ms);
            }
        }
    }

    fn partition(&mut self, at_ms: u64) {
        let mut hosts = self.shape.all();
        self.rng.shuffle(&mut hosts);
        let count = self.rng.within(1..=(hosts.len() as u64 / 2).max(1)) as usize;
        hosts.truncate(count);
        hosts.sort_unstable();
        let cut = self.rng.pick(&[Cut::Both, Cut::Both, Cut::FromSide, Cut::ToSide]).copied();
        let cut = cut.unwrap_or(Cut::Both);
        self.lasting(at_ms, Fault::Partition { side: hosts, cut }, Fault::Heal);
    }

    fn weather(&mut self, kind: Kind, at_ms: u64) {
        let mut weather = Weather::fair();
        match kind {
            Kind::Loss => {
                weather.loss_per_mille = self.rng.within(1..=300) as u32;
                weather.cut_per_mille = self.rng.within(0..=5) as u32;
            }
            Kind::Delay => {
                weather.delay_max_ms = self.rng.within(5..=200);
                weather.spike_per_mille = self.rng.within(0..=100) as u32;
                weather.spike_max_ms = self.rng.within(100..=3_000);
            }
            _ => {
                let total = self.rng.chance(300);
                weather.gossip_loss_per_mille =
                    if total { 1_000 } else { self.rng.within(50..=900) as u32 };
                weather.gossip_duplicate_per_mille = self.rng.within(0..=500) as u32;
            }
        }
        self.lasting(at_ms, Fault::Weather(weather), Fault::Weather(Weather::fair()));
    }

    fn clock(&mut self, at_ms: u64) {
        let Some(host) = self.any_host() else { return };
        let signed = |amount: u64, negative: bool| {
            let amount = i64::try_from(amount).unwrap_or(i64::MAX);
            if negative { -amount } else { amount }
        };
        let negative = self.rng.chance(500);
        if self.rng.chance(500) {
            let offset_ms = signed(self.rng.within(1..=CLOCK_OFFSET_MAX_MS), negative);
            let end = Fault::ClockOffset { host, offset_ms: 0 };
            self.lasting(at_ms, Fault::ClockOffset { host, offset_ms }, end);
        } else {
            let drift_ppm = signed(self.rng.within(1..=CLOCK_DRIFT_MAX_PPM), negative);
            let end = Fault::ClockDrift { host, drift_ppm: 0 };
            self.lasting(at_ms, Fault::ClockDrift { host, drift_ppm }, end);
        }
    }
}

/// Carries out a fault that is no crash and no restart.
pub fn disturb(cluster: &Cluster, fault: &Fault) {
    let world = &cluster.world;
    match fault {
        Fault::Crash { .. } | Fault::Restart { .. } => {}
        Fault::Partition { side, cut } => {
            let (ins, outs): (Vec<HostId>, Vec<HostId>) =
                world.hosts().iter().map(|host| host.id).partition(|host| side.contains(host));
            for &inside in &ins {
                for &outside in &outs {
                    if *cut != Cut::ToSide {
                        world.net.block(inside, outside);
                    }
                    if *cut != Cut::FromSide {
                        world.net.block(outside, inside);
                    }
                }
            }
        }
        Fault::Heal => world.net.heal(),
        Fault::Weather(weather) => world.net.set_weather(weather.clone()),
        Fault::Disconnect { host } => world.net.cut(*host),
        Fault::NetworkFails { host } => world.net.fail_run(*host),
        Fault::ChildFails { host, nth, how } => fail_child(cluster, *host, *nth, *how),
        Fault::SyncFails { host } => world.host(*host).disk.sim().fail_sync_after(0),
        Fault::SlowHost { host, factor } => world.net.set_slowness(*host, *factor),
        Fault::SlowLog { host, longest_ms } => {
            world.host(*host).executor.set_longest_ms(WorkLane::Log, *longest_ms);
        }
        Fault::ClockOffset { host, offset_ms } => {
            world.host(*host).clock.set_offset_ms(*offset_ms);
        }
        Fault::ClockDrift { host, drift_ppm } => world.host(*host).clock.set_drift_ppm(*drift_ppm),
    }
}

fn fail_child(cluster: &Cluster, host: HostId, nth: usize, how: ChildFailure) {
    let Some(handle) = cluster.machine(host).handle() else { return };
    let alive = handle.tree().alive();
    let Some(path) = alive.get(nth % alive.len().max(1)) else { return };
    cluster.world.trace.event(format_args!("fault {host}{path}: {how:?}"));
    let injection = match how {
        ChildFailure::Panic => Injection::Panic,
        ChildFailure::Kill => Injection::Kill,
    };
    // One that ends at this moment can't be hit; the schedule goes on.
    let _ = handle.tree().inject(path, injection);
}

#[cfg(test)]
mod tests;
