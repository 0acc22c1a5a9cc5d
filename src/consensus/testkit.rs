//! The wire format for fuzzing, from outside of this package.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::conf::ConfState;
use crate::id::RaftId;
use crate::snapshot::SnapshotManifest;
use crate::wire::{self, WireLimits};

const LIMITS: WireLimits = WireLimits { message_max_bytes: 1 << 20, entry_max_bytes: 1 << 19 };

fn member(number: u64) -> RaftId {
    RaftId::new(number).expect("members are numbered from 1")
}

/// Decodes a message from member 1 to member 2 and encodes it again; nothing if it is refused.
#[must_use]
pub fn recode_message(bytes: Bytes) -> Option<Bytes> {
    let message = wire::decode(member(1), member(2), bytes, LIMITS).ok()?;
    let (_, again) = wire::encode(&message).expect("what was decoded has an encoding");
    Some(again)
}

/// The offer of a snapshot, as member 1 sends it to member 2.
#[must_use]
pub fn snapshot_message() -> Bytes {
    let manifest = SnapshotManifest {
        index: 10,
        term: 3,
        conf: ConfState::single(member(1)),
        size_bytes: 1 << 40,
        checksum: [7; 32],
        source: member(1),
    };
    let mut offer = raft::eraftpb::Message::default();
    offer.set_msg_type(raft::eraftpb::MessageType::MsgSnapshot);
    (offer.from, offer.to, offer.term) = (1, 2, 4);
    offer.set_snapshot(manifest.to_raft());
    wire::encode(&offer).expect("an offer has an encoding").1
}

/// A configuration in the middle of a joint change.
#[must_use]
pub fn joint_conf() -> Bytes {
    let members = |numbers: &[u64]| numbers.iter().copied().map(member).collect::<BTreeSet<_>>();
    let conf = ConfState {
        voters: members(&[1, 2, 3]),
        learners: members(&[5]),
        voters_outgoing: members(&[1, 2, 4]),
        learners_next: members(&[4]),
    };
    conf.encode()
}
