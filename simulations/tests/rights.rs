//! A member with a changed program: it says what its role may not, and the others do not do it.

use bytes::Bytes;
use ipfs_kit_core::id::NodeId;
use ipfs_kit_simulations::cluster::node::Handle;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, story};
use ipfs_kit_simulations::stage::Stage;
use ipfs_kit_simulations::world::HostId;

/// Far more than the elections of a scene.
const FAR_TERM: u64 = 1_000;
/// Longer than an election, in virtual milliseconds.
const A_WHILE_MS: u64 = 10_000;
/// A worker.
const WORKER: HostId = HostId(3);

fn node(stage: &Stage, host: HostId) -> NodeId {
    stage.cluster.borrow().machine(host).node().expect("it has joined")
}

fn leader(stage: &Stage) -> (HostId, Handle) {
    stage.cluster.borrow().leader().expect("somebody leads")
}

/// A heartbeat of a leader in a far term, in consensus' envelope.
fn heartbeat(from: NodeId, to: NodeId) -> Bytes {
    let mut frame = vec![1, 7];
    for number in [from.0, to.0, FAR_TERM] {
        push_varint(&mut frame, number);
    }
    // Nothing is committed, and no read waits for it.
    frame.extend([0, 0]);
    frame.into()
}

fn push_varint(frame: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        frame.push(number as u8 | 0x80);
        number >>= 7;
    }
    frame.push(number as u8);
}

#[test]
fn a_raft_message_of_a_member_that_is_no_master_moves_nothing() {
    play_scene(14, async |stage| {
        story::gather(stage).await?;
        let (at, handle) = leader(stage);
        let term = handle.raft().expect("it leads").term;
        for host in [LEECHER, WORKER] {
            let from = node(stage, host);
            assert!(handle.hear_raft(from, heartbeat(from, node(stage, at))));
        }
        stage.pass(A_WHILE_MS).await?;
        let (still_at, still) = leader(stage);
        assert_eq!((still_at, still.raft().expect("it leads").term), (at, term));
        // The same of a master is believed: it was the sender that made the difference.
        let master = (0..3).map(HostId).find(|host| *host != at).expect("there are three");
        let from = node(stage, master);
        assert!(handle.hear_raft(from, heartbeat(from, node(stage, at))));
        stage.pass(A_WHILE_MS).await?;
        assert!(leader(stage).1.raft().expect("it leads").term > FAR_TERM);
        Ok(())
    });
}
