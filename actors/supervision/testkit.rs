//! For tests of actors: a paused world, recipients that record, conditions with deadlines, and a
//! guard that fails a test which leaves something running.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Message;
use futures_util::future::BoxFuture;
use tokio::task::LocalSet;

use super::actor_ref::{AskError, Deliver, Recipient, TellError};
use super::chaos::Injection;
use super::node::lock;
use super::path::ActorPath;
use super::spec::{ChildSpec, SupervisorSpec};
use super::supervisor::launch;
use super::tree::{State, Tree};
use ipfs_kit_core::restart::Strategy;

/// Messages that a probe keeps.
const PROBED_MAX: usize = 4_096;
/// Virtual time between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Runs a test on one thread in virtual time, with a tree of its own, and fails it if it leaves
/// anything running in that tree.
///
/// # Panics
/// When the test does, and when something is left running.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Tree) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let tree = Tree::new();
        let guard = LiveGuard::new(&tree);
        test(tree).await;
        drop(guard);
    }));
}

/// Fails the test when it is dropped while something in the tree is alive.
pub struct LiveGuard {
    tree: Tree,
}

impl LiveGuard {
    /// Watches over a tree.
    pub fn new(tree: &Tree) -> Self {
        Self { tree: tree.clone() }
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        let alive = self.tree.alive();
        if !alive.is_empty() && !std::thread::panicking() {
            panic!("left running: {alive:?}\n{}", self.tree.snapshot().render());
        }
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// When it doesn't by the deadline, with what was waited for and the tree.
pub async fn wait_until(
    tree: &Tree,
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut() -> bool,
) {
    let until = tokio::time::Instant::now() + deadline;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < until,
            "not within {deadline:?}: {what}\n{}",
            tree.snapshot().render()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until a node is in a state, in this incarnation or a later one.
///
/// # Panics
/// When it isn't by the deadline, with the tree.
pub async fn wait_for_state(
    tree: &Tree,
    path: &ActorPath,
    state: State,
    incarnation: u64,
    deadline: Duration,
) {
    let what = format!("{path} {} in incarnation {incarnation}", state.as_str());
    wait_until(tree, &what, deadline, || {
        tree.hub()
            .node(path)
            .is_some_and(|node| node.state() == state && node.incarnation() >= incarnation)
    })
    .await;
}

/// What a probe was sent, oldest first.
pub struct Probe<M> {
    seen: Arc<Mutex<Vec<M>>>,
}

impl<M> Probe<M> {
    /// Takes what has arrived since the last call.
    pub fn take(&self) -> Vec<M> {
        std::mem::take(&mut lock(&self.seen))
    }

    /// How much has arrived since the last [`Probe::take`].
    pub fn len(&self) -> usize {
        lock(&self.seen).len()
    }

    /// Whether nothing has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A recipient that records what it is sent and answers at once.
pub fn probe<M>(
    answer: impl Fn(&M) -> M::Result + Send + Sync + 'static,
) -> (Recipient<M>, Probe<M>)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let deliver = Arc::new(Recorder { seen: seen.clone(), answer: Box::new(answer) });
    (Recipient::new(deliver), Probe { seen })
}

type Answer<M> = Box<dyn Fn(&M) -> <M as Message>::Result + Send + Sync>;

struct Recorder<M: Message> {
    seen: Arc<Mutex<Vec<M>>>,
    answer: Answer<M>,
}

impl<M: Message> Recorder<M> {
    fn record(&self, message: M) -> Result<M::Result, M> {
        let mut seen = lock(&self.seen);
        if seen.len() >= PROBED_MAX {
            return Err(message);
        }
        let answer = (self.answer)(&message);
        seen.push(message);
        Ok(answer)
    }
}

impl<M> Deliver<M> for Recorder<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn tell(&self, message: M) -> Result<(), TellError<M>> {
        let full = |message| TellError::Overloaded {
            to: "probe".to_owned(),
            capacity: PROBED_MAX,
            message,
        };
        self.record(message).map(drop).map_err(full)
    }

    fn ask(&self, message: M, _: Duration) -> BoxFuture<'static, Result<M::Result, AskError>> {
        let full = |_| AskError::Overloaded { to: "probe".to_owned(), capacity: PROBED_MAX };
        let answer = self.record(message).map_err(full);
        Box::pin(std::future::ready(answer))
    }
}

/// Asserts that an actor's `restarting` rebuilds its state by the factory of its spec: starts it
/// alone, lets it panic, and looks at its revival. One call per actor type.
///
/// # Panics
/// When it doesn't start, isn't revived, or was revived with its old state.
pub fn assert_rebuilds(spec: ChildSpec) {
    run(|tree| async move {
        let name = spec.name().to_owned();
        let supervisor = SupervisorSpec::new("alone", Strategy::OneForOne).child(spec);
        let mut root = launch(supervisor, &tree, 0).expect("the spec is valid");
        root.ready().await.expect("the actor starts");
        let path = root.path().child(&name).expect("the spec's name was checked");
        tree.inject(&path, Injection::Panic).expect("it is running");
        wait_for_state(&tree, &path, State::Running, 2, Duration::from_secs(60)).await;
        let node = tree.hub().node(&path).expect("it is running");
        assert!(node.injections.is_rebuilt(), "{path} was revived with its old state");
        root.stop().await;
    });
}
