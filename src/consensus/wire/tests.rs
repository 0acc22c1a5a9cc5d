//! Tests of the envelope: golden bytes, round trips, and everything that is refused.

use super::*;
use crate::conf::{ConfState, MemberRole, MembershipChange, MembershipEntry, RequestId};
use proptest::prelude::*;

const LIMITS: WireLimits = WireLimits { message_max_bytes: 4096, entry_max_bytes: 512 };

fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

fn message(kind: MessageType, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.from = 1;
    message.to = 2;
    message.term = term;
    message
}

fn receive(bytes: impl Into<Bytes>) -> Result<Message, WireError> {
    decode(id(1), id(2), bytes.into(), LIMITS)
}

fn normal(index: u64, term: u64, data: &'static [u8]) -> LogEntry {
    LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::from_static(data) }
}

fn append(index: u64, log_term: u64, entries: Vec<LogEntry>) -> Message {
    let mut append = message(MessageType::MsgAppend, 9);
    append.index = index;
    append.log_term = log_term;
    append.commit = 4;
    let entries: Vec<Entry> = entries.into_iter().map(|e| e.into_raft().unwrap()).collect();
    append.set_entries(entries.into());
    append
}

#[test]
fn messages_have_golden_bytes() {
    let golden = |message: &Message, bytes: &[u8]| {
        let (_, encoded) = encode(message).unwrap();
        assert_eq!(&encoded[..], bytes, "{message:?}");
        assert_eq!(receive(encoded).unwrap(), *message);
    };
    golden(
        &append(5, 7, vec![normal(6, 8, b"ab"), normal(7, 9, b"")]),
        &[1, 5, 1, 2, 9, 5, 7, 4, 2, 0, 8, 2, b'a', b'b', 0, 9, 0],
    );
    let mut vote = message(MessageType::MsgRequestVote, 300);
    vote.index = 6;
    vote.log_term = 9;
    vote.commit = 4;
    vote.commit_term = 8;
    vote.context = Bytes::from_static(CAMPAIGN_TRANSFER);
    golden(&vote, &[1, 1, 1, 2, 0xac, 2, 6, 9, 4, 8, 1]);
    let mut beat = message(MessageType::MsgHeartbeat, 9);
    beat.commit = 3;
    beat.context = Bytes::from_static(&[7, 7]);
    golden(&beat, &[1, 7, 1, 2, 9, 3, 2, 7, 7]);
    let mut response = message(MessageType::MsgAppendResponse, 9);
    response.index = 5;
    response.commit = 2;
    response.reject = true;
    response.reject_hint = 4;
    response.log_term = 3;
    golden(&response, &[1, 6, 1, 2, 9, 5, 2, 1, 4, 3]);
    golden(&message(MessageType::MsgTimeoutNow, 9), &[1, 9, 1, 2, 9]);
}

#[test]
fn a_snapshot_message_carries_the_manifest() {
    let manifest = SnapshotManifest {
        index: 10,
        term: 3,
        conf: ConfState::single(id(1)),
        size_bytes: 1 << 40,
        checksum: [7; 32],
        source: id(1),
    };
    let mut offer = message(MessageType::MsgSnapshot, 4);
    offer.set_snapshot(manifest.to_raft());
    let (kind, bytes) = encode(&offer).unwrap();
    assert_eq!(kind, MessageKind::Snapshot);
    let received = receive(bytes).unwrap();
    assert_eq!(received, offer);
    assert_eq!(SnapshotManifest::from_raft(received.get_snapshot()), Ok(manifest.clone()));

    let elsewhere = SnapshotManifest { source: id(3), ..manifest };
    offer.set_snapshot(elsewhere.to_raft());
    assert!(matches!(receive(encode(&offer).unwrap().1), Err(WireError::Malformed { .. })));
}

#[test]
fn a_membership_entry_crosses_without_protobuf() {
    let change = MembershipEntry {
        change: MembershipChange::Simple { member: id(3), role: MemberRole::Voter },
        request: RequestId(5),
        context: Bytes::from_static(b"registry edit"),
    };
    let data = change.encode();
    let entry = LogEntry { index: 6, term: 9, kind: EntryKind::Membership, data: data.clone() };
    let sent = append(5, 7, vec![entry]);
    let (_, bytes) = encode(&sent).unwrap();
    assert!(bytes.windows(data.len()).any(|window| window == data));
    assert_eq!(receive(bytes).unwrap(), sent);
}

#[test]
fn pitfall_23_a_gap_or_a_term_running_backwards_never_reaches_raft() {
    // A previous term of zero matches any gap in raft's log.
    assert!(receive(encode(&append(5, 0, vec![normal(6, 8, b"a")])).unwrap().1).is_err());
    assert!(receive(encode(&append(5, 8, vec![normal(6, 7, b"a")])).unwrap().1).is_err());
    // An entry from beyond the sender's own term.
    assert!(receive(encode(&append(5, 8, vec![normal(6, 10, b"a")])).unwrap().1).is_err());
    // Indexes are implied by position, so a gap can't even be written.
    let gap = append(5, 8, vec![normal(6, 8, b"a"), normal(9, 8, b"b")]);
    assert_eq!(receive(encode(&gap).unwrap().1).unwrap().entries[1].index, 7);
}

#[test]
fn local_messages_and_proposals_have_no_encoding() {
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
    ] {
        assert!(encode(&message(kind, 9)).is_err(), "{kind:?}");
    }
    for kind in [0, 13, 255] {
        assert!(matches!(receive(vec![1, kind, 1, 2, 9]), Err(WireError::Malformed { .. })));
    }
}

#[test]
fn strangers_and_oversize_are_refused() {
    let timeout = encode(&message(MessageType::MsgTimeoutNow, 9)).unwrap().1;
    let from_three = decode(id(3), id(2), timeout.clone(), LIMITS);
    assert!(matches!(from_three, Err(WireError::Sender { .. })));
    let for_three = decode(id(1), id(3), timeout, LIMITS);
    assert!(matches!(for_three, Err(WireError::Recipient { .. })));
    assert!(matches!(receive(vec![1; 4097]), Err(WireError::TooLong { .. })));
    assert!(matches!(receive(vec![2, 9, 1, 2, 9]), Err(WireError::Version { version: 2 })));
    assert!(receive(vec![1, 9, 1, 2, 9, 0]).is_err(), "trailing byte");
    assert!(receive(vec![1, 9, 1, 2, 0]).is_err(), "no term");
    assert!(receive(vec![1, 10, 1, 2, 0, 0, 0]).is_err(), "a read without context");
    // A count that the bytes can't hold allocates nothing.
    assert!(receive(vec![1, 5, 1, 2, 9, 5, 7, 4, 0xff, 0xff, 0x0f]).is_err());
}

fn wire_message() -> impl Strategy<Value = Message> {
    let entries = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6);
    let numbers = proptest::array::uniform5(1u64..INDEX_MAX);
    (0usize..11, numbers, any::<bool>(), entries).prop_map(|(kind, n, flag, entries)| {
        let (kind, message_type) = MessageKind::ALL[kind];
        let mut m = message(message_type, n[0]);
        match kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote => {
                (m.index, m.log_term, m.commit, m.commit_term) = (n[1], n[2], n[3], n[4]);
            }
            MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => {
                (m.reject, m.commit, m.commit_term) = (flag, n[1], n[2]);
            }
            MessageKind::Append => {
                (m.index, m.log_term, m.commit) = (n[1].min(1 << 40), 1, n[3]);
                let entry = |(at, data): (usize, Vec<u8>)| {
                    let index = m.index + 1 + at as u64;
                    let data = data.into();
                    LogEntry { index, term: n[0], kind: EntryKind::Normal, data }
                        .into_raft()
                        .unwrap()
                };
                let entries: Vec<_> = entries.into_iter().enumerate().map(entry).collect();
                m.set_entries(entries.into());
            }
            MessageKind::AppendResponse => {
                (m.index, m.commit, m.reject, m.reject_hint) = (n[1], n[2], flag, n[3]);
                m.log_term = n[4];
            }
            MessageKind::Heartbeat | MessageKind::HeartbeatResponse => m.commit = n[1],
            MessageKind::TimeoutNow | MessageKind::Snapshot => {}
            MessageKind::ReadIndex | MessageKind::ReadIndexResponse => {
                m.term = if kind == MessageKind::ReadIndex { 0 } else { n[0] };
                let data = n[1].to_be_bytes().to_vec().into();
                m.set_entries(vec![Entry { data, ..Entry::default() }].into());
            }
        }
        m
    })
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(message in wire_message()) {
        let (_, bytes) = encode(&message).unwrap();
        prop_assert_eq!(receive(bytes).unwrap(), message);
    }

    #[test]
    fn a_damaged_message_never_panics(message in wire_message(), at: usize, xor in 1u8..) {
        let mut bytes = encode(&message).unwrap().1.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= xor;
        if let Ok(decoded) = receive(bytes.clone()) {
            prop_assert_eq!(encode(&decoded).unwrap().1, bytes);
        }
    }

    #[test]
    fn a_shortened_message_is_refused(message in wire_message()) {
        let bytes = encode(&message).unwrap().1;
        for len in 0..bytes.len() {
            prop_assert!(receive(bytes.slice(..len)).is_err());
        }
    }
}
