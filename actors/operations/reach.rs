//! Who reaches whom: each member is dialled from here, dials back, and says what time it has.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{Member, Role};
use ipfs_kit_core::ops::{
    ClockAnswer, Dial, NodeClock, NodeProbe, Operation, ProbeAnswer, ProbeRequest, Reach, ReachList,
};
use ipfs_kit_core::proto::{Request, Response};
use serde::Serialize;
use tokio::time::Instant;

use super::{Operations, failure, no_cluster};
use crate::api::Failure;
use crate::node::Cluster;
use crate::rpc::unexpected;

/// Members looked at together.
const AT_ONCE: usize = 8;
/// How long one dial may take.
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// How long a member may take to dial back at all addresses.
const BACK_WITHIN: Duration = Duration::from_secs(12);
/// How long a member may take to say what time it has.
const CLOCK_WITHIN: Duration = Duration::from_secs(3);

impl Operations {
    pub(super) async fn node_clock(&self) -> Result<ClockAnswer, Failure> {
        Ok(ClockAnswer { wall_ms: self.parts.clock.wall_ms() })
    }

    pub(super) async fn node_probe(&self, request: ProbeRequest) -> Result<ProbeAnswer, Failure> {
        let cluster = self.parts.cluster.as_ref().ok_or_else(no_cluster)?;
        let member = cluster.view.read(|view| view.members().get(&request.node).cloned());
        let Some(member) = member else {
            let message = format!("node {} is no member, as far as is known here", request.node);
            return Err(failure("E_NOT_FOUND", message));
        };
        Ok(ProbeAnswer { dials: dial(cluster, &member).await })
    }

    pub(super) async fn node_reach(&self) -> Result<ReachList, Failure> {
        let cluster = self.parts.cluster.as_ref().ok_or_else(no_cluster)?;
        let mut others: Vec<Member> = cluster.view.read(|view| {
            let others = view.members().values().filter(|member| member.id != cluster.node);
            others.cloned().collect()
        });
        others.sort_by_key(|member| (member.spec.role != Role::Master, member.id));
        let left_out = others.len().saturating_sub(limits::REACH_MEMBERS_MAX);
        others.truncate(limits::REACH_MEMBERS_MAX);
        let looks = others.into_iter().map(|member| self.reach(cluster, member));
        let items = stream::iter(looks).buffered(AT_ONCE).collect().await;
        Ok(ReachList { items, left_out })
    }

    async fn reach(&self, cluster: &Cluster, member: Member) -> Reach {
        let there = dial(cluster, &member).await;
        let mut reach = Reach {
            node: member.id,
            name: member.spec.name,
            role: member.spec.role,
            there,
            back: None,
            silent: None,
            clock_ahead_ms: None,
            round_trip_ms: None,
        };
        let (asked, before_ms) = (Instant::now(), self.parts.clock.wall_ms());
        match ask::<NodeClock>(cluster, member.id, &serde_json::json!({}), CLOCK_WITHIN).await {
            Ok(ClockAnswer { wall_ms }) => {
                let round_trip_ms = asked.elapsed().as_millis() as u64;
                let here_ms = before_ms.saturating_add(round_trip_ms / 2);
                reach.clock_ahead_ms = Some(wall_ms.cast_signed() - here_ms.cast_signed());
                reach.round_trip_ms = Some(round_trip_ms);
            }
            Err(reason) => {
                reach.silent = Some(reason);
                return reach;
            }
        }
        let request = ProbeRequest { node: cluster.node };
        match ask::<NodeProbe>(cluster, member.id, &request, BACK_WITHIN).await {
            Ok(answer) => reach.back = Some(answer.dials),
            Err(reason) => reach.silent = Some(reason),
        }
        reach
    }
}

/// Dials every advertised address of a member anew.
async fn dial(cluster: &Cluster, member: &Member) -> Vec<Dial> {
    let peers = cluster.rpc.peers();
    let dials = member.spec.addrs.iter().take(limits::ADDRS_MAX).map(|addr| async move {
        let probe = peers.probe(member.spec.key, addr.clone());
        let error = match tokio::time::timeout(DIAL_WITHIN, probe).await {
            Ok(result) => result.err(),
            Err(_) => Some(format!("no answer within {} s", DIAL_WITHIN.as_secs())),
        };
        Dial { addr: addr.clone(), error }
    });
    futures_util::future::join_all(dials).await
}

/// Runs an operation on another member, for this one's user.
async fn ask<O: Operation>(
    cluster: &Cluster,
    node: NodeId,
    request: &impl Serialize,
    within: Duration,
) -> Result<O::Response, String> {
    let json = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let request = Request::Operation { name: O::NAME.to_owned(), json };
    match cluster.rpc.call(node, &request, within).await {
        Ok(Response::Operation { result: Ok(json) }) => {
            serde_json::from_str(&json).map_err(|error| error.to_string())
        }
        Ok(Response::Operation { result: Err(failure) }) => Err(failure.message),
        Ok(other) => Err(unexpected(node, &other).to_string()),
        Err(error) => Err(error.to_string()),
    }
}
