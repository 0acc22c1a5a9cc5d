//! Small values for the tests of every module: members, pins, and a state driven by real commands.

use crate::command::{Command, Entry, Op, Outcome, RequestId};
use crate::id::{Cid, ClusterId, Incarnation, NodeId, PeerKey, TokenId};
use crate::member::{HoldPolicy, Liveness, Member, MemberSpec, RaftStanding, Role};
use crate::pin::{ContentKind, PinSpec, ReplicaReport, ReplicaState};
use crate::state::{Applied, ClusterState, Standing};

/// A raw CID whose digest is the hash of `n`.
pub(crate) fn cid(n: u64) -> Cid {
    let mut bytes = vec![0x01, 0x55, 0x12, 0x20];
    bytes.extend_from_slice(blake3::hash(&n.to_le_bytes()).as_bytes());
    Cid::from_bytes(&bytes).unwrap()
}

pub(crate) fn spec(n: u64, role: Role) -> MemberSpec {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    MemberSpec {
        key: PeerKey(key),
        name: format!("node-{n}"),
        role,
        addrs: vec![format!("127.0.0.1:{}", 4000 + n % 1000)],
        zone: String::new(),
        weight: 1,
        hold: HoldPolicy::Auto,
    }
}

pub(crate) fn member(n: u64, role: Role) -> Member {
    Member {
        id: NodeId(n),
        spec: spec(n, role),
        raft: RaftStanding::None,
        liveness: Liveness::Alive,
        joined_index: n,
        since_ms: 0,
    }
}

pub(crate) fn pin_spec(n: u64, min: u16, max: u16) -> PinSpec {
    PinSpec {
        cid: cid(n),
        name: format!("pin-{n}"),
        metadata: Default::default(),
        replicas_min: min,
        replicas_max: max,
        expires_ms: None,
        size_bytes: Some(n),
        kind: ContentKind::File,
        origin: None,
    }
}

/// A state and the counters that its next entry needs.
#[derive(Clone)]
pub(crate) struct World {
    pub state: ClusterState,
    seq: u64,
}

impl World {
    /// A founded cluster: member 1 is its master, and `workers` more joined as workers.
    pub fn with_workers(workers: u64) -> Self {
        let mut world = Self { state: ClusterState::default(), seq: 0 };
        world.run(Op::Found { cluster: ClusterId([7; 16]), first: spec(1, Role::Master) });
        for n in 2..2 + workers {
            world.join(spec(n, Role::Worker));
        }
        world
    }

    pub fn join(&mut self, spec: MemberSpec) -> NodeId {
        let token = TokenId(self.seq.to_le_bytes());
        let expires_ms = self.state.clock_ms() + 1_000;
        let secret_hash = [9; 32];
        self.run(Op::CreateToken { token, secret_hash, role_cap: Role::Master, expires_ms });
        match self.run(Op::Join { token, secret_hash, spec }) {
            Outcome::Admitted { node, .. } => node,
            other => panic!("not admitted: {other:?}"),
        }
    }

    /// Applies one command in an entry of its own, without a stamp.
    pub fn run(&mut self, op: Op) -> Outcome {
        self.run_at(0, op).outcomes.remove(0).1
    }

    pub fn run_at(&mut self, stamped_ms: u64, op: Op) -> Applied {
        self.seq += 1;
        let request = RequestId { node: NodeId(1), incarnation: Incarnation(1), seq: self.seq };
        let entry = Entry { stamped_ms, commands: vec![Command { request, op }] };
        self.state.apply(self.state.index() + 1, &entry, Standing::Normal)
    }

    /// Pins `n` on these holders.
    pub fn pin(&mut self, n: u64, (min, max): (u16, u16), holders: &[u64]) {
        let holders = holders.iter().map(|n| NodeId(*n)).collect();
        self.run(Op::Pin { spec: pin_spec(n, min, max), holders });
    }

    /// A holder's word about its current assignment.
    pub fn report(&mut self, n: u64, node: u64, state: ReplicaState) -> Applied {
        let node = NodeId(node);
        let granted = self.state.pins()[&cid(n)].read().replicas[&node].granted;
        let items = vec![ReplicaReport { cid: cid(n), granted, state }];
        self.run_at(0, Op::Report { node, items })
    }

    pub fn set_liveness(&mut self, node: u64, liveness: Liveness) -> Applied {
        self.run_at(0, Op::SetLiveness { node: NodeId(node), liveness })
    }
}
