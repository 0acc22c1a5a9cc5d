//! Specs: what lives in a tree and under which rules, as data. A spec can be started many times.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipfs_kit_core::restart::{
    BackOff, ChildRule, GroupRule, Importance, Intensity, RestartPolicy, Strategy,
};

use super::actor_ref::ActorRef;
use super::body::{ActorBody, Body, SupervisedActor, TaskBody};
use super::context::Ctx;
use super::fault::Fault;
use super::node::{Node, NodeSpec};
use super::path::{ActorPath, PathError};
use super::signal::Signal;
use super::supervisor::{Env, SupervisorRef, supervise};
use super::tree::Kind;

/// Most children of one supervisor, those added at run time included.
pub(crate) const CHILDREN_MAX: usize = 256;
/// Deepest tree.
const DEPTH_MAX: usize = 8;
/// Messages that may wait for an actor unless its spec says otherwise.
const CAPACITY: usize = 128;
/// Erlang/OTP's grace for workers.
const STOP_DEADLINE_MS: u64 = 5_000;
const START_TIMEOUT_MS: u64 = 30_000;
/// A handler may hold the thread this long. Far above what one should take, so that a warning means
/// something also on a busy machine.
const HANDLER_BUDGET: Duration = Duration::from_millis(50);

/// A tree that can't be. Nothing was started; retrying can't help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// A name is none.
    #[error("bad name in a spec")]
    Name {
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// Two siblings have one name.
    #[error("{supervisor} has two children named `{name}`")]
    Duplicate {
        /// The supervisor's name.
        supervisor: String,
        /// The name.
        name: String,
    },
    /// More children than a supervisor may have.
    #[error("{supervisor} has more than {CHILDREN_MAX} children")]
    TooManyChildren {
        /// The supervisor's name.
        supervisor: String,
    },
    /// Supervisors nested too deep.
    #[error("{supervisor} is nested deeper than {DEPTH_MAX}")]
    TooDeep {
        /// The supervisor's name.
        supervisor: String,
    },
}

/// What happens to an actor's mailbox between two incarnations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Revival {
    /// The actor is revived in place: its queue is kept. An actor that was killed is re-created.
    #[default]
    InPlace,
    /// The actor is re-created: its queue becomes dead letters.
    Recreate,
}

#[derive(Clone)]
enum Build {
    Actor(Rc<dyn Fn(Arc<Node>, Revival) -> Box<dyn Body>>),
    Task(super::body::TaskFactory),
    Supervisor(Rc<SupervisorSpec>),
}

/// The spec of one child: an actor, a future or a group.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) rule: ChildRule,
    type_name: &'static str,
    capacity: usize,
    handler_budget: Duration,
    revival: Revival,
    build: Build,
}

impl ChildSpec {
    /// An actor. The factory makes it for the first incarnation and rebuilds it for every further
    /// one; the reference leads to it whenever it is there.
    pub fn actor<A: SupervisedActor>(
        name: &str,
        actor_ref: &ActorRef<A>,
        factory: impl Fn(&mut Ctx<A>) -> A + 'static,
    ) -> Self {
        let (actor_ref, factory) = (actor_ref.clone(), Rc::new(factory));
        let build = Build::Actor(Rc::new(move |node, revival| {
            Box::new(ActorBody::new(node, actor_ref.clone(), factory.clone(), revival))
        }));
        Self::new(name, std::any::type_name::<A>(), CAPACITY, build)
    }

    /// A future, made anew for each incarnation. It must call [`TaskCtx::ready`], and should end when
    /// [`TaskCtx::stopped`] does.
    pub fn task<F>(name: &str, factory: impl Fn(TaskCtx) -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), Fault>> + 'static,
    {
        let build = Build::Task(Rc::new(move |ctx| Box::pin(factory(ctx))));
        Self::new(name, "task", 0, build)
    }

    /// A group under a supervisor of its own. It has no deadlines unless they are set here: its
    /// children have theirs.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let name = spec.name.clone();
        let child = Self::new(&name, "supervisor", 0, Build::Supervisor(Rc::new(spec)));
        let rule = ChildRule { start_timeout_ms: None, stop_deadline_ms: None, ..child.rule };
        Self { rule, ..child }
    }

    fn new(name: &str, type_name: &'static str, capacity: usize, build: Build) -> Self {
        let rule = ChildRule {
            start_timeout_ms: Some(START_TIMEOUT_MS),
            stop_deadline_ms: Some(STOP_DEADLINE_MS),
            ..ChildRule::default()
        };
        Self {
            name: name.to_owned(),
            rule,
            type_name,
            capacity,
            handler_budget: HANDLER_BUDGET,
            revival: Revival::InPlace,
            build,
        }
    }

    /// After which exits it is restarted; permanent unless set.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.rule.restart = policy;
        self
    }

    /// What its absence means; essential unless set.
    #[must_use]
    pub fn importance(mut self, importance: Importance) -> Self {
        self.rule.importance = importance;
        self
    }

    /// How long it may take to be ready.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.rule.start_timeout_ms = Some(super::node::millis(timeout));
        self
    }

    /// How long it may take to stop before it is killed.
    #[must_use]
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.rule.stop_deadline_ms = Some(super::node::millis(deadline));
        self
    }

    /// How many messages may wait for the actor; at least one.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        if self.kind() == Kind::Actor {
            self.capacity = messages.max(1);
        }
        self
    }

    /// How long a handler may hold the thread before it is warned about.
    #[must_use]
    pub fn handler_budget(mut self, budget: Duration) -> Self {
        self.handler_budget = budget;
        self
    }

    /// What happens to the actor's queue between incarnations.
    #[must_use]
    pub fn revival(mut self, revival: Revival) -> Self {
        self.revival = revival;
        self
    }

    /// The name, the last part of the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_supervisor(&self) -> bool {
        self.kind() == Kind::Supervisor
    }

    fn kind(&self) -> Kind {
        match &self.build {
            Build::Actor(_) => Kind::Actor,
            Build::Task(_) => Kind::Task,
            Build::Supervisor(_) => Kind::Supervisor,
        }
    }

    /// Checks the spec and everything below it.
    pub(crate) fn check(&self, depth: usize) -> Result<(), SpecError> {
        ActorPath::root(&self.name).map_err(|source| SpecError::Name { source })?;
        match &self.build {
            Build::Supervisor(spec) => spec.check(depth),
            Build::Actor(_) | Build::Task(_) => Ok(()),
        }
    }

    pub(crate) fn node_spec(&self, path: ActorPath, order: u32) -> NodeSpec {
        NodeSpec {
            path,
            kind: self.kind(),
            type_name: self.type_name,
            importance: self.rule.importance,
            order,
            capacity: self.capacity,
            handler_budget: self.handler_budget,
            group: match &self.build {
                Build::Supervisor(spec) => Some(spec.group),
                Build::Actor(_) | Build::Task(_) => None,
            },
        }
    }

    pub(crate) fn build(&self, node: Arc<Node>, env: &Env) -> Box<dyn Body> {
        match &self.build {
            Build::Actor(build) => build(node, self.revival),
            Build::Task(factory) => Box::new(TaskBody::new(node, factory.clone())),
            Build::Supervisor(spec) => {
                let (spec, env) = (spec.clone(), env.clone());
                let factory = move |ctx| {
                    let running = supervise(spec.clone(), env.clone(), ctx);
                    Box::pin(running) as futures_util::future::LocalBoxFuture<'static, _>
                };
                Box::new(TaskBody::new(node, Rc::new(factory)))
            }
        }
    }
}

/// The spec of a supervisor: its children in the order of starting, and how they restart.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(crate) name: String,
    pub(crate) group: GroupRule,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) control: Option<SupervisorRef>,
}

impl SupervisorSpec {
    /// A supervisor without children.
    pub fn new(name: &str, strategy: Strategy) -> Self {
        let group = GroupRule { strategy, ..GroupRule::default() };
        Self { name: name.to_owned(), group, children: Vec::new(), control: None }
    }

    /// How many restarts it bears. Make a parent's window looser than its children's.
    #[must_use]
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> Self {
        self.group.intensity = Intensity { max_restarts, period_ms: super::node::millis(period) };
        self
    }

    /// How long it waits between a crash and the restart.
    #[must_use]
    pub fn back_off(mut self, back_off: BackOff) -> Self {
        self.group.back_off = back_off;
        self
    }

    /// Adds a child behind the others.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Lets the reference change the children at run time.
    #[must_use]
    pub fn control(mut self, control: &SupervisorRef) -> Self {
        self.control = Some(control.clone());
        self
    }

    fn check(&self, depth: usize) -> Result<(), SpecError> {
        let supervisor = || self.name.clone();
        if depth >= DEPTH_MAX {
            return Err(SpecError::TooDeep { supervisor: supervisor() });
        }
        if self.children.len() > CHILDREN_MAX {
            return Err(SpecError::TooManyChildren { supervisor: supervisor() });
        }
        let mut names = BTreeSet::new();
        for child in &self.children {
            child.check(depth + 1)?;
            if !names.insert(child.name()) {
                let name = child.name().to_owned();
                return Err(SpecError::Duplicate { supervisor: supervisor(), name });
            }
        }
        Ok(())
    }
}

/// What a task knows of its place in the tree. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct TaskCtx {
    node: Arc<Node>,
    stop: Signal,
    ready: Signal,
}

impl TaskCtx {
    pub(crate) fn new(node: Arc<Node>, stop: Signal, ready: Signal) -> Self {
        Self { node, stop, ready }
    }

    /// Where the task lives.
    pub fn path(&self) -> &ActorPath {
        self.node.path()
    }

    /// Which of its lives this is, from 1.
    pub fn incarnation(&self) -> u64 {
        self.node.incarnation()
    }

    /// The task is ready: what was started after it may go on.
    pub fn ready(&self) {
        self.ready.raise();
    }

    /// Ends when the task should stop; it then has until its deadline.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.stop.wait()
    }

    /// Whether the task should stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_raised()
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}
