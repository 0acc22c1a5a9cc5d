//! Tables over all roles, and over everything that one member can ask of another.

use super::*;
use crate::command::RequestId;
use crate::fixture::{cid, pin_spec, spec};
use crate::id::{Incarnation, TokenId};
use crate::member::Liveness;
use crate::proto::{Heartbeat, Usage};

const ROLES: [Role; 3] = [Role::Master, Role::Worker, Role::Leecher];
const ME: NodeId = NodeId(7);
const OTHER: NodeId = NodeId(8);

/// The roles that may make a request, in the name of [`ME`].
fn allowed(request: &Request) -> Vec<Role> {
    ROLES.into_iter().filter(|role| authorise(ME, *role, request).is_ok()).collect()
}

fn propose(owner: NodeId, ops: impl IntoIterator<Item = Op>) -> Request {
    let request = RequestId { node: owner, incarnation: Incarnation(1), seq: 1 };
    Request::Propose { commands: ops.into_iter().map(|op| Command { request, op }).collect() }
}

fn heartbeat(node: NodeId) -> Request {
    Request::Heartbeat(Heartbeat {
        node,
        incarnation: Incarnation(1),
        spec: spec(7, Role::Leecher),
        index: 1,
        wall_ms: 1,
        usage: Usage::default(),
        reports: Vec::new(),
    })
}

fn feed(scope: Scope) -> Request {
    Request::Feed { from: 1, epoch: 1, scope, wait_ms: 0 }
}

fn operation(name: &str) -> Request {
    Request::Operation { name: name.into(), json: "{}".into() }
}

#[test]
fn masters_and_whoever_has_a_place_in_raft_send_its_messages() {
    for role in ROLES {
        assert_eq!(may_send_raft(role, RaftStanding::None), role == Role::Master);
        assert!(may_send_raft(role, RaftStanding::Learner));
        assert!(may_send_raft(role, RaftStanding::Voter));
    }
}

#[test]
fn nobody_but_a_master_expels() {
    assert_eq!(ROLES.map(may_expel), [true, false, false]);
}

#[test]
fn masters_author_every_topic_and_workers_their_own_outcomes() {
    for (topic, roles) in [
        (Topic::Pins, &[Role::Master][..]),
        (Topic::Discovery, &[Role::Master]),
        (Topic::Status, &[Role::Master, Role::Worker]),
    ] {
        for role in ROLES {
            assert_eq!(may_author(role, topic), roles.contains(&role), "{role} {topic:?}");
        }
    }
}

#[test]
fn each_request_is_for_these_roles() {
    use Role::{Leecher, Master, Worker};
    let cids = vec![cid(1)];
    let token = TokenId([1; 8]);
    let everyone: &[Role] = &[Master, Worker, Leecher];
    let (masters, nobody): (&[Role], &[Role]) = (&[Master], &[]);
    let (root, node, incarnation) = ([0; 32], ME, Incarnation(1));
    let table: &[(Request, &[Role])] = &[
        (Request::ReadIndex, everyone),
        (heartbeat(ME), everyone),
        (heartbeat(OTHER), masters),
        (Request::Goodbye { node, incarnation }, everyone),
        (Request::Goodbye { node: OTHER, incarnation }, nobody),
        (feed(Scope::MembersOnly), everyone),
        (feed(Scope::Holder(ME)), everyone),
        (feed(Scope::Holder(OTHER)), nobody),
        (Request::Blocks { cids: cids.clone() }, everyone),
        (Request::Have { cids }, everyone),
        (Request::StateHashes { root }, masters),
        (Request::StateChunk { root, chunk: 0 }, masters),
        (propose(ME, []), everyone),
        (propose(ME, [Op::Expire]), everyone),
        (propose(OTHER, [Op::Expire]), nobody),
        (propose(ME, [Op::Report { node, items: Vec::new() }]), everyone),
        (propose(ME, [Op::Report { node: OTHER, items: Vec::new() }]), masters),
        (propose(ME, [Op::Register { node, spec: spec(7, Worker) }]), everyone),
        (propose(ME, [Op::Register { node: OTHER, spec: spec(8, Worker) }]), masters),
        (propose(ME, [Op::SetRole { node, role: Master }]), masters),
        (propose(ME, [Op::SetLiveness { node, liveness: Liveness::Alive }]), masters),
        (propose(ME, [Op::SetRaft { node, standing: RaftStanding::Voter }]), masters),
        (propose(ME, [Op::Remove { node: OTHER }]), masters),
        (propose(ME, [Op::RevokeToken { token }]), masters),
        (propose(ME, [Op::Pin { spec: pin_spec(1, 1, 1), holders: vec![ME] }]), masters),
        (propose(ME, [Op::PinMany { pins: Vec::new() }]), masters),
        (propose(ME, [Op::Unpin { cid: cid(1) }]), masters),
        // One command too many spoils them all.
        (propose(ME, [Op::Expire, Op::Unpin { cid: cid(1) }]), masters),
    ];
    for (request, roles) in table {
        assert_eq!(allowed(request), *roles, "{request:?}");
    }
}

#[test]
fn an_operation_is_run_for_the_roles_of_its_row_and_only_where_it_leaves_the_node() {
    for info in ops::ALL {
        let runs_for_others = info.site != Site::Local && info.shape == Shape::Unary;
        let expected: Vec<Role> =
            ROLES.into_iter().filter(|role| runs_for_others && info.roles.contains(role)).collect();
        assert_eq!(allowed(&operation(info.name)), expected, "{}", info.name);
    }
    let code = |role, name: &str| match authorise(ME, role, &operation(name)) {
        Err(Refusal::Operation(refusal)) => refusal.code(),
        other => panic!("{other:?}"),
    };
    for name in ["cluster.token.create", "node.rm", "node.role"] {
        assert_eq!(code(Role::Leecher, name), "E_NOT_PERMITTED");
    }
    assert_eq!(code(Role::Master, "pin.bake"), "E_UNKNOWN_OPERATION");
}

#[test]
fn streams_and_what_is_about_a_node_itself_do_not_leave_it() {
    for site in [Site::Local, Site::Any, Site::Master, Site::Leader] {
        for shape in [Shape::Unary, Shape::Stream] {
            let info = OpInfo { site, shape, ..ops::ALL[0] };
            let expected = site != Site::Local && shape == Shape::Unary;
            assert_eq!(is_for_others(&info), expected, "{site:?} {shape:?}");
        }
    }
}

#[test]
fn a_refusal_says_who_asked_for_what() {
    let said = |request: &Request| authorise(ME, Role::Worker, request).unwrap_err().to_string();
    assert_eq!(said(&heartbeat(OTHER)), "n7 speaks for n8");
    assert_eq!(said(&propose(OTHER, [Op::Expire])), "not your request ids: n7 used one of n8");
    let remove = propose(ME, [Op::Remove { node: OTHER }]);
    assert_eq!(said(&remove), "only masters propose that, n7 is a worker");
    assert_eq!(said(&feed(Scope::Holder(OTHER))), "not your pins: n7 asks for those of n8");
    let state = Request::StateHashes { root: [0; 32] };
    assert_eq!(said(&state), "the state is for masters only, n7 is a worker");
    assert_eq!(said(&operation("store.gc")), "store.gc is not run for others");
}
