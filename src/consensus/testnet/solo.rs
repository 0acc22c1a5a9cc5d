//! One core driven by hand, with the messages of its peers made up.

use bytes::Bytes;
use raft::eraftpb as pb;
use raft::eraftpb::MessageType;

use super::id;
use crate::conf::ConfState;
use crate::log::{EntryKind, LogEntry};
use crate::raft_core::{AfterPersist, Batch, Committed, Outgoing, Ready, Received, Verdict};
use crate::{
    Config, HardState, LogView, MemLog, MessageError, MessageKind, RaftCore, RaftId, Recovered,
    SnapshotManifest, wire,
};

/// Member 1 of a group.
pub struct Solo {
    pub core: RaftCore<MemLog>,
}

impl Solo {
    /// A member of a group with these voters and learners that has just started.
    pub fn new(voters: &[u64], learners: &[u64]) -> Self {
        let conf = ConfState {
            voters: super::ids(voters),
            learners: super::ids(learners),
            ..ConfState::default()
        };
        Self::with(config(), Recovered { conf, ..Recovered::first_member(id(1)) }, empty_log())
    }

    pub fn with(config: Config, recovered: Recovered, log: MemLog) -> Self {
        Self { core: RaftCore::new(config, recovered, log).unwrap() }
    }

    /// The only voter, elected, with its first entry applied.
    pub fn leading_alone(learners: &[u64]) -> Self {
        let mut solo = Self::new(&[1], learners);
        solo.core.campaign().unwrap();
        solo.rest();
        assert!(solo.core.status().is_leader());
        solo
    }

    /// Elected by member 2, with the first entry committed by it and applied.
    pub fn leading(voters: &[u64]) -> Self {
        let mut solo = Self::new(voters, &[]);
        solo.core.campaign().unwrap();
        solo.rest();
        solo.receive(2, vote(MessageType::MsgRequestPreVoteResponse, 2)).unwrap();
        solo.rest();
        solo.receive(2, vote(MessageType::MsgRequestVoteResponse, 2)).unwrap();
        solo.rest();
        assert!(solo.core.status().is_leader());
        solo.acknowledge(2);
        solo
    }

    /// A follower of member 2 in term 2 that has taken in these entries from index 2 on.
    pub fn following(entries: &[(u64, &'static str)]) -> Self {
        let mut solo = Self::new(&[1, 2, 3], &[]);
        solo.receive(2, append(2, 1, 1, 1, entries)).unwrap();
        solo.rest();
        solo
    }

    /// Member 2 acknowledges all entries.
    pub fn acknowledge(&mut self, from: u64) {
        let status = self.core.status();
        let mut ack = message(MessageType::MsgAppendResponse, status.term);
        ack.index = status.last;
        self.receive(from, ack).unwrap();
        self.rest();
    }

    pub fn receive(
        &mut self,
        from: u64,
        mut message: pb::Message,
    ) -> Result<Received, MessageError> {
        (message.from, message.to) = (from, 1);
        self.core.message(id(from), wire::encode(&message).unwrap().1)
    }

    pub fn ready(&mut self) -> Ready {
        self.core.ready().unwrap().expect("a batch")
    }

    /// Writes a batch and confirms it.
    pub fn persist(&mut self, ready: &Ready) -> AfterPersist {
        self.write(&ready.batch);
        self.core.persisted(ready.number).unwrap()
    }

    pub fn write(&mut self, batch: &Batch) {
        if let Some(manifest) = &batch.snapshot {
            self.core.log_mut().reset(manifest.index, manifest.term);
        }
        self.core.log_mut().append(&batch.entries).unwrap();
    }

    /// Runs the cycle until nothing is left to do; returns all that was sent.
    pub fn rest(&mut self) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        while let Some(ready) = self.core.ready().unwrap() {
            sent.extend(ready.messages.iter().cloned());
            let after = self.persist(&ready);
            sent.extend(after.messages);
            for entry in &after.committed {
                if let Committed::Membership { index, .. } = entry {
                    self.core.apply_membership(*index, Verdict::Accept).unwrap();
                }
                self.core.applied(entry.index()).unwrap();
            }
        }
        sent
    }

    /// Starts again from what is on the disk.
    pub fn restart(self, hard_state: HardState, applied: u64) -> Self {
        let conf = self.core.status().conf;
        let recovered = Recovered { hard_state, conf, applied, ..Recovered::default() };
        Self::with(config(), recovered, self.core.log().clone())
    }
}

pub fn config() -> Config {
    Config::new(id(1), 0, 1)
}

pub fn empty_log() -> MemLog {
    MemLog::starting_after(1, 1)
}

pub fn data(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub fn message(kind: MessageType, term: u64) -> pb::Message {
    let mut message = pb::Message::default();
    message.set_msg_type(kind);
    message.term = term;
    message
}

pub fn vote(kind: MessageType, term: u64) -> pb::Message {
    message(kind, term)
}

/// An append of a leader in `term`, after the entry at `index`.
pub fn append(
    term: u64,
    index: u64,
    log_term: u64,
    commit: u64,
    entries: &[(u64, &'static str)],
) -> pb::Message {
    let mut append = message(MessageType::MsgAppend, term);
    append.index = index;
    append.log_term = log_term;
    append.commit = commit;
    let to_raft = |(at, (term, text)): (usize, &(u64, &'static str))| {
        let index = index + 1 + at as u64;
        let entry = LogEntry { index, term: *term, kind: EntryKind::Normal, data: data(text) };
        entry.into_raft().unwrap()
    };
    let entries: Vec<_> = entries.iter().enumerate().map(to_raft).collect();
    append.set_entries(entries.into());
    append
}

pub fn offer(term: u64, manifest: &SnapshotManifest) -> pb::Message {
    let mut offer = message(MessageType::MsgSnapshot, term);
    offer.set_snapshot(manifest.to_raft());
    offer
}

pub fn manifest(index: u64, term: u64, members: &[u64], source: u64) -> SnapshotManifest {
    let conf = ConfState { voters: super::ids(members), ..ConfState::default() };
    let (size_bytes, checksum) = (9, [7; 32]);
    SnapshotManifest { index, term, conf, size_bytes, checksum, source: id(source) }
}

/// The receivers and kinds of what was sent.
pub fn kinds(sent: &[Outgoing]) -> Vec<(RaftId, MessageKind)> {
    let kind = |outgoing: &Outgoing| match outgoing {
        Outgoing::Message { to, kind, .. } => (*to, *kind),
        Outgoing::Snapshot { to, .. } => (*to, MessageKind::Snapshot),
    };
    sent.iter().map(kind).collect()
}

/// The terms and indexes of a log.
pub fn terms(log: &MemLog) -> Vec<(u64, u64)> {
    let entries = log.entries(log.first_index(), log.last_index() + 1, u64::MAX).unwrap();
    entries.iter().map(|entry| (entry.index, entry.term)).collect()
}
