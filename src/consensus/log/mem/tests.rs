//! Tests of the log in memory.

use super::*;
use crate::log::EntryKind;
use bytes::Bytes;

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::from_static(b"0123456789") }
}

fn filled() -> MemLog {
    let mut log = MemLog::starting_after(1, 1);
    log.append(&[entry(2, 1), entry(3, 1), entry(4, 2)]).unwrap();
    log
}

#[test]
fn writing_an_entry_voids_what_stood_from_it_on() {
    let mut log = filled();
    log.append(&[entry(3, 3)]).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (2, 3));
    assert_eq!(log.term(3).unwrap(), 3);
    assert!(matches!(log.append(&[entry(9, 3)]), Err(LogError::Missing { index: 4 })));
    assert!(matches!(log.append(&[entry(1, 3)]), Err(LogError::Compacted { .. })));
}

#[test]
fn compaction_keeps_the_term_before_the_first_entry() {
    let mut log = filled();
    log.compact(3).unwrap();
    assert_eq!((log.first_index(), log.last_index(), log.term(3).unwrap()), (4, 4, 1));
    assert!(matches!(log.term(2), Err(LogError::Compacted { index: 2 })));
    assert!(matches!(log.entries(3, 5, u64::MAX), Err(LogError::Compacted { index: 3 })));
    log.compact(4).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (5, 4));
}

#[test]
fn a_size_limit_cuts_but_never_to_nothing() {
    let log = filled();
    assert_eq!(log.entries(2, 5, 0).unwrap().len(), 1);
    assert_eq!(log.entries(2, 5, 68).unwrap().len(), 2);
    assert_eq!(log.entries(2, 5, u64::MAX).unwrap().len(), 3);
    assert!(matches!(log.entries(2, 6, 0), Err(LogError::Missing { index: 5 })));
}
