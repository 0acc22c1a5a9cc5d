//! Tests of what is taken in from other members.

use super::*;
use crate::raft_core::Outgoing;
use crate::testnet::id;
use crate::testnet::solo::{Solo, append, kinds, manifest, message, offer};
use crate::wire::MessageKind as Kind;
use crate::{ReadToken, WireError};

#[test]
fn pitfall_14_a_disk_that_lost_acknowledged_entries_is_an_error_and_no_panic() {
    let mut solo = Solo::following(&[(2, "a")]);
    let mut beat = message(MessageType::MsgHeartbeat, 2);
    beat.commit = 9;
    let lost = solo.receive(2, beat.clone());
    assert!(matches!(lost, Err(MessageError::AcknowledgedEntriesLost { commit: 9, last: 2 })));
    // The word of a leader that is long gone means nothing.
    beat.term = 1;
    assert_eq!(solo.receive(2, beat).unwrap(), Received::Stepped);
}

#[test]
fn an_acknowledgement_of_what_does_not_exist_is_refused() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    let mut ack = message(MessageType::MsgAppendResponse, 2);
    ack.index = 3;
    let refused = solo.receive(3, ack);
    assert!(matches!(refused, Err(MessageError::Impossible { index: 3, last: 2, .. })));
    assert_eq!(solo.core.status().peers[&id(3)].matched, 0);
}

#[test]
fn a_member_speaks_for_itself_only() {
    let mut solo = Solo::new(&[1, 2, 3], &[]);
    let mut beat = message(MessageType::MsgHeartbeat, 2);
    (beat.from, beat.to) = (3, 1);
    let bytes = wire::encode(&beat).unwrap().1;
    let refused = solo.core.message(id(2), bytes);
    assert!(matches!(refused, Err(MessageError::Wire { source: WireError::Sender { .. }, .. })));
    assert_eq!(solo.core.status().term, 1);
}

#[test]
fn a_follower_passes_no_read_request_on() {
    let ask = || {
        let mut ask = message(MessageType::MsgReadIndex, 0);
        let data = Bytes::from_static(b"context");
        ask.set_entries(vec![pb::Entry { data, ..pb::Entry::default() }].into());
        ask
    };
    let mut follower = Solo::following(&[(2, "a")]);
    assert_eq!(follower.receive(3, ask()).unwrap(), Received::Ignored);
    assert!(follower.rest().is_empty());
    let mut leader = Solo::leading(&[1, 2, 3]);
    assert_eq!(leader.receive(3, ask()).unwrap(), Received::Stepped);
    assert!(
        leader
            .rest()
            .iter()
            .all(|sent| matches!(sent, Outgoing::Message { kind: Kind::Heartbeat, .. }))
    );
}

#[test]
fn a_followers_read_goes_to_the_leader() {
    let mut solo = Solo::following(&[(2, "a")]);
    solo.core.read_index(ReadToken(1)).unwrap();
    assert_eq!(kinds(&solo.rest()), [(id(2), Kind::ReadIndex)]);
}

fn offered(solo: &mut Solo, manifest: &SnapshotManifest) -> SnapshotOffer {
    match solo.receive(2, offer(2, manifest)).unwrap() {
        Received::Offer(offer) => offer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pitfall_16_a_snapshot_waits_for_entries_that_are_being_applied() {
    let mut solo = Solo::following(&[(2, "a"), (2, "b")]);
    let offer = offered(&mut solo, &manifest(20, 2, &[1, 2, 3], 2));
    solo.receive(2, append(2, 3, 2, 3, &[])).unwrap();
    let ready = solo.ready();
    assert!(matches!(solo.core.snapshot_received(&offer), Err(MessageError::Busy { .. })));
    assert_eq!(solo.persist(&ready).committed.len(), 2);
    let early = solo.core.snapshot_received(&offer);
    assert!(matches!(early, Err(MessageError::Applying { handed_out: 3, applied: 1 })));
    solo.core.applied(3).unwrap();
    assert_eq!(solo.core.snapshot_received(&offer).unwrap(), Received::Stepped);
}

#[test]
fn a_snapshot_outlives_the_leader_that_offered_it() {
    let mut solo = Solo::following(&[(2, "a")]);
    let offer = offered(&mut solo, &manifest(20, 2, &[1, 2, 3], 2));
    for _ in 0..20 {
        solo.core.tick().unwrap();
        solo.rest();
    }
    assert!(matches!(solo.core.snapshot_received(&offer), Err(MessageError::NoLeader)));
    solo.receive(3, message(MessageType::MsgHeartbeat, 9)).unwrap();
    solo.rest();
    assert_eq!(solo.core.snapshot_received(&offer).unwrap(), Received::Stepped);
    assert_eq!(kinds(&solo.rest()), [(id(3), Kind::AppendResponse)]);
    assert_eq!(solo.core.status().applied, 20);
}

#[test]
fn a_snapshot_that_is_no_news_is_answered_without_its_state() {
    let mut solo = Solo::following(&[(2, "a"), (2, "b")]);
    let known = offer(2, &manifest(3, 2, &[1, 2, 3], 2));
    assert_eq!(solo.receive(2, known).unwrap(), Received::Stepped);
    assert_eq!(kinds(&solo.rest()), [(id(2), Kind::AppendResponse)]);
    let without_me = offer(2, &manifest(20, 2, &[2, 3], 2));
    assert_eq!(solo.receive(2, without_me).unwrap(), Received::Stepped);
    solo.rest();
    assert_eq!(solo.core.status().last, 3);
}
