//! The log against a model, through crashes at every change.

mod faults;

use proptest::prelude::*;

use super::*;
use crate::disk::{DiskErrorKind, SimDisk};
use crate::test_support::{filler, port};

const OPTIONS: RaftLogOptions = RaftLogOptions {
    wal: WalOptions { identity: [3; 16], segment_bytes: 32 * 1024, max_batch_bytes: 1 << 20 },
    cache_bytes: 4096,
};

fn open(disk: &SimDisk) -> Result<RaftLog, RaftLogError> {
    RaftLog::open(port(disk), "raft", OPTIONS)
}

fn entry(index: u64, term: u64, size: usize) -> Entry {
    Entry {
        index,
        term,
        kind: (index % 3) as u8,
        data: filler(index * 31 + term, size).into(),
        context: filler(index, (index % 5) as usize).into(),
    }
}

fn entries(indexes: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, 700)).collect()
}

fn batch(entries: Vec<Entry>, hard_state: Option<(u64, u64, u64)>) -> Batch {
    let hard_state = hard_state.map(|(term, vote, commit)| HardState { term, vote, commit });
    Batch { entries, hard_state, restart_after: None }
}

fn all(log: &RaftLog) -> Vec<Entry> {
    log.entries(log.first_index(), log.last_index() + 1, u64::MAX).unwrap()
}

#[test]
fn entries_replace_what_stands_at_and_after_them() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..21, 1), Some((1, 2, 5)))).unwrap();
    log.append(&batch(entries(11..14, 2), Some((2, 0, 5)))).unwrap();
    let expected: Vec<_> = entries(1..11, 1).into_iter().chain(entries(11..14, 2)).collect();
    for log in [log, open(&disk).unwrap()] {
        assert_eq!(all(&log), expected);
        assert_eq!((log.first_index(), log.last_index()), (1, 13));
        assert_eq!((log.term(0).unwrap(), log.term(10).unwrap(), log.term(11).unwrap()), (0, 1, 2));
        assert!(matches!(log.term(14), Err(RaftLogError::Beyond { last: 13 })));
        assert_eq!(log.hard_state(), HardState { term: 2, vote: 0, commit: 5 });
        assert!(!log.is_suspect());
    }
}

#[test]
fn reads_are_bounded_by_bytes_but_give_at_least_one() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..51, 1), None)).unwrap();
    assert_eq!(log.entries(1, 51, 0).unwrap().len(), 1);
    let some = log.entries(3, 51, 3000).unwrap();
    assert!(some.len() > 1 && some.len() < 5, "{}", some.len());
    assert_eq!(some, entries(3..3 + some.len() as u64, 1));
    assert!(log.entries(5, 5, 100).unwrap().is_empty());
    assert!(matches!(log.entries(1, 52, 100), Err(RaftLogError::Beyond { last: 50 })));
}

#[test]
fn compaction_moves_the_start_and_frees_segments() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    for index in 1..200 {
        log.append(&batch(entries(index..index + 1, 1), Some((1, 1, index)))).unwrap();
    }
    let before = log.segments();
    assert!(before > 10);
    log.compact(150).unwrap();
    log.compact(100).unwrap();
    assert!(log.segments() < before / 2);
    for log in [log, open(&disk).unwrap()] {
        assert_eq!((log.first_index(), log.last_index()), (151, 199));
        assert_eq!(log.base(), Position { index: 150, term: 1 });
        assert_eq!(log.term(150).unwrap(), 1);
        assert!(matches!(log.term(149), Err(RaftLogError::Compacted { first: 151 })));
        let refused = log.entries(150, 152, 10);
        assert!(matches!(refused, Err(RaftLogError::Compacted { first: 151 })));
        assert_eq!(all(&log), entries(151..200, 1));
        assert_eq!(log.hard_state().commit, 199);
    }
}

#[test]
fn everything_can_be_compacted_and_the_log_goes_on() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..100, 4), Some((4, 1, 99)))).unwrap();
    log.compact(99).unwrap();
    let log = open(&disk).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (100, 99));
    log.append(&batch(entries(100..103, 5), None)).unwrap();
    assert_eq!(all(&open(&disk).unwrap()), entries(100..103, 5));
}

#[test]
fn a_snapshot_restarts_the_log_behind_it() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..60, 1), Some((3, 2, 20)))).unwrap();
    let restart_after = Some(Position { index: 1000, term: 3 });
    let hard_state = Some(HardState { term: 3, vote: 2, commit: 1000 });
    log.append(&Batch { restart_after, entries: vec![], hard_state }).unwrap();
    log.append(&batch(entries(1001..1003, 3), None)).unwrap();
    for log in [log, open(&disk).unwrap()] {
        assert_eq!(all(&log), entries(1001..1003, 3));
        assert_eq!((log.term(1000).unwrap(), log.hard_state().vote), (3, 2));
    }
}

#[test]
fn batches_that_would_break_the_log_are_refused_before_writing() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..11, 3), Some((3, 7, 5)))).unwrap();
    log.compact(2).unwrap();
    let before = disk.dump();
    let bad = [
        batch(entries(12..13, 3), None),
        batch(entries(2..3, 3), None),
        batch(vec![entry(11, 3, 1), entry(13, 3, 1)], None),
        batch(entries(11..12, 2), None),
        batch(entries(4..12, 4), None),
        batch(entries(4..5, 3), None),
        batch(vec![], Some((2, 7, 5))),
        batch(vec![], Some((3, 7, 4))),
        batch(vec![], Some((3, 7, 11))),
        batch(vec![], Some((3, 8, 5))),
        Batch { restart_after: Some(Position { index: 4, term: 3 }), ..Batch::default() },
    ];
    for (n, batch) in bad.iter().enumerate() {
        let refused = log.append(batch);
        assert!(matches!(refused, Err(RaftLogError::InvalidBatch { .. })), "case {n}");
    }
    assert!(matches!(log.compact(6), Err(RaftLogError::InvalidBatch { .. })), "not committed");
    assert_eq!(disk.dump(), before);
    // Repeating committed entries is what a duplicated message does.
    log.append(&batch(entries(4..12, 3), None)).unwrap();
}

#[test]
fn a_cut_tail_makes_the_node_suspect_until_it_has_caught_up() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..3, 1), None)).unwrap();
    log.append(&batch(entries(3..4, 1), None)).unwrap();
    drop(log);
    disk.flip_bit("raft/0000000000000001.wal", 4096 + 500, 0).unwrap();
    let log = open(&disk).unwrap();
    assert!(log.is_suspect() && log.cut().is_some());
    assert_eq!(log.last_index(), 2);
    drop(log);
    let log = open(&disk).unwrap();
    assert!(log.is_suspect(), "durably");
    assert_eq!(log.cut(), None, "and reported once");
    log.append(&batch(entries(3..120, 1), Some((1, 0, 100)))).unwrap();
    log.compact(100).unwrap();
    let log = open(&disk).unwrap();
    assert!(log.is_suspect(), "also after its record was deleted with the front");
    log.clear_suspect().unwrap();
    assert!(!open(&disk).unwrap().is_suspect());
}

#[test]
fn pitfall_7_a_failed_sync_stops_the_log() {
    let disk = SimDisk::new(1);
    let log = open(&disk).unwrap();
    log.append(&batch(entries(1..3, 1), None)).unwrap();
    disk.fail_sync_after(0);
    let failed = log.append(&batch(entries(3..4, 1), None)).unwrap_err();
    let RaftLogError::Wal(WalError::Disk(error)) = failed else { panic!("{failed}") };
    assert_eq!(error.kind, DiskErrorKind::Sync);
    let refused = log.append(&batch(entries(3..4, 1), None)).unwrap_err();
    assert!(matches!(refused, RaftLogError::Wal(WalError::Poisoned { .. })));
    assert_eq!(log.last_index(), 2, "what was not durable is not visible");
}

#[derive(Debug, Clone)]
enum Action {
    Append { back: u64, count: u64, size: usize },
    Commit { ahead: u64 },
    Compact { behind: u64 },
    Restart { ahead: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0_u64..4, 1_u64..6, 0_usize..3000)
            .prop_map(|(back, count, size)| Action::Append { back, count, size }),
        3 => (0_u64..6).prop_map(|ahead| Action::Commit { ahead }),
        2 => (0_u64..4).prop_map(|behind| Action::Compact { behind }),
        1 => (0_u64..9).prop_map(|ahead| Action::Restart { ahead }),
    ]
}

/// What the log must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    base: Position,
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl Model {
    fn of(log: &RaftLog) -> Self {
        Self { base: log.base(), entries: all(log), hard_state: log.hard_state() }
    }

    fn last(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        let at = (index - self.base.index) as usize;
        if at == 0 { self.base.term } else { self.entries[at - 1].term }
    }

    /// The model after the action, and the action on the log.
    fn step(&self, action: &Action, log: &RaftLog) -> (Self, Result<(), RaftLogError>) {
        let mut next = self.clone();
        let mut batch = Batch::default();
        match *action {
            Action::Append { back, count, size } => {
                let first =
                    (self.last() + 1 - back.min(self.last())).max(self.hard_state.commit + 1);
                next.hard_state.term += 1;
                next.hard_state.vote = 0;
                let term = next.hard_state.term;
                batch.entries = (first..first + count).map(|i| entry(i, term, size)).collect();
                batch.hard_state = Some(next.hard_state);
                next.entries.truncate((first - self.base.index - 1) as usize);
                next.entries.extend(batch.entries.clone());
            }
            Action::Commit { ahead } => {
                next.hard_state.commit = (self.hard_state.commit + ahead).min(self.last());
                batch.hard_state = Some(next.hard_state);
            }
            Action::Compact { behind } => {
                let to = self.hard_state.commit.saturating_sub(behind).max(self.base.index);
                next.base = Position { index: to, term: self.term(to) };
                next.entries.drain(..(to - self.base.index) as usize);
                return (next, log.compact(to));
            }
            Action::Restart { ahead } => {
                let index = self.hard_state.commit + ahead;
                next.base = Position { index, term: self.hard_state.term };
                next.entries.clear();
                next.hard_state.commit = index;
                batch.restart_after = Some(next.base);
                batch.hard_state = Some(next.hard_state);
            }
        }
        (next, log.append(&batch))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any crash the log equals the model before or after the action in flight.
    #[test]
    fn equals_its_model_through_crashes(
        seed in any::<u64>(),
        lives in prop::collection::vec((0_u64..60, prop::collection::vec(action(), 1..30)), 1..6),
    ) {
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        for (stop, actions) in lives {
            disk.stop_after(stop);
            let mut in_flight = None;
            if let Ok(log) = open(&disk) {
                for action in &actions {
                    let (next, done) = model.step(action, &log);
                    match done {
                        Ok(()) => model = next,
                        Err(RaftLogError::Wal(_)) => { in_flight = Some(next); break }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            disk.crash();
            let log = open(&disk).unwrap();
            let found = Model::of(&log);
            match in_flight {
                Some(next) if found == next => model = next,
                _ => prop_assert_eq!(&found, &model),
            }
        }
    }
}
