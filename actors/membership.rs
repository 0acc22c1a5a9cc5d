//! How a node comes to belong to a cluster: it founds one, or a master admits it.

use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::{Command, Entry, Op, Outcome, RequestId};
use ipfs_kit_core::id::{ClusterId, Incarnation, NodeId, PeerKey};
use ipfs_kit_core::limits;
use ipfs_kit_core::member::MemberSpec;
use ipfs_kit_core::proto::{JoinReply, JoinRequest};
use ipfs_kit_core::state::{ClusterState, Standing};
use ipfs_kit_core::token::JoinToken;
use tokio::time::Instant;

use crate::ports::{JoinError, Peers};
use crate::settings::Membership;

/// Pause between two rounds over all masters.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// What a joining node has to know beyond its membership.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Its membership.
    pub membership: Membership,
    /// Advertised addresses at which the master could not reach it, with the reason.
    pub unreachable: Vec<(String, String)>,
}

/// Why a node was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinFailure {
    /// The cluster said no; the same token gets the same answer.
    #[error("the cluster refused: {reason}")]
    Refused {
        /// Stable code.
        code: String,
        /// Why.
        reason: String,
    },
    /// No master answered in the time given; trying again with the same token is harmless.
    #[error("no master admitted this node within {within_s} s; {}", tried.join("; "))]
    NoMaster {
        /// How long was tried.
        within_s: u64,
        /// What each address led to.
        tried: Vec<String>,
    },
    /// The token names no master.
    #[error("the token names no master")]
    EmptyToken,
}

/// Asks the token's masters, one after the other and again, until one admits this node.
pub async fn join(
    peers: &dyn Peers,
    token: &JoinToken,
    spec: &MemberSpec,
    within: Duration,
) -> Result<Admission, JoinFailure> {
    let targets: Vec<(PeerKey, &String)> = token
        .masters
        .iter()
        .flat_map(|(key, addrs)| addrs.iter().map(move |addr| (*key, addr)))
        .collect();
    if targets.is_empty() {
        return Err(JoinFailure::EmptyToken);
    }
    let request = JoinRequest { token: token.clone(), spec: spec.clone() };
    let request = Bytes::from(codec::seal(Kind::Join, &request));
    let until = Instant::now() + within;
    loop {
        let mut tried = Vec::new();
        for (key, addr) in &targets {
            match peers.join((*addr).clone(), *key, request.clone()).await {
                Ok(answer) => match read_reply(&answer, token)? {
                    Ok(mut admission) => {
                        remember_where(&mut admission.membership, *key, addr);
                        return Ok(admission);
                    }
                    Err(reason) => tried.push(format!("{addr}: {reason}")),
                },
                Err(JoinError::Mismatch { addr, reason }) => {
                    let reason = format!("{addr}: {reason}");
                    return Err(JoinFailure::Refused { code: "E_MISMATCH".into(), reason });
                }
                Err(JoinError::Unreachable { addr, reason }) => {
                    tried.push(format!("{addr}: {reason}"));
                }
            }
        }
        if Instant::now() >= until {
            return Err(JoinFailure::NoMaster { within_s: within.as_secs(), tried });
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// The address that has just worked is good whatever the registry says.
fn remember_where(membership: &mut Membership, key: PeerKey, addr: &str) {
    for member in membership.members.iter_mut().filter(|member| member.spec.key == key) {
        if !member.spec.addrs.iter().any(|known| known == addr) {
            member.spec.addrs.insert(0, addr.to_owned());
        }
    }
}

/// `Ok(Err(..))`: another master, or a later try, may say something else.
fn read_reply(answer: &[u8], token: &JoinToken) -> Result<Result<Admission, String>, JoinFailure> {
    let reply = match codec::open(Kind::Join, answer, limits::RESPONSE_BYTES_MAX) {
        Ok(reply) => reply,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match reply {
        JoinReply::Welcome { cluster, .. } if cluster != token.cluster => {
            Ok(Err(format!("it belongs to cluster {cluster}, the token to {}", token.cluster)))
        }
        JoinReply::Welcome { node, cluster, epoch, members, unreachable } => Ok(Ok(Admission {
            membership: Membership { cluster, epoch, node, founder: false, members },
            unreachable,
        })),
        JoinReply::Refused { reason, retryable: true, .. } => Ok(Err(reason)),
        JoinReply::Refused { code, reason, retryable: false } => {
            Err(JoinFailure::Refused { code, reason })
        }
    }
}

/// A new cluster's first state, at log index 1, and its first master's membership.
pub fn found(
    cluster: ClusterId,
    first: &MemberSpec,
    incarnation: Incarnation,
    wall_ms: u64,
) -> Result<(ClusterState, Membership), ipfs_kit_core::command::Refusal> {
    let mut state = ClusterState::default();
    let request = RequestId { node: NodeId(1), incarnation, seq: 0 };
    let op = Op::Found { cluster, first: first.clone() };
    let entry = Entry { stamped_ms: wall_ms, commands: vec![Command { request, op }] };
    let applied = state.apply(1, &entry, Standing::Normal);
    match applied.outcomes.into_iter().next() {
        Some((_, Outcome::Admitted { node, .. })) => {
            let members = state.members().values().cloned().collect();
            let epoch = state.epoch();
            Ok((state, Membership { cluster, epoch, node, founder: true, members }))
        }
        Some((_, Outcome::Refused(refusal))) => Err(refusal),
        // `Found` on an empty state admits or refuses.
        other => unreachable!("founding led to {other:?}"),
    }
}
