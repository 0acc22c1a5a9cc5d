//! Many pins in one request: placed by the leader, committed as few commands, answered one by one.

use ipfs_kit_core::codec;
use ipfs_kit_core::command::{Op, Outcome, Placed};
use ipfs_kit_core::limits;
use ipfs_kit_core::ops::{
    CidRequest, Each, Line, Operation, PinAddRequest, PinCommitted, PinInfo, PinsAdd,
    PinsAddRequest, PinsAdded, PinsInfo, PinsStatus, PinsStatusRequest,
};
use ipfs_kit_core::placement::{Fleet, capacity};
use ipfs_kit_core::query;
use ipfs_kit_core::state::{ClusterState, check_pin};

use super::pins::{not_pinned, place};
use super::{Hint, Operations, failure};
use crate::api::Failure;
use crate::cluster_manager::coordination::refusal_failure;

/// Pins that are placed before others may write the state again.
const PLACED_AT_ONCE: usize = 64;
/// Encoded bytes of pins in one command, so that many commands fit an entry and a call between members.
const COMMAND_BYTES: usize = 128 * 1024;
/// Bytes of details in one answer; what is beyond is answered with an error.
const ANSWER_BYTES: usize = limits::RESPONSE_BYTES_MAX / 4;
/// What a pin's details take beside its name and its metadata, generously.
const DETAILS_BYTES: usize = 1024;

impl Operations {
    /// [`PinsAdd`] for a user of this node, without its detour over JSON where this node leads.
    pub async fn add_pins(&self, request: PinsAddRequest) -> Result<PinsAdded, Failure> {
        self.call_typed::<PinsAdd, _>(request, |request| self.pins_add(request)).await
    }

    /// [`PinsStatus`] likewise.
    pub async fn look_at_pins(&self, request: PinsStatusRequest) -> Result<PinsInfo, Failure> {
        self.call_typed::<PinsStatus, _>(request, |request| self.pins_status(request)).await
    }

    pub(super) async fn pins_add(&self, request: PinsAddRequest) -> Result<PinsAdded, Failure> {
        check_count(PinsAdd::NAME, request.pins.len())?;
        let Some(consensus) = self.parts.consensus() else {
            return Ok(self.own_pins_add(request).await);
        };
        let mut items: Vec<Option<Line<PinCommitted>>> = Vec::new();
        items.resize_with(request.pins.len(), || None);
        let mut commands = vec![Gathered::default()];
        let mut requests = request.pins.into_iter().enumerate().peekable();
        while requests.peek().is_some() {
            let slice: Vec<_> = requests.by_ref().take(PLACED_AT_ONCE).collect();
            let now_ms = self.parts.now_committed_ms();
            let placed = consensus.state.read(|state| {
                let mut fleet = Fleet::of(state);
                let capacity = capacity(state.members());
                let place =
                    |(at, request)| (at, self.placed(state, &mut fleet, request, capacity, now_ms));
                slice.into_iter().map(place).collect::<Vec<_>>()
            });
            for (at, placed) in placed {
                match placed {
                    Ok(placed) => gather(&mut commands, at, placed),
                    Err(error) => items[at] = Some(Line::Failed { error }),
                }
            }
        }
        let submitted = commands.into_iter().filter(|command| !command.pins.is_empty());
        let submitted = submitted.map(|command| self.submit_many(command));
        for (at, line) in futures_util::future::join_all(submitted).await.into_iter().flatten() {
            items[at] = Some(line);
        }
        let items = items
            .into_iter()
            .map(|line| line.unwrap_or_else(|| Line::Failed { error: unanswered() }));
        Ok(Each { items: items.collect() })
    }

    /// A checked pin with its holders.
    fn placed(
        &self,
        state: &ClusterState,
        fleet: &mut Fleet<'_>,
        request: PinAddRequest,
        capacity: u16,
        now_ms: u64,
    ) -> Result<Placed, Failure> {
        let spec = self.spec_within(request, capacity, now_ms);
        check_pin(&spec, &[]).map_err(|refusal| refusal_failure(&refusal))?;
        let holders = place(state, fleet, &spec)?;
        for holder in &holders {
            fleet.count(*holder);
        }
        Ok(Placed { spec, holders })
    }

    async fn submit_many(&self, command: Gathered) -> Vec<(usize, Line<PinCommitted>)> {
        let Gathered { places, pins, .. } = command;
        let cids: Vec<_> = pins.iter().map(|placed| placed.spec.cid.clone()).collect();
        let committed = match self.submit(Op::PinMany { pins }).await {
            Ok(Outcome::Each { index, refused }) => Ok((index, refused)),
            Ok(other) => Err(failure("E_PROTOCOL", format!("pinning led to {other:?}"))),
            Err(error) => Err(error),
        };
        let (index, refused) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                let failed = |at| (at, Line::Failed { error: error.clone() });
                return places.into_iter().map(failed).collect();
            }
        };
        let done = cids.into_iter().map(|cid| Line::Done(PinCommitted { cid, index }));
        let mut lines: Vec<_> = places.into_iter().zip(done).collect();
        for (at, refusal) in refused {
            if let Some((_, line)) = lines.get_mut(at as usize) {
                *line = Line::Failed { error: refusal_failure(&refusal) };
            }
        }
        lines
    }

    /// Without a cluster there is nothing to commit: each root is fetched and held in its turn.
    async fn own_pins_add(&self, request: PinsAddRequest) -> PinsAdded {
        let mut items = Vec::with_capacity(request.pins.len());
        for pin in request.pins {
            let added = self.own_pin_add(pin).await;
            items.push(added.map(|info| PinCommitted { cid: info.cid, index: 0 }).into());
        }
        Each { items }
    }

    pub(super) async fn pins_status(
        &self,
        request: PinsStatusRequest,
    ) -> Result<PinsInfo, Failure> {
        check_count(PinsStatus::NAME, request.pins.len())?;
        if self.parts.cluster.is_none() {
            let mut items = Vec::with_capacity(request.pins.len());
            for pin in request.pins {
                items.push(self.own_pin_status(pin).await.into());
            }
            return Ok(Each { items });
        }
        let look = |state: &ClusterState| {
            let mut left_bytes = ANSWER_BYTES;
            let info = |pin: &CidRequest| details(state, pin, &mut left_bytes).into();
            Each { items: request.pins.iter().map(info).collect() }
        };
        self.linearizable(look).await
    }
}

fn details(
    state: &ClusterState,
    request: &CidRequest,
    left_bytes: &mut usize,
) -> Result<PinInfo, Failure> {
    let pin = state.pins().get(&request.cid).ok_or_else(|| not_pinned(&request.cid))?;
    let pin = pin.read();
    let metadata = pin.spec.metadata.iter().map(|(key, value)| key.len() + value.len());
    let replicas = pin.replicas.len() * DETAILS_BYTES / 4;
    let size_bytes = DETAILS_BYTES + replicas + pin.spec.name.len() + metadata.sum::<usize>();
    *left_bytes = left_bytes.checked_sub(size_bytes).ok_or_else(|| {
        failure("E_TOO_LARGE", "the answer to all is too large".into())
            .hint("ask for fewer pins at once")
    })?;
    Ok(query::pin_info(&pin, state.members()))
}

/// Pins of one command.
#[derive(Default)]
struct Gathered {
    /// Where each stands in the request.
    places: Vec<usize>,
    pins: Vec<Placed>,
    size_bytes: usize,
}

fn gather(commands: &mut Vec<Gathered>, at: usize, placed: Placed) {
    let len_bytes = codec::sealed_len(&placed);
    let full =
        |last: &Gathered| last.size_bytes + len_bytes > COMMAND_BYTES && !last.pins.is_empty();
    if commands.last().is_none_or(full) {
        commands.push(Gathered::default());
    }
    if let Some(last) = commands.last_mut() {
        last.places.push(at);
        last.pins.push(placed);
        last.size_bytes += len_bytes;
    }
}

fn check_count(name: &str, count: usize) -> Result<(), Failure> {
    if count <= limits::PIN_MANY_MAX {
        return Ok(());
    }
    let message =
        format!("{name} takes at most {} pins at once, not {count}", limits::PIN_MANY_MAX);
    Err(failure("E_USAGE", message).hint("send them in several requests, or as a stream"))
}

fn unanswered() -> Failure {
    failure("E_PROTOCOL", "the cluster did not say what became of it".into())
}
