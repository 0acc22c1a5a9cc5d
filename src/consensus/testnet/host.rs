//! One member with its disk and its state machine: the shell that a core needs, in small.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use super::Ledger;
use crate::conf::ConfState;
use crate::config::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM};
use crate::log::LogView;
use crate::raft_core::{
    Committed, MembershipOutcome, Outgoing, Ready, Received, SnapshotOffer, Verdict,
};
use crate::{
    CompactionPolicy, Config, HardState, MemLog, MessageError, RaftCore, RaftId, Recovered,
    SnapshotManifest,
};

/// The applied state: where it stands, and a digest of all that led there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub applied: u64,
    pub term: u64,
    pub digest: u64,
    pub conf: ConfState,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub log: MemLog,
    pub hard: HardState,
    pub checkpoint: Option<(SnapshotManifest, Machine)>,
}

impl Disk {
    pub fn bootstrapped(id: RaftId, conf: &ConfState) -> Self {
        let machine = Machine {
            applied: BOOTSTRAP_INDEX,
            term: BOOTSTRAP_TERM,
            digest: 0,
            conf: conf.clone(),
        };
        Self {
            log: MemLog::starting_after(BOOTSTRAP_INDEX, BOOTSTRAP_TERM),
            hard: HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX },
            checkpoint: Some((manifest(id, &machine), machine)),
        }
    }
}

fn manifest(source: RaftId, machine: &Machine) -> SnapshotManifest {
    let mut checksum = [0; 32];
    checksum[..8].copy_from_slice(&machine.digest.to_be_bytes());
    SnapshotManifest {
        index: machine.applied,
        term: machine.term,
        conf: machine.conf.clone(),
        size_bytes: 8,
        checksum,
        source,
    }
}

/// A known bug to put back, so that the tests can show that they would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Confirms batches that never reach the disk.
    LyingDisk,
    /// Starts from the commit index instead of the applied one.
    AppliedFromCommit,
}

pub struct Host {
    pub id: RaftId,
    pub flaw: Option<Flaw>,
    pub core: Option<RaftCore<MemLog>>,
    pub disk: Disk,
    pub machine: Machine,
    pub pending: Option<Ready>,
    /// The state of an offered snapshot, as it arrived.
    pub inbound: Option<Machine>,
    offer: Option<SnapshotOffer>,
    /// A hard state that was written without a sync.
    unsynced_hard: Option<HardState>,
    incarnation: u64,
}

impl Host {
    pub fn new(id: RaftId, seed: u64, disk: Disk) -> Self {
        let mut host = Self {
            id,
            flaw: None,
            core: None,
            disk,
            machine: Machine::default(),
            pending: None,
            inbound: None,
            offer: None,
            unsynced_hard: None,
            incarnation: 0,
        };
        host.start(seed);
        host
    }

    pub fn start(&mut self, seed: u64) {
        self.incarnation += 1;
        let checkpoint = self.disk.checkpoint.clone();
        self.machine = checkpoint.as_ref().map_or_else(Machine::default, |(_, m)| m.clone());
        let applied = match self.flaw {
            Some(Flaw::AppliedFromCommit) => self.disk.hard.commit.max(self.machine.applied),
            _ => self.machine.applied,
        };
        let recovered = Recovered {
            hard_state: self.disk.hard,
            conf: self.machine.conf.clone(),
            applied,
            checkpoint: checkpoint.map(|(manifest, _)| manifest),
            ..Recovered::default()
        };
        let config =
            Config { snapshot_stall_ticks: 30, ..Config::new(self.id, seed, self.incarnation) };
        self.core = Some(RaftCore::new(config, recovered, self.disk.log.clone()).unwrap());
    }

    /// Loses everything that is not on the disk, among it a batch that is being written.
    pub fn crash(&mut self) {
        self.core = None;
        self.pending = None;
        self.inbound = None;
        self.offer = None;
        self.unsynced_hard = None;
    }

    fn core(&mut self) -> &mut RaftCore<MemLog> {
        self.core.as_mut().unwrap()
    }

    pub fn receive(&mut self, from: RaftId, bytes: Bytes) {
        match self.core().message(from, bytes) {
            Ok(Received::Offer(offer)) => self.offer = Some(offer),
            Ok(_) | Err(MessageError::NotMember { .. } | MessageError::Overloaded { .. }) => {}
            Err(other) => panic!("{}: {other}", self.id),
        }
        self.install();
    }

    fn install(&mut self) {
        let Some(offer) = self.offer.clone() else { return };
        if self.inbound.as_ref().map(|machine| machine.applied) != Some(offer.manifest.index) {
            self.offer = None;
            return;
        }
        match self.core().snapshot_received(&offer) {
            Ok(_) => self.offer = None,
            Err(
                MessageError::NoLeader | MessageError::Applying { .. } | MessageError::Busy { .. },
            ) => {}
            Err(other) => panic!("{}: {other}", self.id),
        }
    }

    /// Takes the next batch, and returns what may be sent before it is durable.
    pub fn begin(&mut self) -> Option<Vec<Outgoing>> {
        self.install();
        let mut ready = self.core().ready().unwrap()?;
        let messages = std::mem::take(&mut ready.messages);
        self.pending = Some(ready);
        Some(messages)
    }

    /// Makes the batch durable, applies what is committed, and returns what may be sent then.
    pub fn finish(&mut self, ledger: &mut Ledger, policy: &CompactionPolicy) -> Vec<Outgoing> {
        let Ready { number, batch, .. } = self.pending.take().unwrap();
        if let Some(manifest) = &batch.snapshot {
            let machine = self.inbound.take().expect("the state arrived before its offer");
            assert_eq!(machine.applied, manifest.index);
            self.disk.log.reset(manifest.index, manifest.term);
            self.core().log_mut().reset(manifest.index, manifest.term);
            let own = SnapshotManifest { source: self.id, ..manifest.clone() };
            self.disk.checkpoint = Some((own, machine));
        }
        self.core().log_mut().append(&batch.entries).unwrap();
        ledger.persisted(self.core().log(), &batch.entries);
        let lies = self.flaw == Some(Flaw::LyingDisk) && batch.snapshot.is_none();
        if !lies {
            self.disk.log.append(&batch.entries).unwrap();
        }
        self.unsynced_hard = batch.hard_state.or(self.unsynced_hard);
        if batch.must_sync && !lies {
            self.disk.hard = self.unsynced_hard.take().unwrap_or(self.disk.hard);
        }
        let after = self.core().persisted(number).unwrap();
        for rejected in &after.rejected {
            assert!(matches!(rejected, MessageError::NotMember { .. }), "{}: {rejected}", self.id);
        }
        self.offer = after.offers.into_iter().last().or(self.offer.take());
        if let Some(restored) = after.restored {
            let (manifest, machine) = self.disk.checkpoint.clone().unwrap();
            assert_eq!((manifest.index, manifest.source), (restored.index, self.id));
            self.machine = machine;
            ledger.snapshots_installed += 1;
        }
        ledger.granted(&after.reads, self.machine.applied);
        self.apply(&after.committed, ledger);
        self.checkpoint(policy);
        after.messages
    }

    fn apply(&mut self, committed: &[Committed], ledger: &mut Ledger) {
        for entry in committed {
            assert_eq!(entry.index(), self.machine.applied + 1, "{} skipped an entry", self.id);
            if let Committed::Membership { index, context, .. } = entry {
                let reject = &context[..] == b"reject";
                let verdict = if reject { Verdict::Reject } else { Verdict::Accept };
                let outcome = self.core().apply_membership(*index, verdict).unwrap();
                if let MembershipOutcome::Changed(conf) = outcome {
                    self.machine.conf = conf;
                    ledger.memberships_applied += 1;
                }
            }
            let mut hasher = DefaultHasher::new();
            (self.machine.digest, ledger.applied(entry)).hash(&mut hasher);
            self.machine.digest = hasher.finish();
            self.machine.applied = entry.index();
            self.machine.term = match entry {
                Committed::Entry { term, .. }
                | Committed::Membership { term, .. }
                | Committed::Empty { term, .. } => *term,
            };
        }
        let applied = self.machine.applied;
        let grants = self.core().applied(applied).unwrap();
        ledger.granted(&grants, applied);
    }

    fn checkpoint(&mut self, policy: &CompactionPolicy) {
        let own = self.id;
        let core = self.core.as_mut().unwrap();
        let status = core.status();
        let last = self.disk.checkpoint.as_ref().map_or(0, |(manifest, _)| manifest.index);
        let wanted = core.checkpoint_wanted().is_some_and(|index| index <= status.applied);
        if (wanted || policy.checkpoint_due(&status, last)) && status.applied > last {
            let manifest = manifest(own, &self.machine);
            core.checkpoint_written(manifest.clone()).unwrap();
            self.disk.checkpoint = Some((manifest, self.machine.clone()));
        }
        let checkpoint = self.disk.checkpoint.as_ref().map_or(0, |(manifest, _)| manifest.index);
        if let Some(index) = policy.compact_to(&status, checkpoint) {
            core.log_mut().compact(index).unwrap();
            self.disk.log.compact(index).unwrap();
            assert!(core.log().first_index() <= status.applied + 1);
        }
    }
}
