//! Tests of the settings and of what a member may start from.

use super::*;
use crate::log::LogView;
use crate::testnet::id;
use crate::testnet::solo::{config, empty_log, manifest};
use crate::{EntryKind, LogEntry, MemLog, RaftCore};
use bytes::Bytes;

fn log(end: u64, term: u64) -> MemLog {
    let mut log = empty_log();
    for index in 2..=end {
        let data = Bytes::from_static(b"x");
        log.append(&[LogEntry { index, term, kind: EntryKind::Normal, data }]).unwrap();
    }
    log
}

fn start(recovered: Recovered, log: MemLog) -> Result<RaftCore<MemLog>, RecoverError> {
    RaftCore::new(config(), recovered, log)
}

fn member(term: u64, commit: u64, applied: u64) -> Recovered {
    let hard_state = HardState { term, vote: 0, commit };
    Recovered { hard_state, applied, ..Recovered::first_member(id(1)) }
}

#[test]
fn pitfalls_13_20_and_23_the_dangerous_settings_are_off() {
    let raft = config().to_raft(1);
    assert!(!raft.batch_append);
    assert!(raft.check_quorum && raft.pre_vote);
    assert_eq!(raft.read_only_option, raft::ReadOnlyOption::Safe);
    assert!(raft.validate().is_ok());
    assert!(raft.max_uncommitted_size < u64::MAX && raft.max_committed_size_per_ready < u64::MAX);
}

#[test]
fn senseless_settings_are_refused() {
    let refused = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        let result = RaftCore::new(config, Recovered::first_member(id(1)), empty_log());
        matches!(result, Err(RecoverError::Config { .. }))
    };
    assert!(refused(|config| config.heartbeat_ticks = 0));
    assert!(refused(|config| config.election_ticks = 3));
    assert!(refused(|config| config.append_max_bytes = 1));
    assert!(refused(|config| config.uncommitted_max_bytes = 1));
    assert!(refused(|config| config.inbox_max = 0));
    assert!(!refused(|_| {}));
}

#[test]
fn pitfall_4_what_was_applied_was_committed() {
    let core = start(member(2, 3, 5), log(6, 2)).unwrap();
    assert_eq!(core.status().commit, 5);
}

#[test]
fn a_start_that_contradicts_itself_is_refused() {
    let beyond = start(member(2, 3, 9), log(6, 2));
    assert!(matches!(beyond, Err(RecoverError::AppliedOutsideLog { applied: 9, .. })));
    let mut compacted = log(6, 2);
    compacted.compact(5).unwrap();
    assert_eq!(compacted.first_index(), 6);
    let before = start(member(2, 3, 4), compacted);
    assert!(matches!(before, Err(RecoverError::AppliedOutsideLog { applied: 4, .. })));
    let lost = start(member(2, 7, 5), log(6, 2));
    assert!(matches!(lost, Err(RecoverError::CommittedEntriesLost { commit: 7, last_index: 6 })));
    let forgotten = start(member(2, 5, 5), log(6, 3));
    assert!(matches!(forgotten, Err(RecoverError::TermLost { term: 2, last_term: 3 })));
    let nobody = start(Recovered { conf: ConfState::default(), ..member(2, 5, 5) }, log(6, 2));
    assert!(matches!(nobody, Err(RecoverError::NoMembers { .. })));
    let unborn = start(member(2, 0, 0), MemLog::default());
    assert!(matches!(unborn, Err(RecoverError::NotBootstrapped)));
}

#[test]
fn a_log_that_missed_the_installation_of_a_snapshot_is_noticed_by_its_terms() {
    let with = |index, term| Recovered {
        checkpoint: Some(manifest(index, term, &[1], 1)),
        ..member(4, 3, 5)
    };
    assert!(start(with(5, 2), log(6, 2)).is_ok());
    let conflict = start(with(5, 3), log(6, 2));
    assert!(matches!(
        conflict,
        Err(RecoverError::CheckpointNotInLog { index: 5, term: 3, log_term: 2 })
    ));
    let ahead = start(with(6, 2), log(6, 2));
    assert!(matches!(ahead, Err(RecoverError::CheckpointNotApplied { index: 6, applied: 5 })));
}

#[test]
fn a_joining_member_waits_for_the_leader() {
    let mut core = start(Recovered::joining(), MemLog::default()).unwrap();
    for _ in 0..100 {
        core.tick().unwrap();
        assert!(core.ready().unwrap().is_none());
    }
}
