//! What must always hold, numbered: one list for tests, simulation and release checks.
//!
//! Every check is a function over values and says what it found, so that a failed run names the broken
//! promise and not a line of code. `check_*` functions judge one moment; [`History`] judges a sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::delta::SetHash;
use crate::follow::View;
use crate::id::{Cid, NodeId, PeerKey, TokenId};
use crate::limits;
use crate::member::{Liveness, Member, RaftStanding, Role};
use crate::pin::{Pin, ReplicaState, SharedPin};
use crate::state::ClusterState;

/// A promise of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invariant {
    /// Its name for ever.
    pub id: &'static str,
    /// What is promised.
    pub statement: &'static str,
}

macro_rules! invariants {
    ($($name:ident = $id:literal, $statement:literal;)*) => {
        $(#[doc = $statement]
        pub const $name: Invariant = Invariant { id: $id, statement: $statement };)*
        /// Every invariant, by id.
        pub const ALL: &[Invariant] = &[$($name),*];
    };
}

invariants! {
    LOG_1 = "LOG-1", "masters at an equal index have an equal state";
    LOG_2 = "LOG-2", "index, committed time and history epoch of a master never go back";
    MEMBER_1 = "MEMBER-1", "a member's number is never given to another identity, nor used again";
    MEMBER_2 = "MEMBER-2", "an identity is one member at most, and none after its removal";
    MEMBER_3 = "MEMBER-3", "only masters have a place in raft, and there are at most seven";
    PIN_1 = "PIN-1", "at rest every pin has between its minimum and its maximum of live copies";
    PIN_2 = "PIN-2", "at rest no copy is listed on a member that is gone for good";
    PIN_3 = "PIN-3", "an acknowledged pin is there until it is ended";
    PIN_4 = "PIN-4", "at rest every copy listed on a member that is there is durable";
    PIN_5 = "PIN-5", "at rest a copy that is committed as durable is complete on its holder";
    STATE_1 = "STATE-1", "the derived indexes say what the pins say";
    STATE_2 = "STATE-2", "the state's hash is the hash of its members and pins";
    STATE_3 = "STATE-3", "everything in the state is within its bound";
    TOKEN_1 = "TOKEN-1", "a token admits at most one node, and a node comes by at most one token";
    VIEW_1 = "VIEW-1", "a follower's view is the projection of the masters' state at its index";
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which promise.
    pub id: &'static str,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.detail)
    }
}

/// The violations found by one check.
pub type Found = Vec<Violation>;

fn expect(found: &mut Found, invariant: Invariant, holds: bool, detail: impl FnOnce() -> String) {
    if !holds {
        found.push(Violation { id: invariant.id, detail: detail() });
    }
}

/// All that one state must satisfy at any moment.
pub fn check_state(state: &ClusterState) -> Found {
    let mut found = Found::new();
    check_derived(state, &mut found);
    check_hash(state, &mut found);
    check_bounds(state, &mut found);
    check_members(state, &mut found);
    check_tokens(state, &mut found);
    found
}

/// All that a state must satisfy when every fault is healed and nothing is left to do.
pub fn check_rest(state: &ClusterState) -> Found {
    let mut found = Found::new();
    let members = state.members();
    let stays = |member: &Member| member.liveness == Liveness::Alive && member.may_hold();
    let capacity = members.values().filter(|member| stays(member)).count();
    for (cid, pin) in state.pins().iter() {
        let pin = pin.read();
        let live = pin.pinned_on().filter(|node| members.get(node).is_some_and(stays)).count();
        // Fewer members than copies wanted is no fault of the cluster.
        let min = usize::from(pin.spec.replicas_min).min(capacity);
        let max = usize::from(pin.spec.replicas_max);
        expect(&mut found, PIN_1, (min..=max).contains(&live), || {
            format!("{cid} has {live} live copies, not {min} to {max}")
        });
        for (node, replica) in pin.replicas.iter() {
            let member = members.get(node);
            expect(&mut found, PIN_2, member.is_some(), || format!("{cid} is listed on {node}"));
            let there = member.is_some_and(stays);
            let durable = replica.state == ReplicaState::Pinned;
            expect(&mut found, PIN_4, !there || durable, || {
                format!("{cid} is {:?} on {node}", replica.state)
            });
        }
    }
    found
}

/// LOG-1 over the states of several masters, each with a name for the report.
pub fn check_masters(states: &[(String, &ClusterState)]) -> Found {
    let mut found = Found::new();
    let mut by_index: BTreeMap<u64, &(String, &ClusterState)> = BTreeMap::new();
    for item in states {
        let first = *by_index.entry(item.1.index()).or_insert(item);
        let key = |state: &ClusterState| (state.hash(), state.clock_ms(), state.epoch());
        expect(&mut found, LOG_1, key(item.1) == key(first.1), || {
            format!("{} and {} differ at index {}", first.0, item.0, item.1.index())
        });
    }
    found
}

/// LOG-1 to the last byte, deduplication windows and tokens included: for final scans.
pub fn check_masters_bytewise(states: &[(String, &ClusterState)]) -> Found {
    let mut found = check_masters(states);
    let mut by_index: BTreeMap<u64, (&str, blake3::Hash)> = BTreeMap::new();
    for (name, state) in states {
        let digest = blake3::hash(&state.to_bytes());
        let first = *by_index.entry(state.index()).or_insert((name, digest));
        expect(&mut found, LOG_1, first.1 == digest, || {
            format!("{} and {name} are saved differently at index {}", first.0, state.index())
        });
    }
    found
}

/// PIN-3: what users were told is pinned, and what the state knows.
pub fn check_acknowledged(state: &ClusterState, acknowledged: &BTreeSet<Cid>) -> Found {
    let mut found = Found::new();
    for cid in acknowledged {
        let there = state.pins().contains_key(cid);
        expect(&mut found, PIN_3, there, || format!("{cid} was acknowledged and is not there"));
    }
    found
}

/// PIN-5: what a holder's own journal says is complete.
pub fn check_holder(state: &ClusterState, node: NodeId, complete: &BTreeSet<Cid>) -> Found {
    let mut found = Found::new();
    let durable = |pin: &Pin| {
        pin.replicas.get(&node).is_some_and(|replica| replica.state == ReplicaState::Pinned)
    };
    for pin in state.holdings(node) {
        let cid = pin.cid();
        expect(&mut found, PIN_5, !durable(&pin.read()) || complete.contains(&cid), || {
            format!("{cid} is committed as durable on {node}, which does not have it")
        });
    }
    found
}

/// VIEW-1: a follower's view and a master's state. Says nothing if they are at different indexes.
pub fn check_view(name: &str, view: &View, state: &ClusterState) -> Found {
    let mut found = Found::new();
    if (view.epoch(), view.index()) == (state.epoch(), state.index()) {
        let same = *view == View::of(state, view.scope());
        expect(&mut found, VIEW_1, same, || {
            format!("{name} differs from the masters at index {}", view.index())
        });
    }
    found
}

fn check_derived(state: &ClusterState, found: &mut Found) {
    let mut holdings: BTreeMap<NodeId, BTreeSet<Cid>> = BTreeMap::new();
    let mut expiries = BTreeSet::new();
    for (cid, pin) in state.pins.iter() {
        let pin = pin.read();
        expect(found, STATE_1, state.pins.contains_key(&cid), || format!("{cid} is not found"));
        for node in pin.replicas.keys() {
            holdings.entry(*node).or_default().insert(cid.clone());
        }
        expiries.extend(pin.spec.expires_ms.map(|at_ms| (at_ms, cid)));
    }
    let noted = |node| state.holdings(node).map(SharedPin::cid).collect::<BTreeSet<Cid>>();
    let noted: BTreeMap<_, _> = state.holders().map(|node| (node, noted(node))).collect();
    expect(found, STATE_1, noted == holdings, || "what members hold differs".into());
    let count = |(node, held): (&NodeId, &BTreeSet<Cid>)| state.holding_count(*node) == held.len();
    expect(found, STATE_1, holdings.iter().all(count), || "how much members hold differs".into());
    expect(found, STATE_1, state.expiries == expiries, || "the ends of pins differ".into());
}

fn check_hash(state: &ClusterState, found: &mut Found) {
    let none = SetHash::default();
    let members = state.members.values().map(|member| SetHash::of_member(Some(member)));
    let pins = state.pins.values().map(|pin| SetHash::of_pin(Some(pin)));
    let hash = members.chain(pins).fold(none, |sum, item| sum.replace(none, item));
    expect(found, STATE_2, hash == state.hash, || {
        format!("it says {}, its items make {}", state.hash.short(), hash.short())
    });
}

fn check_bounds(state: &ClusterState, found: &mut Found) {
    let mut within = |what: &str, len: usize, max: usize| {
        expect(found, STATE_3, len <= max, || format!("{len} {what}, at most {max}"));
    };
    within("members", state.members.len(), limits::MEMBERS_MAX);
    within("tokens", state.tokens.len(), limits::TOKENS_MAX);
    for window in state.windows.values() {
        within("requests remembered", window.outcomes.len(), limits::DEDUP_WINDOW as usize);
    }
    for (cid, pin) in state.pins.iter() {
        let pin = pin.read();
        within("holders of a pin", pin.replicas.len(), limits::ALLOCATIONS_MAX);
        within("metadata entries of a pin", pin.spec.metadata.len(), limits::PIN_METADATA_MAX);
        if let Err(refusal) = crate::state::check_pin(&pin.spec, &[]) {
            within(&format!("broken rules of {cid} ({refusal})"), 1, 0);
        }
    }
}

fn check_members(state: &ClusterState, found: &mut Found) {
    let mut keys: BTreeMap<PeerKey, NodeId> = BTreeMap::new();
    let mut masters = 0;
    for (node, member) in &state.members {
        let key = member.spec.key;
        let known = *node == member.id && node.0 <= state.next_node;
        expect(found, MEMBER_1, known, || format!("{node} was never given out"));
        let first = *keys.entry(key).or_insert(*node);
        expect(found, MEMBER_2, first == *node, || format!("{first} and {node} are {key}"));
        let removed = state.removed.contains_key(&key);
        expect(found, MEMBER_2, !removed, || format!("{node} is {key}, which was removed"));
        let is_master = member.spec.role == Role::Master;
        masters += usize::from(is_master);
        expect(found, MEMBER_3, is_master || member.raft == RaftStanding::None, || {
            format!("{node} is a {} and a {:?}", member.spec.role, member.raft)
        });
    }
    expect(found, MEMBER_3, masters <= limits::MASTERS_MAX, || format!("{masters} masters"));
}

fn check_tokens(state: &ClusterState, found: &mut Found) {
    let mut used: BTreeMap<NodeId, TokenId> = BTreeMap::new();
    for (token, record) in &state.tokens {
        let Some(node) = record.used_by else { continue };
        let first = *used.entry(node).or_insert(*token);
        expect(found, TOKEN_1, first == *token, || format!("{first} and {token} admitted {node}"));
    }
}

/// Judges one master's states in the order in which they were: what only a sequence can break. It keeps
/// one entry for each member and token that ever was.
#[derive(Clone, Default, Debug)]
pub struct History {
    index: u64,
    clock_ms: u64,
    epoch: u64,
    identities: BTreeMap<NodeId, PeerKey>,
    present: BTreeSet<NodeId>,
    gone: BTreeSet<NodeId>,
    admitted: BTreeMap<TokenId, NodeId>,
}

impl History {
    /// Takes the next state. A master that restarts from its disk may be observed by a new history.
    pub fn observe(&mut self, state: &ClusterState) -> Found {
        let mut found = Found::new();
        let before = (self.epoch, self.index, self.clock_ms);
        let now = (state.epoch(), state.index(), state.clock_ms());
        let forward = now.0 > before.0 || (now.1 >= before.1 && now.2 >= before.2);
        expect(&mut found, LOG_2, forward && now.0 >= before.0, || {
            format!("epoch, index, time went from {before:?} to {now:?}")
        });
        (self.epoch, self.index, self.clock_ms) = now;
        for (node, member) in state.members() {
            let key = *self.identities.entry(*node).or_insert(member.spec.key);
            expect(&mut found, MEMBER_1, key == member.spec.key, || {
                format!("{node} was {key} and is {}", member.spec.key)
            });
            expect(&mut found, MEMBER_1, !self.gone.contains(node), || {
                format!("{node} was gone for good and is back")
            });
        }
        let present: BTreeSet<NodeId> = state.members().keys().copied().collect();
        self.gone.extend(self.present.difference(&present));
        self.present = present;
        // The id of a token that is gone may come again.
        self.admitted.retain(|token, _| state.tokens().contains_key(token));
        for (token, record) in state.tokens() {
            let Some(node) = record.used_by else { continue };
            let first = *self.admitted.entry(*token).or_insert(node);
            expect(&mut found, TOKEN_1, first == node, || {
                format!("{token} admitted {first} and {node}")
            });
        }
        found
    }
}

#[cfg(test)]
mod tests;
