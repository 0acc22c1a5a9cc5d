//! What waits for the consensus task is bounded.

use super::*;

#[tokio::test]
async fn raft_messages_that_wait_are_bounded_in_bytes() {
    const LEN_BYTES: usize = 8 << 20;
    let handle = ConsensusHandle::new(Shared::new(Default::default()));
    let (inbox, mut inputs) = mpsc::channel(64);
    handle.connect(inbox);
    let large = Bytes::from(vec![0; LEN_BYTES]);
    for _ in 0..RAFT_BYTES_MAX / LEN_BYTES {
        handle.raft(NodeId(2), large.clone()).unwrap();
    }
    let full = handle.raft(NodeId(2), large.clone());
    assert_eq!(full, Err(ProposeError::Overloaded), "the inbox itself has room");
    drop(inputs.recv().await);
    handle.raft(NodeId(2), large).unwrap();
}
