//! A member with a changed program: it says what its role may not, and the others do not do it.

use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_actors::api::Failure;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::proto::{Request, Response};
use ipfs_kit_simulations::cluster::node::Handle;
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::{LEECHER, story};
use ipfs_kit_simulations::stage::{Broken, Stage};
use ipfs_kit_simulations::world::HostId;

/// Far more than the elections of a scene.
const FAR_TERM: u64 = 1_000;
/// Longer than an election, in virtual milliseconds.
const A_WHILE_MS: u64 = 10_000;
/// How long a member may take to answer, in virtual time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
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

/// What a member answers when another one asks for an operation, without asking its own node first.
async fn asked(
    stage: &mut Stage,
    from: HostId,
    to: NodeId,
    name: &str,
    json: &str,
) -> Result<Result<String, Failure>, Broken> {
    let request = Request::Operation { name: name.into(), json: json.into() };
    let request = Bytes::from(codec::seal(Kind::Request, &request));
    let peers = stage.cluster.borrow().world.host(from).peers();
    let answer = stage.during(peers.call(to, request, ANSWER_WITHIN)).await?;
    let answer = answer.expect("the leader can be reached");
    match codec::open(Kind::Response, &answer, limits::RESPONSE_BYTES_MAX) {
        Ok(Response::Operation { result }) => Ok(result),
        other => panic!("{name} led to {other:?}"),
    }
}

#[test]
fn what_a_role_may_not_run_is_not_run_for_it_by_others() {
    play_scene(15, async |stage| {
        story::gather(stage).await?;
        let (at, handle) = leader(stage);
        let (to, worker) = (node(stage, at), node(stage, WORKER));
        let token = r#"{"role":"master"}"#;
        let role = format!(r#"{{"node":"{}","role":"master"}}"#, node(stage, LEECHER));
        let rm = format!(r#"{{"node":"{worker}"}}"#);
        let before = handle.state(|state| (state.members().clone(), state.tokens().len()));
        for (name, json) in
            [("cluster.token.create", token), ("node.role", &role), ("node.rm", &rm)]
        {
            let refused = asked(stage, LEECHER, to, name, json).await?.unwrap_err();
            assert_eq!(refused.code, "E_NOT_PERMITTED");
            let message = format!("a leecher may not run {name}; it is for masters and workers");
            assert_eq!(refused.message, message);
        }
        let after = handle.state(|state| (state.members().clone(), state.tokens().len()));
        assert_eq!(before, after);
        let leave = |node: NodeId| format!(r#"{{"node":"{node}"}}"#);
        let refused = asked(stage, LEECHER, to, "node.leave", &leave(worker)).await?.unwrap_err();
        assert_eq!(refused.code, "E_NOT_PERMITTED");
        // A worker's request is run: it was the role that made the difference.
        asked(stage, WORKER, to, "cluster.token.create", token).await?.expect("workers may");
        Ok(())
    });
}

#[test]
fn who_names_no_member_means_itself_wherever_that_is_decided() {
    play_scene(16, async |stage| {
        story::gather(stage).await?;
        let (at, handle) = leader(stage);
        let (to, leecher) = (node(stage, at), node(stage, LEECHER));
        asked(stage, LEECHER, to, "node.leave", "{}").await?.expect("it may leave");
        let staying = handle.state(|state| {
            let members = state.members().values();
            let staying = members.filter(|member| member.liveness == Liveness::Alive);
            staying.map(|member| member.id).collect::<Vec<_>>()
        });
        let staying = staying.expect("it leads");
        assert_eq!((staying.len(), staying.contains(&leecher)), (6, false));
        Ok(())
    });
}
