//! The registry's operations as they run: checked, sent where they belong, carried out.

use std::time::Duration;

use ipfs_kit_core::command::{Command, Op, Outcome};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{self, Component, OpInfo, Operation, Shape, Site};
use ipfs_kit_core::proto::Response;
use ipfs_kit_core::query;
use ipfs_kit_core::state::ClusterState;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Failure, bad_request};
use crate::cluster_manager::coordination::{
    Coordination, Forward, ForwardError, ReadBarrier, Submit, SubmitError, no_quorum,
    refusal_failure,
};
use crate::node::Parts;
use crate::shared::Shared;
use crate::supervision::AskError;

mod adding;
mod blocks;
mod cars;
mod content;
mod dag;
mod health;
mod index;
mod many_pins;
mod members;
mod metrics;
mod own_pins;
mod pins;
mod reach;
mod status;
mod tokens;

/// How long a unary operation may take before it is answered with a timeout.
const WITHIN: Duration = Duration::from_secs(20);

/// How long coordination may take: a little longer than it tries, so that its own word is heard.
const ASK_WITHIN: Duration = Duration::from_secs(21);
/// How long this node's own leadership is relied on: it may be one of the past, or wait for its disk.
const DIRECT_WITHIN: Duration = Duration::from_secs(5);
/// Pause before another member is asked while nobody leads.
const LEADER_PAUSE: Duration = Duration::from_millis(40);

/// What became of an operation that belongs elsewhere.
enum Passed<T> {
    /// Another member's answer.
    Answer(Result<T, Failure>),
    /// Nobody could be asked just now.
    Nowhere(Failure),
}

/// Runs operations. Shared by the local interfaces and the other members' requests.
pub struct Operations {
    parts: Parts,
    /// The role whose shells run now.
    role: Shared<Role>,
    /// Members that content was read from a moment ago.
    recent: Shared<Option<(Instant, Vec<NodeId>)>>,
    /// Pins as they were counted a moment ago.
    tallies: Shared<Option<(Instant, metrics::Tallies)>>,
}

impl Operations {
    /// Over the node's shells.
    pub fn new(parts: Parts, role: Shared<Role>) -> Self {
        Self { parts, role, recent: Shared::new(None), tallies: Shared::new(None) }
    }

    /// The node's shells.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Runs an operation for a user of this node.
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, Failure> {
        let info = self.admit(name)?;
        if info.shape == Shape::Stream {
            return Err(Failure {
                code: "E_STREAM".into(),
                message: format!("{name} answers with a stream, which a call can't carry"),
                hint: Some(format!("use ipfs-kit {name}, or its own route of the HTTP API")),
                retryable: false,
            });
        }
        let run = || self.run(info, request.clone());
        let pass_on = |attempt| self.pass_on(info, request.clone(), attempt);
        self.where_it_belongs(info, run, pass_on).await
    }

    /// Runs an operation with its types; they become JSON only on the way to another member.
    async fn call_typed<O: Operation, F: Future<Output = Result<O::Response, Failure>>>(
        &self,
        request: O::Request,
        run: impl Fn(O::Request) -> F,
    ) -> Result<O::Response, Failure>
    where
        O::Request: Clone,
    {
        let info = self.admit(O::NAME)?;
        let run = || run(request.clone());
        let pass_on = async |attempt| {
            let json = serde_json::to_value(&request);
            let json = json.map_err(|error| bad_request(O::NAME, &error))?;
            match self.pass_on(info, json, attempt).await? {
                Passed::Answer(Ok(value)) => {
                    let typed = serde_json::from_value(value);
                    Ok(Passed::Answer(typed.map_err(|error| odd_answer(O::NAME, &error))))
                }
                Passed::Answer(Err(failure)) => Ok(Passed::Answer(Err(failure))),
                Passed::Nowhere(failure) => Ok(Passed::Nowhere(failure)),
            }
        };
        self.where_it_belongs(info, run, pass_on).await
    }

    async fn where_it_belongs<T, R, P>(
        &self,
        info: &OpInfo,
        run: impl Fn() -> R,
        pass_on: impl Fn(u32) -> P,
    ) -> Result<T, Failure>
    where
        R: Future<Output = Result<T, Failure>>,
        P: Future<Output = Result<Passed<T>, Failure>>,
    {
        let until = Instant::now() + WITHIN;
        let mut attempt = 0;
        loop {
            if self.runs_here(info) {
                match run().await {
                    Err(failure) if failure.code == NOT_LEADER => {}
                    result => return result,
                }
            } else {
                match pass_on(attempt).await? {
                    Passed::Answer(result) => return result,
                    Passed::Nowhere(failure) if Instant::now() >= until => return Err(failure),
                    Passed::Nowhere(_) => {}
                }
            }
            // The leadership is moving; it may come here.
            attempt += 1;
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// Runs an operation for a user of another member. Whether that one may have it run is judged before, by
    /// [`ipfs_kit_core::rights::authorise`].
    pub async fn serve_member(&self, from: NodeId, name: &str, json: &str) -> Response {
        let Some(info) = ops::find(name) else {
            return Response::Refused { reason: format!("there is no operation {name:?}") };
        };
        if !self.runs_here(info) {
            let leader = self.parts.consensus().and_then(|consensus| consensus.leader());
            return Response::NotLeader { leader };
        }
        let request = match serde_json::from_str(json) {
            Ok(request) => self.of_member(from, info, request),
            Err(error) => Err(bad_request(info.name, &error)),
        };
        let request = match request {
            Ok(request) => request,
            Err(failure) => return Response::Operation { result: Err(failure) },
        };
        match self.run(info, request).await {
            Ok(value) => Response::Operation { result: Ok(value.to_string()) },
            Err(failure) if failure.code == NOT_LEADER => {
                let leader = self.parts.consensus().and_then(|consensus| consensus.leader());
                Response::NotLeader { leader }
            }
            Err(failure) => Response::Operation { result: Err(failure) },
        }
    }

    /// What another member's user means: who names no member means that one. A leecher lets nobody else leave.
    fn of_member(&self, from: NodeId, info: &OpInfo, mut request: Value) -> Result<Value, Failure> {
        let of_one =
            [ops::NodeShow::NAME, ops::NodeLeave::NAME, ops::NodeRm::NAME, ops::NodeRole::NAME];
        if !of_one.contains(&info.name) {
            return Ok(request);
        }
        if let Some(fields) = request.as_object_mut() {
            let node = fields.entry("node").or_insert_with(|| Value::String(String::new()));
            if node.as_str() == Some("") {
                *node = Value::String(from.to_string());
            }
        }
        let cluster = self.parts.cluster.as_ref().ok_or_else(no_cluster)?;
        let role =
            cluster.view.read(|view| view.members().get(&from).map(|member| member.spec.role));
        let named = request["node"].as_str().map(|text| self.find_member(text));
        if info.name == ops::NodeLeave::NAME
            && role == Some(Role::Leecher)
            && named != Some(Ok(from))
        {
            let message = "a leecher may let only itself leave".to_owned();
            return Err(failure("E_NOT_PERMITTED", message)
                .hint("run it on a master or a worker, or on the member itself"));
        }
        Ok(request)
    }

    fn admit(&self, name: &str) -> Result<&'static OpInfo, Failure> {
        let role = self.role.read(|role| *role);
        ops::admit(name, role, |component| self.is_running(component)).map_err(|r| not_admitted(&r))
    }

    fn is_running(&self, component: Component) -> bool {
        match component {
            Component::Node | Component::Ipfs => true,
            Component::Cluster => self.parts.cluster.is_some(),
            Component::Index => self.parts.index.path().is_some(),
        }
    }

    fn runs_here(&self, info: &OpInfo) -> bool {
        let consensus = self.parts.consensus();
        match info.site {
            Site::Local | Site::Any => true,
            // Whatever gets here without a cluster needs none.
            Site::Master | Site::Leader if self.parts.cluster.is_none() => true,
            Site::Master => consensus.is_some_and(|c| c.is_moving()),
            Site::Leader => consensus.is_some_and(|c| c.leading()),
        }
    }

    async fn pass_on(
        &self,
        info: &OpInfo,
        request: Value,
        attempt: u32,
    ) -> Result<Passed<Value>, Failure> {
        let json = request.to_string();
        let forward =
            Forward { site: info.site, name: info.name.into(), json, within: WITHIN, attempt };
        let asked = self.coordination()?.ask_within(forward, ASK_WITHIN).await;
        let answer = match asked.map_err(|error| busy(&error))? {
            Ok(answer) => answer,
            Err(ForwardError::Nowhere(reason)) => {
                let within_ms = WITHIN.as_millis() as u64;
                let error = SubmitError::NoLeader { within_ms, last: reason };
                return Ok(Passed::Nowhere(no_quorum(&error)));
            }
            Err(ForwardError::Failed(failure)) => return Ok(Passed::Answer(Err(failure))),
        };
        let value = serde_json::from_str(&answer);
        Ok(Passed::Answer(value.map_err(|error| odd_answer(info.name, &error))))
    }

    async fn run(&self, info: &OpInfo, request: Value) -> Result<Value, Failure> {
        match info.name {
            ops::Status::NAME => typed::<ops::Status, _>(request, |_| self.status()).await,
            ops::Actors::NAME => typed::<ops::Actors, _>(request, |_| self.actors()).await,
            ops::Health::NAME => typed::<ops::Health, _>(request, |_| self.health()).await,
            ops::Metrics::NAME => typed::<ops::Metrics, _>(request, |_| self.metrics()).await,
            ops::PinAdd::NAME => typed::<ops::PinAdd, _>(request, |r| self.pin_add(r)).await,
            ops::PinRm::NAME => typed::<ops::PinRm, _>(request, |r| self.pin_rm(r)).await,
            ops::PinLs::NAME => typed::<ops::PinLs, _>(request, |r| self.pin_ls(r)).await,
            ops::PinStatus::NAME => {
                typed::<ops::PinStatus, _>(request, |r| self.pin_status(r)).await
            }
            ops::PinsAdd::NAME => typed::<ops::PinsAdd, _>(request, |r| self.pins_add(r)).await,
            ops::PinsStatus::NAME => {
                typed::<ops::PinsStatus, _>(request, |r| self.pins_status(r)).await
            }
            ops::NodeLs::NAME => typed::<ops::NodeLs, _>(request, |_| self.node_ls()).await,
            ops::NodeClock::NAME => {
                typed::<ops::NodeClock, _>(request, |_| self.node_clock()).await
            }
            ops::NodeProbe::NAME => {
                typed::<ops::NodeProbe, _>(request, |r| self.node_probe(r)).await
            }
            ops::NodeReach::NAME => {
                typed::<ops::NodeReach, _>(request, |_| self.node_reach()).await
            }
            ops::NodeShow::NAME => typed::<ops::NodeShow, _>(request, |r| self.node_show(r)).await,
            ops::NodeRole::NAME => typed::<ops::NodeRole, _>(request, |r| self.node_role(r)).await,
            ops::NodeLeave::NAME => {
                typed::<ops::NodeLeave, _>(request, |r| self.node_leave(r)).await
            }
            ops::NodeRm::NAME => typed::<ops::NodeRm, _>(request, |r| self.node_rm(r)).await,
            ops::TokenCreate::NAME => {
                typed::<ops::TokenCreate, _>(request, |r| self.token_create(r)).await
            }
            ops::TokenLs::NAME => typed::<ops::TokenLs, _>(request, |_| self.token_ls()).await,
            ops::TokenRevoke::NAME => {
                typed::<ops::TokenRevoke, _>(request, |r| self.token_revoke(r)).await
            }
            ops::IndexFind::NAME => {
                typed::<ops::IndexFind, _>(request, |r| self.index_find(r)).await
            }
            ops::ContentLs::NAME => {
                typed::<ops::ContentLs, _>(request, |r| self.content_ls(r)).await
            }
            ops::ContentStat::NAME => {
                typed::<ops::ContentStat, _>(request, |r| self.content_stat(r)).await
            }
            ops::BlockStat::NAME => {
                typed::<ops::BlockStat, _>(request, |r| self.block_stat(r)).await
            }
            ops::BlockRm::NAME => typed::<ops::BlockRm, _>(request, |r| self.block_rm(r)).await,
            ops::DagStat::NAME => typed::<ops::DagStat, _>(request, |r| self.dag_stat(r)).await,
            ops::StoreStat::NAME => {
                typed::<ops::StoreStat, _>(request, |_| self.store_stat()).await
            }
            ops::StoreGc::NAME => typed::<ops::StoreGc, _>(request, |_| self.store_gc()).await,
            other => Err(Failure {
                code: "E_UNKNOWN_OPERATION".into(),
                message: format!("{other} stands in the registry and runs nowhere"),
                hint: None,
                retryable: false,
            }),
        }
    }

    fn coordination(&self) -> Result<crate::supervision::ActorRef<Coordination>, Failure> {
        self.parts
            .cluster
            .as_ref()
            .map(|cluster| cluster.coordination.clone())
            .ok_or_else(no_cluster)
    }

    /// Commits one command: where this node leads by itself, otherwise, or when that failed, by way of
    /// coordination.
    async fn submit(&self, op: Op) -> Result<Outcome, Failure> {
        let cluster = self.parts.cluster.as_ref().ok_or_else(no_cluster)?;
        let begun = Instant::now();
        let mut submit = Submit::new(op, WITHIN);
        if cluster.consensus.leading() {
            let command = Command { request: cluster.requests.next(), op: submit.op.clone() };
            submit.request = Some(command.request);
            let proposed = cluster.consensus.propose(vec![command]);
            if let Ok(Ok(outcomes)) = tokio::time::timeout(DIRECT_WITHIN, proposed).await {
                match outcomes.into_iter().next() {
                    Some(Outcome::Refused(refusal)) => return Err(refusal_failure(&refusal)),
                    Some(outcome) => return Ok(outcome),
                    None => {}
                }
            }
            submit.within = WITHIN.saturating_sub(begun.elapsed());
        }
        let patience = submit.within + (ASK_WITHIN - WITHIN);
        let asked = cluster.coordination.ask_within(submit, patience).await;
        asked.map_err(|error| busy(&error))?.map_err(|error: SubmitError| no_quorum(&error))
    }

    /// Waits until this master's state covers everything acknowledged before, then looks at it.
    async fn linearizable<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> Result<R, Failure> {
        let consensus = self.parts.consensus().ok_or_else(no_cluster)?;
        if consensus.stands_still() {
            return Err(not_leader());
        }
        if consensus.leading() {
            consensus.read_index().await.map_err(|_| not_leader())?;
        } else {
            let asked =
                self.coordination()?.ask_within(ReadBarrier { within: WITHIN }, ASK_WITHIN).await;
            asked.map_err(|error| busy(&error))?.map_err(|error| no_quorum(&error))?;
        }
        Ok(consensus.state.read(look))
    }

    /// A member by number, name or peer id; nothing means this node.
    fn find_member(&self, text: &str) -> Result<NodeId, Failure> {
        let cluster = self.parts.cluster.as_ref().ok_or_else(no_cluster)?;
        if text.is_empty() {
            return Ok(cluster.node);
        }
        let consensus = self.parts.consensus().ok_or_else(no_cluster)?;
        let found = consensus
            .state
            .read(|state| query::find_member(state.members(), text).map(|member| member.id));
        found.map_err(|error| {
            let code = match error {
                query::FindError::Unknown { .. } => "E_NOT_FOUND",
                query::FindError::Ambiguous { .. } => "E_USAGE",
            };
            failure(code, error.to_string()).hint("ipfs-kit node ls shows the members")
        })
    }
}

/// A refusal before an operation begins, for users.
pub(crate) fn not_admitted(refusal: &ops::Refusal) -> Failure {
    failure(refusal.code(), refusal.to_string()).hint(match refusal {
        ops::Refusal::Unknown { .. } => "ipfs-kit call --list shows every operation",
        ops::Refusal::NotPermitted { .. } => {
            "ask a node with one of these roles; ipfs-kit node ls shows them"
        }
        ops::Refusal::NotRunning { component: Component::Cluster, .. } => {
            "join a cluster: ipfs-kit init --join TOKEN"
        }
        ops::Refusal::NotRunning { .. } => "ipfs-kit actors shows why",
    })
}

async fn typed<O: Operation, F: Future<Output = Result<O::Response, Failure>>>(
    request: Value,
    run: impl FnOnce(O::Request) -> F,
) -> Result<Value, Failure> {
    // No body at all is the empty request.
    let request = if request.is_null() { Value::Object(Default::default()) } else { request };
    let request = serde_json::from_value(request).map_err(|error| bad_request(O::NAME, &error))?;
    let response = run(request).await?;
    serde_json::to_value(response).map_err(|error| bad_request(O::NAME, &error))
}

fn odd_answer(name: &str, error: &serde_json::Error) -> Failure {
    failure("E_PROTOCOL", format!("the answer of {name} can't be read: {error}"))
        .hint("the nodes run different versions; upgrade the older one")
}

/// Said by an operation that found out on the way that this node does not lead any more.
const NOT_LEADER: &str = "E_NOT_LEADER";

fn not_leader() -> Failure {
    failure(NOT_LEADER, "this node does not lead any more".into())
}

/// A failure without a hint; see [`Hint`].
pub(crate) fn failure(code: &str, message: String) -> Failure {
    Failure { code: code.into(), message, hint: None, retryable: false }
}

/// Adds what to do next.
pub(crate) trait Hint {
    /// With what to do next.
    fn hint(self, hint: &str) -> Self;
    /// A retry may help.
    fn retryable(self) -> Self;
}

impl Hint for Failure {
    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

pub(crate) fn no_cluster() -> Failure {
    failure("E_NOT_RUNNING", "this node belongs to no cluster".into())
        .hint("join one: ipfs-kit init --join TOKEN")
}

pub(crate) fn busy(error: &AskError) -> Failure {
    failure("E_BUSY", error.to_string()).hint("try again in a moment").retryable()
}
