//! Coordination: commands and questions from anywhere on this node reach the leader.
//!
//! A command gets its request id here, once; every retry carries the same id, so that it takes effect
//! at most once however often the leadership moves while it is on its way.

use std::time::Duration;

use actix::{Actor, Handler, Message, ResponseFuture};
use ipfs_kit_core::command::{Command, Op, Outcome, Refusal, RequestId};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::{Liveness, Role};
use ipfs_kit_core::ops::Site;
use ipfs_kit_core::proto::{OperationFailure, Request, Response};
use tokio::time::Instant;

use crate::consensus::{ConsensusHandle, ProposeError};
use crate::request_ids::RequestIds;
use crate::rpc::{Rpc, RpcError, unexpected};
use crate::shared::{Shared, SharedView};
use crate::supervised;
use crate::supervision::Ctx;

/// First pause between two tries; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(150);
/// One remote try; shorter than an election, so that a dead leader is noticed by asking another.
const TRY_MAX: Duration = Duration::from_millis(1_500);

/// What the actor is made of; everything in it survives its restarts.
#[derive(Clone)]
pub struct Deps {
    /// This node.
    pub node: NodeId,
    /// Typed calls.
    pub rpc: Rpc,
    /// This node's view.
    pub view: SharedView,
    /// Consensus, where it runs here.
    pub consensus: ConsensusHandle,
    /// The leader as last heard of, from whomever.
    pub leader_hint: Shared<Option<NodeId>>,
    /// Request ids of this run. They outlive restarts: an id is never used twice.
    pub requests: RequestIds,
}

/// See the module.
pub struct Coordination {
    deps: Deps,
}

/// Commits one command, wherever the leader is.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Outcome, SubmitError>")]
pub struct Submit {
    /// The command.
    pub op: Op,
    /// The id under which it was proposed before; it takes effect once. None: a new command.
    pub request: Option<RequestId>,
    /// How long to try.
    pub within: Duration,
}

impl Submit {
    /// A new command.
    pub fn new(op: Op, within: Duration) -> Self {
        Self { op, request: None, within }
    }
}

/// Waits until everything acknowledged before now shows in this master's state.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<u64, SubmitError>")]
pub struct ReadBarrier {
    /// How long to try.
    pub within: Duration,
}

/// Runs an operation of the registry on a member that can; one member is asked.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<String, ForwardError>")]
pub struct Forward {
    /// Where it belongs.
    pub site: Site,
    /// Its name.
    pub name: String,
    /// Its request as JSON.
    pub json: String,
    /// How long the member may take.
    pub within: Duration,
    /// How often it was tried before; another member is asked each time.
    pub attempt: u32,
}

/// Why an operation has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardError {
    /// It ran and failed, or was refused.
    Failed(OperationFailure),
    /// Nobody could be asked, or who was asked is not the right one; ask again.
    Nowhere(String),
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It was committed and refused; nothing changed, and a retry gets the same answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody led, or nobody answered, for the whole time. It may still take effect, at most once.
    #[error("no leader answered within {within_ms} ms ({last})")]
    NoLeader {
        /// How long was tried.
        within_ms: u64,
        /// The last failure.
        last: String,
    },
    /// It never fits into an entry.
    #[error("{len_bytes} bytes of commands are more than an entry may hold")]
    TooLarge {
        /// Its size.
        len_bytes: usize,
    },
}

impl Coordination {
    /// A fresh actor over what survives.
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }
}

impl Actor for Coordination {
    type Context = Ctx<Self>;
}

supervised!(Coordination);

impl Handler<Submit> for Coordination {
    type Result = ResponseFuture<Result<Outcome, SubmitError>>;

    fn handle(&mut self, submit: Submit, _: &mut Ctx<Self>) -> Self::Result {
        let deps = self.deps.clone();
        Box::pin(async move { deps.submit(submit).await })
    }
}

impl Handler<ReadBarrier> for Coordination {
    type Result = ResponseFuture<Result<u64, SubmitError>>;

    fn handle(&mut self, barrier: ReadBarrier, _: &mut Ctx<Self>) -> Self::Result {
        let deps = self.deps.clone();
        Box::pin(async move { deps.read_barrier(barrier.within).await })
    }
}

impl Handler<Forward> for Coordination {
    type Result = ResponseFuture<Result<String, ForwardError>>;

    fn handle(&mut self, forward: Forward, _: &mut Ctx<Self>) -> Self::Result {
        let deps = self.deps.clone();
        Box::pin(async move { deps.forward(forward).await })
    }
}

/// One failed try: whom to ask next, and what happened.
struct Miss {
    leader: Option<NodeId>,
    reason: String,
}

impl Deps {
    async fn submit(&self, submit: Submit) -> Result<Outcome, SubmitError> {
        let request = submit.request.unwrap_or_else(|| self.requests.next());
        let command = Command { request, op: submit.op };
        let mut tries = Tries::new(submit.within);
        loop {
            let target = self.leader_guess(tries.count);
            match self.propose_to(target, &command).await? {
                Ok(Outcome::Refused(refusal)) => return Err(refusal.into()),
                Ok(outcome) => return Ok(outcome),
                Err(miss) => self.pause(&mut tries, miss).await?,
            }
        }
    }

    async fn propose_to(
        &self,
        target: Option<NodeId>,
        command: &Command,
    ) -> Result<Result<Outcome, Miss>, SubmitError> {
        let Some(target) = target else {
            return Ok(Err(Miss { leader: None, reason: "no master is known".into() }));
        };
        let outcomes = if target == self.node {
            let proposed = self.consensus.propose(vec![command.clone()]);
            match tokio::time::timeout(TRY_MAX, proposed).await {
                Ok(Ok(outcomes)) => outcomes,
                Ok(Err(ProposeError::TooLarge { len_bytes })) => {
                    return Err(SubmitError::TooLarge { len_bytes });
                }
                Ok(Err(error)) => return Ok(Err(miss_of_propose(&error))),
                Err(_) => return Ok(Err(miss_of_silence(target))),
            }
        } else {
            let request = Request::Propose { commands: vec![command.clone()] };
            match self.rpc.call(target, &request, TRY_MAX).await {
                Ok(Response::Proposed(outcomes)) => outcomes,
                Ok(other) => return Ok(Err(miss_of_rpc(&unexpected(target, &other)))),
                Err(error) => return Ok(Err(miss_of_rpc(&error))),
            }
        };
        self.leader_hint.write(|hint| *hint = Some(target));
        Ok(outcomes.into_iter().next().ok_or_else(|| Miss {
            leader: None,
            reason: format!("node {target} answered without an outcome"),
        }))
    }

    async fn read_barrier(&self, within: Duration) -> Result<u64, SubmitError> {
        let mut tries = Tries::new(within);
        loop {
            let target = self.leader_guess(tries.count);
            let index = match target {
                None => Err(Miss { leader: None, reason: "no master is known".into() }),
                Some(node) if node == self.node => {
                    match tokio::time::timeout(TRY_MAX, self.consensus.read_index()).await {
                        Ok(index) => index.map_err(|error| miss_of_propose(&error)),
                        Err(_) => Err(miss_of_silence(node)),
                    }
                }
                Some(node) => match self.rpc.call(node, &Request::ReadIndex, TRY_MAX).await {
                    Ok(Response::ReadIndex(index)) => Ok(index),
                    Ok(other) => Err(miss_of_rpc(&unexpected(node, &other))),
                    Err(error) => Err(miss_of_rpc(&error)),
                },
            };
            match index {
                Ok(index) => {
                    self.wait_applied(index, &tries).await?;
                    return Ok(index);
                }
                Err(miss) => self.pause(&mut tries, miss).await?,
            }
        }
    }

    /// Waits until this master has applied `index`; it is a heartbeat or two behind at most.
    async fn wait_applied(&self, index: u64, tries: &Tries) -> Result<(), SubmitError> {
        while self.consensus.state.read(|state| state.index()) < index {
            if self.consensus.stands_still() {
                return Err(tries.give_up("this master can't write its log".into()));
            }
            if tries.over() {
                return Err(tries.give_up("this master lags behind the leader".into()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn forward(&self, forward: Forward) -> Result<String, ForwardError> {
        let request = Request::Operation { name: forward.name, json: forward.json };
        let target = match forward.site {
            Site::Leader => self.leader_guess(forward.attempt),
            Site::Master | Site::Local | Site::Any => self.master_guess(forward.attempt),
        };
        let Some(node) = target.filter(|target| *target != self.node) else {
            return Err(ForwardError::Nowhere("no leader is known".into()));
        };
        let miss = match self.rpc.call(node, &request, forward.within).await {
            Ok(Response::Operation { result }) => return result.map_err(ForwardError::Failed),
            Ok(other) => miss_of_rpc(&unexpected(node, &other)),
            Err(error) => miss_of_rpc(&error),
        };
        self.leader_hint.write(|hint| *hint = miss.leader);
        Err(ForwardError::Nowhere(miss.reason))
    }

    /// The leader as far as is known, otherwise the masters in turn.
    fn leader_guess(&self, tries: u32) -> Option<NodeId> {
        let known = self.consensus.leader().or_else(|| self.leader_hint.read(|hint| *hint));
        known.filter(|_| tries % 3 != 2).or_else(|| self.master_guess(tries))
    }

    /// The masters in turn, those that are there first, starting at a place of this node's own.
    fn master_guess(&self, tries: u32) -> Option<NodeId> {
        let masters: Vec<NodeId> = self.view.read(|view| {
            let mut masters: Vec<_> =
                view.members().values().filter(|m| m.spec.role == Role::Master).collect();
            masters.sort_by_key(|m| (m.liveness == Liveness::Lost, m.id));
            masters.into_iter().map(|m| m.id).collect()
        });
        let count = masters.len();
        (count > 0).then(|| masters[(self.node.0 as usize + tries as usize) % count])
    }

    async fn pause(&self, tries: &mut Tries, miss: Miss) -> Result<(), SubmitError> {
        self.leader_hint.write(|hint| *hint = miss.leader);
        if tries.over() {
            return Err(tries.give_up(miss.reason));
        }
        // A named leader is asked at once, but only now and then: two confused masters naming each other
        // must not make this a busy loop.
        let known = miss.leader.is_some() && tries.count.is_multiple_of(4);
        if !known {
            tokio::time::sleep(tries.pause).await;
            tries.pause = (tries.pause * 2).min(PAUSE_MAX);
        }
        tries.count += 1;
        Ok(())
    }
}

struct Tries {
    within: Duration,
    until: Instant,
    pause: Duration,
    count: u32,
}

impl Tries {
    fn new(within: Duration) -> Self {
        Self { within, until: Instant::now() + within, pause: PAUSE_MIN, count: 0 }
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn give_up(&self, last: String) -> SubmitError {
        SubmitError::NoLeader { within_ms: self.within.as_millis() as u64, last }
    }
}

fn miss_of_propose(error: &ProposeError) -> Miss {
    let leader = match error {
        ProposeError::NotLeader { leader } | ProposeError::Lost { leader } => *leader,
        _ => None,
    };
    Miss { leader, reason: error.to_string() }
}

fn miss_of_silence(node: NodeId) -> Miss {
    let within_ms = TRY_MAX.as_millis();
    Miss { leader: None, reason: format!("node {node} did not answer within {within_ms} ms") }
}

fn miss_of_rpc(error: &RpcError) -> Miss {
    let leader = match error {
        RpcError::NotLeader { leader, .. } => *leader,
        _ => None,
    };
    Miss { leader, reason: error.to_string() }
}

/// The failure that users see when nobody leads.
pub fn no_quorum(error: &SubmitError) -> OperationFailure {
    match error {
        SubmitError::Refused(refusal) => refusal_failure(refusal),
        SubmitError::NoLeader { .. } => OperationFailure {
            code: "E_NO_QUORUM".into(),
            message: error.to_string(),
            hint: Some("ipfs-kit node ls shows which masters are there; a majority must be".into()),
            retryable: true,
        },
        SubmitError::TooLarge { .. } => OperationFailure {
            code: "E_TOO_LARGE".into(),
            message: error.to_string(),
            hint: Some("ask for less at once".into()),
            retryable: false,
        },
    }
}

/// The failure that users see when a command was refused.
pub fn refusal_failure(refusal: &Refusal) -> OperationFailure {
    let (code, hint) = match refusal {
        Refusal::NotPinned { .. } => ("E_NOT_FOUND", Some("ipfs-kit pin ls shows what is pinned")),
        Refusal::UnknownNode { .. } => ("E_NOT_FOUND", Some("ipfs-kit node ls shows the members")),
        Refusal::UnknownToken
        | Refusal::WrongSecret
        | Refusal::TokenExpired
        | Refusal::TokenUsed
        | Refusal::RoleAboveCap { .. } => {
            ("E_TOKEN", Some("ipfs-kit cluster token create makes a new one"))
        }
        Refusal::OutOfBounds { .. } => ("E_USAGE", None),
        _ => ("E_CONFLICT", None),
    };
    OperationFailure {
        code: code.into(),
        message: refusal.to_string(),
        hint: hint.map(str::to_owned),
        retryable: false,
    }
}
