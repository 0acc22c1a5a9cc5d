//! What is committed reaches the others once, and not later than the next tick.

use raft::eraftpb as pb;
use raft::eraftpb::MessageType;

use crate::MessageKind;
use crate::raft_core::Outgoing;
use crate::testnet::solo::{self, Solo, data};
use crate::wire;

/// A leader of three whose next entry, of index 3, member 2 has acknowledged.
fn committed() -> Solo {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.acknowledge(3);
    solo.core.tell_commit().unwrap();
    solo.rest();
    solo.core.propose(vec![data("a")]).unwrap();
    solo.rest();
    let mut ack = solo::message(MessageType::MsgAppendResponse, 2);
    ack.index = 3;
    solo.receive(2, ack).unwrap();
    let sent = solo.rest();
    assert_eq!(solo.core.status().commit, 3);
    assert_eq!(sent, Vec::new(), "nobody is told at once");
    solo
}

/// Receivers, entries and commit indexes of append messages.
fn appends(sent: Vec<Outgoing>) -> Vec<(u64, usize, u64)> {
    let limits = solo::config().wire_limits();
    let decoded = sent.into_iter().filter_map(|outgoing| match outgoing {
        Outgoing::Message { to, kind: MessageKind::Append, bytes } => {
            let message: pb::Message =
                wire::decode(crate::testnet::id(1), to, bytes, limits).unwrap();
            Some((to.get(), message.entries.len(), message.commit))
        }
        _ => None,
    });
    decoded.collect()
}

#[test]
fn it_goes_with_the_next_entries() {
    let mut solo = committed();
    assert!(solo.core.has_untold_commit());
    solo.core.propose(vec![data("b")]).unwrap();
    assert_eq!(appends(solo.rest()), [(2, 1, 3), (3, 1, 3)]);
    assert!(!solo.core.has_untold_commit());
}

#[test]
fn it_is_told_by_itself_when_asked_for_and_then_not_again() {
    let mut solo = committed();
    solo.core.tell_commit().unwrap();
    assert_eq!(appends(solo.rest()), [(2, 0, 3), (3, 0, 3)]);
    solo.core.tell_commit().unwrap();
    solo.core.tick().unwrap();
    assert_eq!(appends(solo.rest()), []);
}

#[test]
fn the_next_tick_tells_it_at_the_latest() {
    let mut solo = committed();
    solo.core.tick().unwrap();
    assert_eq!(appends(solo.rest()), [(2, 0, 3), (3, 0, 3)]);
}

#[test]
fn nothing_is_told_while_a_batch_is_out() {
    let mut solo = committed();
    solo.core.propose(vec![data("b")]).unwrap();
    let ready = solo.ready();
    let mut ack = solo::message(MessageType::MsgAppendResponse, 2);
    ack.index = 4;
    solo.receive(2, ack).unwrap();
    solo.core.tell_commit().unwrap();
    let after = solo.persist(&ready);
    assert_eq!(appends(after.messages), []);
    assert!(solo.core.has_untold_commit());
}

#[test]
fn a_follower_tells_nothing() {
    let mut solo = Solo::following(&[(2, "a")]);
    assert!(!solo.core.has_untold_commit());
    solo.core.tell_commit().unwrap();
    assert_eq!(solo.rest(), Vec::new());
}
