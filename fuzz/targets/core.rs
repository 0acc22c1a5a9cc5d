//! What members say to each other, and what is kept of it.

use std::fmt::Debug;

use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::{Command, Entry, Op, RequestId};
use ipfs_kit_core::id::{Cid, ClusterId, Incarnation, NodeId, PeerKey, TokenId};
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{HoldPolicy, MemberSpec, Role};
use ipfs_kit_core::pin::{ContentKind, PinSpec};
use ipfs_kit_core::proto::{Gossip, JoinReply, JoinRequest, Request, Response};
use ipfs_kit_core::state::{ClusterState, Standing};
use ipfs_kit_core::token::JoinToken;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Decodes a sealed value; one that is good comes back from its own encoding.
fn sealed<T>(kind: Kind, bytes: &[u8], max: usize) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let value: T = codec::open(kind, bytes, max).ok()?;
    let again = codec::seal(kind, &value);
    assert_eq!(codec::open::<T>(kind, &again, max).as_ref().ok(), Some(&value));
    Some(value)
}

pub fn request(bytes: &[u8]) {
    sealed::<Request>(Kind::Request, bytes, limits::REQUEST_BYTES_MAX);
}

pub fn response(bytes: &[u8]) {
    sealed::<Response>(Kind::Response, bytes, limits::RESPONSE_BYTES_MAX);
}

pub fn gossip(bytes: &[u8]) {
    sealed::<Gossip>(Kind::Gossip, bytes, limits::GOSSIP_BYTES_MAX);
}

pub fn join(bytes: &[u8]) {
    sealed::<JoinRequest>(Kind::Join, bytes, limits::JOIN_BYTES_MAX);
    sealed::<JoinReply>(Kind::Join, bytes, limits::RESPONSE_BYTES_MAX);
}

/// An entry of the log; applying it is total.
pub fn entry(bytes: &[u8]) {
    let Some(entry) = sealed::<Entry>(Kind::Entry, bytes, limits::ENTRY_BYTES_MAX) else { return };
    for mut state in [ClusterState::default(), founded()] {
        let index = state.index() + 1;
        for index in [index, index + 1] {
            let applied = state.apply(index, &entry, Standing::Normal);
            assert_eq!(applied.outcomes.len(), entry.commands.len());
        }
        let loaded = ClusterState::from_bytes(&state.to_bytes()).expect("a state is read back");
        assert_eq!(loaded.hash(), state.hash());
    }
}

pub fn state(bytes: &[u8]) {
    if let Ok(state) = ClusterState::from_bytes(bytes) {
        let again = ClusterState::from_bytes(&state.to_bytes()).expect("a state is read back");
        assert_eq!(again.hash(), state.hash());
    }
}

/// A token's line, and the same bytes as the body of one whose check digits are right.
pub fn token(bytes: &[u8]) {
    if let Ok(token) = codec::open::<JoinToken>(Kind::Token, bytes, limits::TOKEN_BYTES_MAX) {
        assert_eq!(JoinToken::from_text(&token.to_text()).as_ref(), Ok(&token));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(token) = JoinToken::from_text(text)
    {
        assert_eq!(JoinToken::from_text(&token.to_text()).as_ref(), Ok(&token));
    }
}

fn spec(number: u8, role: Role) -> MemberSpec {
    MemberSpec {
        key: PeerKey([number; 32]),
        name: format!("node-{number}"),
        role,
        addrs: vec![format!("127.0.0.1:{}", 4000 + u16::from(number))],
        zone: "rack".into(),
        weight: 1,
        hold: HoldPolicy::Auto,
    }
}

fn some_cid() -> Cid {
    Cid::from(&ipfs_kit_content::cid::cid_v1_raw(b"pinned"))
}

fn commands(ops: Vec<Op>) -> Vec<Command> {
    let request = |number: usize| RequestId {
        node: NodeId(1),
        incarnation: Incarnation(7),
        seq: number as u64 + 1,
    };
    ops.into_iter().enumerate().map(|(at, op)| Command { request: request(at), op }).collect()
}

fn entries() -> Vec<Entry> {
    let (token, secret_hash) = (TokenId([5; 8]), [9; 32]);
    let pin = PinSpec {
        cid: some_cid(),
        name: "pin".into(),
        metadata: [("key".to_owned(), "value".to_owned())].into(),
        replicas_min: 1,
        replicas_max: 2,
        expires_ms: Some(9_000),
        size_bytes: Some(6),
        kind: ContentKind::File,
        origin: Some(NodeId(1)),
    };
    let founding = vec![
        Op::Found { cluster: ClusterId([7; 16]), first: spec(1, Role::Master) },
        Op::CreateToken { token, secret_hash, role_cap: Role::Master, expires_ms: 9_000 },
        Op::Join { token, secret_hash, spec: spec(2, Role::Worker) },
        Op::Pin { spec: pin, holders: vec![NodeId(2)] },
    ];
    let later = vec![
        Op::SetRole { node: NodeId(2), role: Role::Leecher },
        Op::Register { node: NodeId(2), spec: spec(2, Role::Worker) },
        Op::Reassign { cid: some_cid(), revision: 4, add: vec![NodeId(1)], remove: Vec::new() },
        Op::Report { node: NodeId(2), items: Vec::new() },
        Op::RevokeToken { token },
        Op::Expire,
        Op::Unpin { cid: some_cid() },
        Op::Remove { node: NodeId(2) },
    ];
    [founding, later].map(|ops| Entry { stamped_ms: 1_000, commands: commands(ops) }).into()
}

/// A cluster of a master and a worker, with a pin and a token.
fn founded() -> ClusterState {
    let mut state = ClusterState::default();
    state.apply(1, &entries()[0], Standing::Normal);
    state
}

pub fn entry_seeds() -> Vec<Vec<u8>> {
    entries().iter().map(|entry| codec::seal(Kind::Entry, entry)).collect()
}

pub fn state_seeds() -> Vec<Vec<u8>> {
    vec![ClusterState::default().to_bytes(), founded().to_bytes()]
}

pub fn request_seeds() -> Vec<Vec<u8>> {
    let commands = entries().swap_remove(0).commands;
    [
        Request::Propose { commands },
        Request::ReadIndex,
        Request::Blocks { cids: vec![some_cid(), some_cid()] },
        Request::Have { cids: vec![some_cid()] },
        Request::StateChunk { root: [3; 32], chunk: 2 },
    ]
    .iter()
    .map(|request| codec::seal(Kind::Request, request))
    .collect()
}

pub fn response_seeds() -> Vec<Vec<u8>> {
    [
        Response::ReadIndex(5),
        Response::Blocks(vec![Some(b"block".to_vec().into()), None]),
        Response::Have(vec![true, false]),
        Response::StateHashes(vec![1; 64].into()),
        Response::Operation { result: Ok("{}".into()) },
        Response::NotLeader { leader: Some(NodeId(2)) },
        Response::Refused { reason: "no".into() },
        Response::Ok,
    ]
    .iter()
    .map(|response| codec::seal(Kind::Response, response))
    .collect()
}

pub fn gossip_seeds() -> Vec<Vec<u8>> {
    let outcomes =
        Gossip::Outcomes { node: NodeId(2), incarnation: Incarnation(3), reports: Vec::new() };
    vec![codec::seal(Kind::Gossip, &outcomes)]
}

fn some_token() -> JoinToken {
    JoinToken {
        cluster: ClusterId([7; 16]),
        epoch: 1,
        token: TokenId([5; 8]),
        secret: [9; 16],
        role_cap: Role::Worker,
        expires_ms: 9_000,
        masters: vec![(PeerKey([1; 32]), vec!["127.0.0.1:4701".into()])],
    }
}

pub fn token_seeds() -> Vec<Vec<u8>> {
    vec![some_token().to_text().into_bytes(), codec::seal(Kind::Token, &some_token())]
}

pub fn join_seeds() -> Vec<Vec<u8>> {
    let request = JoinRequest { token: some_token(), spec: spec(2, Role::Worker) };
    let reply = JoinReply::Refused { code: "E_TOKEN".into(), reason: "x".into(), retryable: true };
    vec![codec::seal(Kind::Join, &request), codec::seal(Kind::Join, &reply)]
}
