//! Tests of one core by itself: ticks, reads, reports, and a log that fails.

use super::*;
use crate::log::{LogEntry, LogError};
use crate::testnet::id;
use crate::testnet::solo::{Solo, config, data, empty_log, kinds, manifest, message};
use crate::wire::MessageKind;
use crate::{MemLog, MessageError, ReadToken, TransferError};
use raft::eraftpb::MessageType;
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn late_ticks_coalesce_into_one() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    solo.receive(2, crate::testnet::solo::append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    let ready = solo.ready();
    for _ in 0..100 {
        solo.core.tick().unwrap();
    }
    solo.persist(&ready);
    assert_eq!(solo.core.now_tick, 1);
    assert_eq!(solo.core.status().role, Role::Follower);
}

#[test]
fn an_election_waits_until_the_log_is_persisted() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    solo.receive(2, crate::testnet::solo::append(2, 1, 1, 1, &[(2, "a")])).unwrap();
    solo.core.campaign().unwrap();
    solo.core.tick().unwrap();
    assert_eq!((solo.core.status().role, solo.core.now_tick), (Role::Follower, 0));
    solo.rest();
    solo.core.campaign().unwrap();
    assert_eq!(solo.core.status().role, Role::PreCandidate);
}

#[test]
fn pitfall_22_a_read_waits_for_the_applied_state() {
    let mut solo = Solo::leading_alone(&[]);
    solo.core.propose(vec![data("a")]).unwrap();
    let ready = solo.ready();
    let after = solo.persist(&ready);
    solo.core.read_index(ReadToken(5)).unwrap();
    let ready = solo.ready();
    assert!(solo.persist(&ready).reads.is_empty());
    let index = after.committed[0].index();
    let grants = solo.core.applied(index).unwrap();
    assert_eq!(grants, [crate::ReadGrant { token: ReadToken(5), index }]);
}

#[test]
fn pitfall_21_reads_start_when_there_is_a_leader_that_can_answer() {
    let mut solo = Solo::new(&[1], &[]);
    solo.core.read_index(ReadToken(1)).unwrap();
    assert!(solo.core.ready().unwrap().is_none());
    solo.core.campaign().unwrap();
    let ready = solo.ready();
    let after = solo.persist(&ready);
    assert!(after.reads.is_empty());
    solo.core.applied(after.committed[0].index()).unwrap();
    let ready = solo.ready();
    assert_eq!(solo.persist(&ready).reads.len(), 1);
}

#[test]
fn reads_are_bounded() {
    let config = Config { reads_max: 1, ..config() };
    let mut solo = Solo::with(config, Recovered::first_member(id(1)), empty_log());
    solo.core.read_index(ReadToken(1)).unwrap();
    assert_eq!(solo.core.read_index(ReadToken(2)), Err(TooManyReads { waiting: 1 }));
    solo.core.cancel_read(ReadToken(1));
    solo.core.read_index(ReadToken(2)).unwrap();
}

#[test]
fn one_read_round_serves_all_that_came_before_it() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    for token in 0..50 {
        solo.core.read_index(ReadToken(token)).unwrap();
    }
    let sent = solo.rest();
    let beats = [id(2), id(3)].map(|to| (to, MessageKind::Heartbeat));
    assert_eq!(kinds(&sent), beats);
    solo.core.read_index(ReadToken(50)).unwrap();
    assert!(solo.rest().is_empty(), "one round at a time");
    let context = solo.core.node.raft.read_only.last_pending_request_ctx().unwrap();
    let mut ack = message(MessageType::MsgHeartbeatResponse, 2);
    ack.context = context.into();
    solo.receive(2, ack).unwrap();
    let ready = solo.ready();
    assert_eq!(solo.persist(&ready).reads.len(), 50);
}

/// A leader that has offered member 2 a snapshot, after finding that its first checkpoint is older
/// than that member.
fn offering() -> Solo {
    let mut solo = Solo::leading_alone(&[]);
    solo.core.checkpoint_written(manifest(2, 2, &[1], 1)).unwrap();
    let change =
        crate::MembershipChange::Simple { member: id(2), role: crate::MemberRole::Learner };
    solo.core.propose_membership(change, crate::RequestId(1), Bytes::new()).unwrap();
    assert!(solo.rest().iter().all(|sent| matches!(sent, Outgoing::Message { .. })));
    let mut reject = message(MessageType::MsgAppendResponse, 2);
    (reject.index, reject.reject) = (2, true);
    solo.receive(2, reject).unwrap();
    assert!(solo.rest().is_empty());
    assert_eq!(solo.core.checkpoint_wanted(), Some(3));
    let mut newer = manifest(3, 2, &[1], 1);
    newer.conf.learners.insert(id(2));
    solo.core.checkpoint_written(newer).unwrap();
    assert_eq!(solo.core.checkpoint_wanted(), None);
    solo.receive(2, message(MessageType::MsgHeartbeatResponse, 2)).unwrap();
    assert_eq!(kinds(&solo.rest()), [(id(2), MessageKind::Snapshot)]);
    solo
}

#[test]
fn pitfall_12_a_checkpoint_from_before_the_member_joined_is_not_offered() {
    let solo = offering();
    assert_eq!(solo.core.status().snapshots, BTreeMap::from([(id(2), 3)]));
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Snapshot);
}

#[test]
fn pitfall_15_a_transfer_of_which_nobody_reports_ends_by_itself() {
    let mut solo = offering();
    for _ in 0..solo.core.config.snapshot_stall_ticks {
        solo.core.tick().unwrap();
        solo.rest();
    }
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Probe);
    assert!(solo.core.status().snapshots.is_empty());
}

#[test]
fn the_end_of_a_transfer_is_not_lost_while_a_batch_is_out() {
    let mut solo = offering();
    solo.core.propose(vec![data("a")]).unwrap();
    let ready = solo.ready();
    solo.core.report_snapshot(id(2), SnapshotReport::Failed).unwrap();
    solo.core.report_snapshot(id(2), SnapshotReport::Progress).unwrap();
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Snapshot);
    solo.persist(&ready);
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Probe);
}

#[test]
fn an_unreachable_member_is_probed_again() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Replicate);
    solo.core.propose(vec![data("a")]).unwrap();
    let ready = solo.ready();
    solo.core.report_unreachable(id(2)).unwrap();
    solo.core.report_unreachable(id(9)).unwrap();
    solo.persist(&ready);
    assert_eq!(solo.core.status().peers[&id(2)].state, PeerState::Probe);
}

#[test]
fn a_checkpoint_of_others_or_of_the_future_is_refused() {
    let mut solo = Solo::leading_alone(&[]);
    let refused = |result| matches!(result, Err(CycleError::BadCheckpoint { .. }));
    assert!(refused(solo.core.checkpoint_written(manifest(2, 2, &[1], 2))));
    assert!(refused(solo.core.checkpoint_written(manifest(3, 2, &[1], 1))));
}

#[test]
fn pitfall_19_proposals_are_refused_during_a_transfer() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    assert!(matches!(
        solo.core.transfer_leader(id(9)),
        Err(TransferError::NotVoter { to }) if to == id(9)
    ));
    solo.core.transfer_leader(id(2)).unwrap();
    let refused = solo.core.propose(vec![data("a")]);
    assert!(matches!(refused, Err(crate::ProposeError::Transferring { to }) if to == id(2)));
    assert_eq!(kinds(&solo.rest()), [(id(2), MessageKind::TimeoutNow)]);
}

#[test]
fn a_suspect_member_neither_campaigns_nor_votes_until_its_tail_is_verified() {
    let conf = ConfState { voters: crate::testnet::ids(&[1, 2, 3]), ..ConfState::default() };
    let tail = LogTail::Suspect;
    let recovered = Recovered { conf, tail, ..Recovered::first_member(id(1)) };
    let mut solo = Solo::with(config(), recovered, empty_log());
    let mut ask = message(MessageType::MsgRequestVote, 5);
    (ask.index, ask.log_term) = (9, 4);
    for _ in 0..100 {
        solo.core.tick().unwrap();
    }
    solo.core.campaign().unwrap();
    assert_eq!(solo.receive(2, ask.clone()).unwrap(), Received::Ignored);
    assert!(solo.rest().is_empty());
    // The leader knows entries to be held here that are gone: no reason to panic, catch up.
    let mut beat = message(MessageType::MsgHeartbeat, 2);
    beat.commit = 8;
    assert_eq!(solo.receive(2, beat).unwrap(), Received::Stepped);
    assert_eq!(solo.core.status().commit, 1);
    assert!(solo.core.status().tail_suspect);
    solo.rest();
    solo.core.tail_verified();
    for _ in 0..10 {
        solo.core.tick().unwrap();
    }
    assert_eq!(solo.receive(2, ask).unwrap(), Received::Stepped);
    assert_eq!(kinds(&solo.rest()).last().unwrap().1, MessageKind::RequestVoteResponse);
}

/// A log that stops working.
#[derive(Clone)]
struct FailingLog {
    log: MemLog,
    broken: Rc<Cell<bool>>,
}

impl LogView for FailingLog {
    fn first_index(&self) -> u64 {
        self.log.first_index()
    }
    fn last_index(&self) -> u64 {
        self.log.last_index()
    }
    fn term(&self, index: u64) -> Result<u64, LogError> {
        self.check(index)?;
        self.log.term(index)
    }
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, LogError> {
        self.check(low)?;
        self.log.entries(low, high, max_bytes)
    }
}

impl FailingLog {
    fn check(&self, index: u64) -> Result<(), LogError> {
        match self.broken.get() {
            true => Err(LogError::Read { index, source: "the disk is gone".into() }),
            false => Ok(()),
        }
    }
}

#[test]
fn a_log_that_can_not_be_read_stops_the_core_without_a_panic() {
    let broken = Rc::new(Cell::new(false));
    let log = FailingLog { log: empty_log(), broken: broken.clone() };
    let mut core = RaftCore::new(config(), Recovered::first_member(id(1)), log).unwrap();
    broken.set(true);
    let mut failure = None;
    for _ in 0..100 {
        if let Err(CoreFailure::Log { source }) = core.tick() {
            failure = Some(source);
            break;
        }
        // An election reads the log at the latest when the term of its last entry is needed.
        if let Err(CycleError::Failed(CoreFailure::Log { source })) = core.ready() {
            failure = Some(source);
            break;
        }
        if core.status().is_leader() {
            break;
        }
    }
    assert!(matches!(failure, Some(LogError::Read { .. })));
    assert!(matches!(core.tick(), Err(CoreFailure::Stopped)));
    assert!(matches!(core.ready(), Err(CycleError::Failed(CoreFailure::Stopped))));
    let refused = core.message(id(2), Bytes::new());
    assert!(matches!(refused, Err(MessageError::Failed(CoreFailure::Stopped))));
}
