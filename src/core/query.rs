//! What users see of members, pins and tokens, made from the committed facts.

use std::collections::BTreeMap;

use crate::id::{NodeId, PeerKey};
use crate::limits;
use crate::member::Member;
use crate::ops::{
    NodeInfo, PinInfo, PinLsRequest, PinPage, PinStatusKind, ReplicaInfo, TokenInfo, TokenList,
};
use crate::pin::{Pin, Replica, ReplicaState, SharedPin};
use crate::state::ClusterState;

/// Items in a page when the caller does not say.
const PAGE_DEFAULT: usize = 100;
/// Pins looked at for one page; a page may therefore be short, or empty, and still have a next one.
const SCAN_MAX: usize = 20_000;

/// A pin's copies in one word, and how many are durable on members that are there. `members` may be a
/// follower's.
pub fn pin_status(pin: &Pin, members: &BTreeMap<NodeId, Member>) -> (PinStatusKind, usize) {
    let is_live = |node: &NodeId, replica: &Replica| {
        replica.state == ReplicaState::Pinned && members.get(node).is_some_and(Member::is_present)
    };
    let live = pin.replicas.iter().filter(|(node, replica)| is_live(node, replica)).count();
    let gave_up = |replica: &&Replica| matches!(replica.state, ReplicaState::Failed { .. });
    // A copy that is lost or gone is as good as one on its way: its replacement is the planner's next act.
    let waiting = pin.replicas.len() - live - pin.replicas.values().filter(gave_up).count();
    (PinInfo::summarise(pin, live, waiting), live)
}

/// One pin with its copies. `members` may be a follower's.
pub fn pin_info(pin: &Pin, members: &BTreeMap<NodeId, Member>) -> PinInfo {
    let (status, live) = pin_status(pin, members);
    let replica_info = |(node, replica): (&NodeId, &Replica)| {
        let member = members.get(node);
        ReplicaInfo {
            node: *node,
            name: member.map(|member| member.spec.name.clone()).unwrap_or_default(),
            liveness: member.map(|member| member.liveness),
            state: replica.state.clone(),
        }
    };
    let spec = &pin.spec;
    PinInfo {
        cid: spec.cid.clone(),
        name: spec.name.clone(),
        status,
        replicas_min: spec.replicas_min,
        replicas_max: spec.replicas_max,
        replicas_live: live.try_into().unwrap_or(u16::MAX),
        size_bytes: spec.size_bytes,
        kind: spec.kind,
        revision: pin.revision,
        created_ms: pin.created_ms,
        expires_ms: spec.expires_ms,
        metadata: spec.metadata.clone(),
        replicas: pin.replicas.iter().map(replica_info).collect(),
    }
}

/// A page of a state's pins.
pub fn pin_page(state: &ClusterState, request: &PinLsRequest) -> PinPage {
    let limit = request.limit.unwrap_or(PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
    let part = request.name.as_deref().unwrap_or_default();
    let mut items = Vec::new();
    let mut last: Option<&SharedPin> = None;
    for (scanned, pin) in state.pins_after(request.after.as_ref()).enumerate() {
        if items.len() == limit || scanned == SCAN_MAX {
            return PinPage { items, next: last.map(SharedPin::cid) };
        }
        last = Some(pin);
        let pin = pin.read();
        let is_asked_for = pin.spec.name.contains(part)
            && request.status.is_none_or(|status| pin_status(&pin, state.members()).0 == status);
        if is_asked_for {
            items.push(pin_info(&pin, state.members()));
        }
    }
    PinPage { items, next: None }
}

/// One member with the number of pins assigned to it. What only the leader knows (who leads, when it was
/// heard, what it stores, where it can't be reached) is left open for the leader to fill in.
pub fn node_info(member: &Member, pins: u64) -> NodeInfo {
    NodeInfo {
        node: member.id,
        name: member.spec.name.clone(),
        peer: member.spec.key.to_string(),
        role: member.spec.role,
        raft: member.raft,
        leader: false,
        liveness: member.liveness,
        zone: member.spec.zone.clone(),
        addrs: member.spec.addrs.clone(),
        pins,
        heard_ms_ago: None,
        usage: None,
        unreachable: None,
    }
}

/// All tokens that exist, without their secrets.
pub fn token_list(state: &ClusterState) -> TokenList {
    let info = |(id, token): (&crate::id::TokenId, &crate::state::TokenRecord)| TokenInfo {
        id: *id,
        role: token.role_cap,
        expires_ms: token.expires_ms,
        used_by: token.used_by,
    };
    TokenList { items: state.tokens().iter().map(info).collect() }
}

/// Why a member could not be told from its text. Nothing was changed; the same text fails again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody has this number, name or peer id.
    #[error("no member has the number, name or peer id {text:?}")]
    Unknown {
        /// What was asked.
        text: String,
    },
    /// Several members have this name.
    #[error("several members are called {text:?}: {}; use the number", list(.nodes))]
    Ambiguous {
        /// What was asked.
        text: String,
        /// Who has it.
        nodes: Vec<NodeId>,
    },
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// The member that a user means: by number (`n3`), by peer id, or by a name that only one has.
pub fn find_member<'a>(
    members: &'a BTreeMap<NodeId, Member>,
    text: &str,
) -> Result<&'a Member, FindError> {
    if let Some(member) = number(text).and_then(|node| members.get(&node)) {
        return Ok(member);
    }
    if let Ok(key) = text.parse::<PeerKey>()
        && let Some(member) = members.values().find(|member| member.spec.key == key)
    {
        return Ok(member);
    }
    let named: Vec<&Member> = members.values().filter(|member| member.spec.name == text).collect();
    let text = || text.chars().take(80).collect();
    match named[..] {
        [member] => Ok(member),
        [] => Err(FindError::Unknown { text: text() }),
        _ => {
            let nodes = named.iter().map(|member| member.id).collect();
            Err(FindError::Ambiguous { text: text(), nodes })
        }
    }
}

/// `n3`, but not `3`: a machine may be called that.
fn number(text: &str) -> Option<NodeId> {
    text.strip_prefix('n')?.parse().ok().map(NodeId)
}

#[cfg(test)]
mod tests;
