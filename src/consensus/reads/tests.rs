//! Tests of the read rounds.

use super::*;

fn reads(max: usize) -> Reads {
    Reads::new(RaftId::new(1).unwrap(), 7, 10, max)
}

fn tokens(grants: &[ReadGrant]) -> Vec<u64> {
    grants.iter().map(|grant| grant.token.0).collect()
}

#[test]
fn a_read_never_joins_the_round_under_way() {
    let mut reads = reads(9);
    assert!(reads.add(ReadToken(1)));
    let first = reads.next_round(0, 1, 1).unwrap();
    assert!(reads.add(ReadToken(2)));
    assert_eq!(reads.next_round(1, 1, 1), None);
    reads.confirm(&first, 5);
    assert_eq!(tokens(&reads.grant(5)), [1]);
    let second = reads.next_round(2, 1, 1).unwrap();
    assert_ne!(first, second);
    reads.confirm(&second, 6);
    assert_eq!(tokens(&reads.grant(5)), [] as [u64; 0]);
    assert_eq!(tokens(&reads.grant(6)), [2]);
    assert_eq!(reads.len(), 0);
}

#[test]
fn a_silent_round_is_sent_again_and_its_late_answer_ignored() {
    let mut reads = reads(9);
    assert!(reads.add(ReadToken(1)));
    let lost = reads.next_round(0, 1, 1).unwrap();
    assert!(reads.add(ReadToken(2)));
    assert_eq!(reads.next_round(9, 1, 1), None);
    let again = reads.next_round(10, 1, 1).unwrap();
    reads.confirm(&lost, 3);
    assert!(reads.grant(99).is_empty());
    reads.confirm(&again, 4);
    assert_eq!(tokens(&reads.grant(99)), [1, 2]);
}

#[test]
fn a_new_leader_starts_a_new_round() {
    let mut reads = reads(9);
    assert!(reads.add(ReadToken(1)));
    let first = reads.next_round(0, 1, 1).unwrap();
    assert!(reads.next_round(1, 2, 3).is_some_and(|context| context != first));
}

#[test]
fn the_number_of_reads_is_bounded_and_cancelling_makes_room() {
    let mut reads = reads(2);
    assert!(reads.add(ReadToken(1)));
    assert!(reads.next_round(0, 1, 1).is_some());
    assert!(reads.add(ReadToken(2)));
    assert!(!reads.add(ReadToken(3)));
    reads.cancel(ReadToken(1));
    assert!(reads.add(ReadToken(3)));
    let context = reads.next_round(1, 1, 1).unwrap();
    reads.confirm(&context, 1);
    assert_eq!(tokens(&reads.grant(1)), [2, 3]);
}
