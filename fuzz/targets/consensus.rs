//! Raft's messages between masters, and what is stored of its members.

use bytes::Bytes;
use ipfs_kit_consensus::{ConfState, RaftId, testkit};

/// A message as member 2 gets it from member 1; it has one encoding only.
pub fn message(bytes: &[u8]) {
    if let Some(again) = testkit::recode_message(Bytes::copy_from_slice(bytes)) {
        assert_eq!(again, bytes, "a message has another encoding");
    }
}

pub fn message_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        // A vote, an append with two entries, its answer, a heartbeat, a request to campaign, reads.
        &[1, 1, 1, 2, 0xac, 2, 6, 9, 4, 8, 1][..],
        &[1, 3, 1, 2, 9, 6, 9, 4, 8, 0],
        &[1, 2, 1, 2, 9, 0, 4, 8],
        &[1, 5, 1, 2, 9, 5, 7, 4, 2, 0, 8, 2, b'a', b'b', 0, 9, 0],
        &[1, 6, 1, 2, 9, 5, 2, 1, 4, 3],
        &[1, 7, 1, 2, 9, 3, 2, 7, 7],
        &[1, 9, 1, 2, 9],
        &[1, 10, 1, 2, 0, 0, 2, 7, 7],
    ]
    .map(<[u8]>::to_vec)
    .into();
    seeds.push(testkit::snapshot_message().to_vec());
    seeds
}

/// The members of a configuration.
pub fn conf(bytes: &[u8]) {
    if let Ok(conf) = ConfState::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(ConfState::decode(conf.encode()).as_ref(), Ok(&conf));
        let _ = conf.has_quorum(&Default::default());
    }
}

pub fn conf_seeds() -> Vec<Vec<u8>> {
    let one = RaftId::new(1).expect("it is not zero");
    let single = ConfState::single(one).encode().to_vec();
    vec![single, testkit::joint_conf().to_vec()]
}
