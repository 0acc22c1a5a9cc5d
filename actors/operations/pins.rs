//! Pins: the leader places them, any master shows them.

use std::collections::BTreeSet;

use ipfs_kit_core::command::{Op, Outcome};
use ipfs_kit_core::id::{Cid, NodeId};
use ipfs_kit_core::ops::{CidRequest, PinAddRequest, PinInfo, PinLsRequest, PinPage, PinRemoved};
use ipfs_kit_core::pin::PinSpec;
use ipfs_kit_core::placement::{Fleet, Wish, capacity};
use ipfs_kit_core::query;
use ipfs_kit_core::state::{ClusterState, check_pin};

use super::{Hint, Operations, failure};
use crate::api::Failure;
use crate::cluster_manager::coordination::refusal_failure;

impl Operations {
    pub(super) async fn pin_add(&self, request: PinAddRequest) -> Result<PinInfo, Failure> {
        let Some(consensus) = self.parts.consensus() else {
            return self.own_pin_add(request).await;
        };
        let cid = request.cid.clone();
        let capacity = consensus.state.read(|state| capacity(state.members()));
        let spec = self.spec_within(request, capacity, self.parts.now_committed_ms());
        check_pin(&spec, &[]).map_err(|refusal| refusal_failure(&refusal))?;
        let holders = consensus.state.read(|state| place(state, &Fleet::of(state), &spec))?;
        self.submit(Op::Pin { spec, holders }).await?;
        self.pin_status(CidRequest { cid }).await
    }

    /// What a request asks of a cluster in which so many members may hold a copy.
    pub(super) fn spec_within(
        &self,
        request: PinAddRequest,
        capacity: u16,
        now_ms: u64,
    ) -> PinSpec {
        // Nobody asked for a number: a cluster that is still small does what it can, and says so.
        let may_lower = request.replicas_min.is_none() && request.replicas_max.is_none();
        let defaults = self.parts.replicas;
        let max = request.replicas_max.or(request.replicas_min).unwrap_or(defaults.1);
        let min = request.replicas_min.unwrap_or(defaults.0.min(max));
        let min = if may_lower { min.min(capacity.max(1)) } else { min };
        PinSpec {
            cid: request.cid,
            name: request.name,
            metadata: request.metadata,
            replicas_min: min,
            replicas_max: max,
            expires_ms: request.expires_in_ms.map(|life_ms| now_ms.saturating_add(life_ms)),
            size_bytes: request.size_bytes,
            kind: request.kind,
            origin: request.origin,
        }
    }

    pub(super) async fn pin_rm(&self, request: CidRequest) -> Result<PinRemoved, Failure> {
        if self.parts.cluster.is_none() {
            return self.own_pin_rm(request).await;
        }
        match self.submit(Op::Unpin { cid: request.cid.clone() }).await? {
            Outcome::Done { index } => Ok(PinRemoved { cid: request.cid, index }),
            other => Err(failure("E_PROTOCOL", format!("unpinning led to {other:?}"))),
        }
    }

    pub(super) async fn pin_ls(&self, request: PinLsRequest) -> Result<PinPage, Failure> {
        if self.parts.cluster.is_none() {
            return self.own_pin_ls(request).await;
        }
        self.linearizable(|state| query::pin_page(state, &request)).await
    }

    pub(super) async fn pin_status(&self, request: CidRequest) -> Result<PinInfo, Failure> {
        if self.parts.cluster.is_none() {
            return self.own_pin_status(request).await;
        }
        let pin = self
            .linearizable(|state| {
                let pin = state.pins().get(&request.cid)?.read();
                Some(query::pin_info(&pin, state.members()))
            })
            .await?;
        pin.ok_or_else(|| not_pinned(&request.cid))
    }
}

pub(super) fn not_pinned(cid: &Cid) -> Failure {
    failure("E_NOT_FOUND", format!("{cid} is not pinned"))
        .hint("ipfs-kit pin ls shows what is pinned")
}

/// New holders for what a pin lacks; fewer than the minimum of them is an error that says why.
pub(super) fn place(
    state: &ClusterState,
    fleet: &Fleet<'_>,
    spec: &PinSpec,
) -> Result<Vec<NodeId>, Failure> {
    let beside: BTreeSet<NodeId> = state
        .pins()
        .get(&spec.cid)
        .map(|pin| pin.read().replicas.keys().copied().collect())
        .unwrap_or_default();
    let copies = usize::from(spec.replicas_max).saturating_sub(beside.len());
    let avoid = BTreeSet::new();
    let wish = Wish { cid: &spec.cid, copies, beside: &beside, avoid: &avoid };
    let choice = fleet.choose(&wish);
    let reached = beside.len() + choice.holders.len();
    if reached < usize::from(spec.replicas_min) {
        let why = choice.shortfall.map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!(
            "{} copies are the minimum, and only {reached} members can hold one{why}",
            spec.replicas_min
        );
        return Err(failure("E_TOO_FEW_HOLDERS", message)
            .hint("ask for fewer with --replicas, or add workers: ipfs-kit cluster token create"));
    }
    Ok(choice.holders)
}
