//! One node of the live tree: what is known about a child, and the gate in front of its mailbox.
//!
//! Nodes are shared between the child, its supervisor, everybody's references and whoever takes a
//! snapshot, on any thread. Every lock is held for a few instructions and never while calling out.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ipfs_kit_core::restart::{Exit, GroupRule, Importance};
use tokio::time::{Duration, Instant};

use super::dead_letters::{DeadLetter, DeadReason};
use super::latency::Histogram;
use super::path::ActorPath;
use super::tree::{
    Change, CurrentMessage, Hub, Kind, LastExit, Lifecycle, MailboxView, NodeView, State,
};

/// Shown for what an actor awaits on its own account.
const NO_MESSAGE: &str = "wait";

/// Locks; a panic under one of these locks left nothing half-done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `Vec<Block>` for `alloc::vec::Vec<ipfs_kit_core::block::Block>`.
pub(crate) fn short_type_name(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut word_start = 0;
    for c in full.chars() {
        if c == ':' {
            short.truncate(word_start);
        } else {
            short.push(c);
            if !c.is_alphanumeric() && c != '_' {
                word_start = short.len();
            }
        }
    }
    short
}

/// What never changes while a node is in the tree.
pub(crate) struct NodeSpec {
    pub(crate) path: ActorPath,
    pub(crate) kind: Kind,
    pub(crate) type_name: &'static str,
    pub(crate) importance: Importance,
    /// Position among its siblings.
    pub(crate) order: u32,
    /// Messages that may wait; 0 for what has no mailbox.
    pub(crate) capacity: usize,
    /// A handler that holds the thread longer is warned about.
    pub(crate) handler_budget: Duration,
    /// The rules of a supervisor's children.
    pub(crate) group: Option<GroupRule>,
}

pub(crate) struct Node {
    pub(crate) spec: NodeSpec,
    pub(crate) epoch: Instant,
    hub: Weak<Hub>,
    life: Mutex<Life>,
    figures: Mutex<Figures>,
    /// Every message looks at it thrice, so it is one that costs a third of the system's. It shows real time where
    /// the runtime's is paused.
    figures_clock: quanta::Clock,
    gate: Gate,
    handle: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    #[cfg(any(test, feature = "chaos"))]
    pub(crate) injections: super::chaos::Injections,
}

struct Life {
    state: State,
    incarnation: u64,
    since_ms: u64,
    restarts: u64,
    next_start_ms: Option<u64>,
    last_exit: Option<LastExit>,
    /// When this supervisor restarted children; as long as its intensity allows, plus one.
    group_restarts_ms: VecDeque<u64>,
}

#[derive(Default)]
struct Figures {
    handled: u64,
    stalls: u64,
    current: Option<Handling>,
    awaiting: Option<Awaiting>,
    queue_wait: Histogram,
    handler: Histogram,
}

#[derive(Clone, Copy)]
struct Handling {
    message: &'static str,
    since: quanta::Instant,
}

#[derive(Clone, Copy)]
struct Awaiting {
    message: &'static str,
    since: Instant,
}

#[derive(Default)]
struct Gate {
    open: AtomicBool,
    depth: AtomicUsize,
    high_water: AtomicUsize,
    rejected: AtomicU64,
    expired: AtomicU64,
    dead: AtomicU64,
}

/// Why the gate let nothing through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Full { capacity: usize },
    Closed,
}

/// A place in the queue, given back when dropped.
pub(crate) struct Ticket(Option<Arc<Node>>);

impl Ticket {
    /// Gives the place back; the node whose queue it was.
    pub(crate) fn give_back(mut self) -> Arc<Node> {
        let node = self.0.take().expect("only this and the drop take it, and both end the ticket");
        node.leave_queue();
        node
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(node) = self.0.take() {
            node.leave_queue();
        }
    }
}

impl Node {
    pub(crate) fn new(spec: NodeSpec, hub: &Arc<Hub>) -> Self {
        let life = Life {
            state: State::Waiting,
            incarnation: 0,
            since_ms: hub.now_ms(),
            restarts: 0,
            next_start_ms: None,
            last_exit: None,
            group_restarts_ms: VecDeque::new(),
        };
        Self {
            spec,
            epoch: hub.epoch(),
            hub: Arc::downgrade(hub),
            life: Mutex::new(life),
            figures: Mutex::default(),
            figures_clock: hub.figures_clock().clone(),
            gate: Gate::default(),
            handle: Mutex::new(None),
            #[cfg(any(test, feature = "chaos"))]
            injections: super::chaos::Injections::default(),
        }
    }

    /// A node of another type took this one's path: its history goes on.
    pub(crate) fn inherit(&self, earlier: &Self) {
        let earlier = lock(&earlier.life);
        let mut life = lock(&self.life);
        life.incarnation = earlier.incarnation;
        life.restarts = earlier.restarts;
        life.last_exit.clone_from(&earlier.last_exit);
    }

    pub(crate) fn path(&self) -> &ActorPath {
        &self.spec.path
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    pub(crate) fn incarnation(&self) -> u64 {
        lock(&self.life).incarnation
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.life).state
    }

    pub(crate) fn set_handle(&self, handle: Arc<dyn Any + Send + Sync>) {
        *lock(&self.handle) = Some(handle);
    }

    pub(crate) fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        lock(&self.handle).clone()
    }

    /// Records a change of state and tells the watchers.
    pub(crate) fn change(&self, change: Change) {
        self.change_with(change, None);
    }

    /// Records the end of an incarnation, with the message whose handler was running.
    pub(crate) fn exited(&self, exit: Exit, message: Option<String>) {
        self.change_with(Change::Exited { exit }, message);
    }

    fn change_with(&self, change: Change, message: Option<String>) {
        let at_ms = self.now_ms();
        let incarnation = {
            let mut life = lock(&self.life);
            life.next_start_ms = None;
            match &change {
                Change::Starting => {
                    life.restarts += u64::from(life.incarnation > 0);
                    life.incarnation += 1;
                    life.state = State::Starting;
                }
                Change::Ready => life.state = State::Running,
                Change::Draining => life.state = State::Draining,
                Change::Exited { exit } => {
                    life.state = State::Waiting;
                    life.last_exit = Some(LastExit { exit: exit.clone(), at_ms, message });
                }
                Change::BackOff { until_ms } => {
                    life.state = State::BackOff;
                    life.next_start_ms = Some(*until_ms);
                }
                Change::Stopped => life.state = State::Stopped,
                Change::GaveUp => life.state = State::Failed,
                Change::Removed => {}
            }
            life.since_ms = at_ms;
            life.incarnation
        };
        if let Some(hub) = self.hub.upgrade() {
            hub.publish(&Lifecycle { path: self.path().clone(), incarnation, change, at_ms });
        }
    }

    /// A restart of one of this supervisor's children.
    pub(crate) fn count_group_restart(&self) {
        let Some(group) = &self.spec.group else { return };
        let at_ms = self.now_ms();
        let mut life = lock(&self.life);
        if life.group_restarts_ms.len() > group.intensity.max_restarts as usize {
            life.group_restarts_ms.pop_front();
        }
        life.group_restarts_ms.push_back(at_ms);
    }

    /// A new incarnation of this supervisor begins with an empty window.
    pub(crate) fn clear_group_restarts(&self) {
        lock(&self.life).group_restarts_ms.clear();
    }

    // The gate.

    pub(crate) fn open_gate(&self) {
        self.gate.open.store(true, Ordering::SeqCst);
    }

    pub(crate) fn close_gate(&self) {
        self.gate.open.store(false, Ordering::SeqCst);
    }

    /// Takes a place in the queue, if there is one.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Ticket, Refusal> {
        if !self.gate.open.load(Ordering::SeqCst) {
            return Err(Refusal::Closed);
        }
        let capacity = self.spec.capacity;
        #[cfg(any(test, feature = "chaos"))]
        if self.injections.is_overflowing() {
            self.gate.rejected.fetch_add(1, Ordering::SeqCst);
            return Err(Refusal::Full { capacity });
        }
        let taken = self.gate.depth.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |depth| {
            (depth < capacity).then_some(depth + 1)
        });
        match taken {
            Ok(before) => {
                // Nearly always there was a longer queue before; reading that is cheaper than writing it.
                if self.gate.high_water.load(Ordering::SeqCst) <= before {
                    self.gate.high_water.fetch_max(before + 1, Ordering::SeqCst);
                }
                Ok(Ticket(Some(self.clone())))
            }
            Err(_) => {
                self.gate.rejected.fetch_add(1, Ordering::SeqCst);
                Err(Refusal::Full { capacity })
            }
        }
    }

    fn leave_queue(&self) {
        self.gate.depth.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn count_expired(&self) {
        self.gate.expired.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn dead_letter(
        &self,
        from: Option<ActorPath>,
        message: &'static str,
        reason: DeadReason,
    ) {
        self.gate.dead.fetch_add(1, Ordering::SeqCst);
        if let Some(hub) = self.hub.upgrade() {
            hub.dead_letters().record(DeadLetter {
                at_ms: self.now_ms(),
                to: self.path().clone(),
                from,
                message: short_type_name(message),
                reason,
            });
        }
    }

    // Handlers.

    /// The time of the figures.
    pub(crate) fn figures_now(&self) -> quanta::Instant {
        self.figures_clock.now()
    }

    /// A handler begins, for a message that was queued at a time.
    pub(crate) fn begin_message(&self, message: &'static str, queued_at: Option<quanta::Instant>) {
        let since = self.figures_now();
        let mut figures = lock(&self.figures);
        figures.current = Some(Handling { message, since });
        if let Some(queued_at) = queued_at {
            figures.queue_wait.record(micros(since - queued_at));
        }
    }

    pub(crate) fn end_message(&self) {
        let now = self.figures_now();
        let mut figures = lock(&self.figures);
        let Some(Handling { message, since }) = figures.current.take() else { return };
        let took = now - since;
        figures.handled += 1;
        figures.handler.record(micros(took));
        if took > self.spec.handler_budget {
            figures.stalls += 1;
            drop(figures);
            let (message, took_ms) = (short_type_name(message), millis(took));
            tracing::warn!(actor = %self.path(), message, took_ms, "handler held the thread");
        }
    }

    /// Forgets what was running: the incarnation is over. Answers with the message that was lost.
    pub(crate) fn take_in_flight(&self) -> Option<&'static str> {
        let mut figures = lock(&self.figures);
        let (current, awaiting) = (figures.current.take(), figures.awaiting.take());
        let current = current.map(|handling| handling.message);
        let lost = current.or(awaiting.map(|awaiting| awaiting.message));
        lost.filter(|message| *message != NO_MESSAGE)
    }

    /// The handler that is running goes on as a future that holds up the mailbox.
    pub(crate) fn begin_await(&self) -> bool {
        let mut figures = lock(&self.figures);
        let first = figures.awaiting.is_none();
        if first {
            let message = figures.current.map_or(NO_MESSAGE, |handling| handling.message);
            figures.awaiting = Some(Awaiting { message, since: Instant::now() });
        }
        first
    }

    pub(crate) fn end_await(&self) {
        lock(&self.figures).awaiting = None;
    }

    // Views.

    pub(crate) fn current(&self) -> Option<CurrentMessage> {
        let figures = lock(&self.figures);
        let (message, age, awaiting) = match (figures.current, figures.awaiting) {
            (Some(Handling { message, since }), _) => (message, self.figures_now() - since, false),
            (None, Some(Awaiting { message, since })) => (message, since.elapsed(), true),
            (None, None) => return None,
        };
        Some(CurrentMessage { message: short_type_name(message), age_us: micros(age), awaiting })
    }

    /// This node alone; the tree adds the children.
    pub(crate) fn view(&self) -> NodeView {
        let now_ms = self.now_ms();
        let current = self.current();
        let (handled, stalls, queue_wait, handler) = {
            let figures = lock(&self.figures);
            let (queue_wait, handler) = (figures.queue_wait.view(), figures.handler.view());
            (figures.handled, figures.stalls, queue_wait, handler)
        };
        let mailbox = (self.spec.capacity > 0).then(|| MailboxView {
            depth: self.gate.depth.load(Ordering::SeqCst),
            capacity: self.spec.capacity,
            high_water: self.gate.high_water.load(Ordering::SeqCst),
            handled,
            rejected: self.gate.rejected.load(Ordering::SeqCst),
            expired: self.gate.expired.load(Ordering::SeqCst),
            dead: self.gate.dead.load(Ordering::SeqCst),
        });
        let life = lock(&self.life);
        let group = self.spec.group.as_ref();
        let in_window = group.map(|group| {
            let period_ms = group.intensity.period_ms;
            let live = life.group_restarts_ms.iter().filter(|at| now_ms - **at < period_ms);
            u32::try_from(live.count()).unwrap_or(u32::MAX)
        });
        NodeView {
            path: self.path().clone(),
            kind: self.spec.kind,
            type_name: short_type_name(self.spec.type_name),
            importance: self.spec.importance,
            state: life.state,
            incarnation: life.incarnation,
            since_ms: life.since_ms,
            strategy: group.map(|group| group.strategy),
            restarts: life.restarts,
            restarts_in_window: in_window,
            restarts_limit: group.map(|group| group.intensity.max_restarts),
            next_start_ms: life.next_start_ms,
            mailbox,
            current,
            stalls,
            queue_wait,
            handler,
            last_exit: life.last_exit.clone(),
            children: Vec::new(),
        }
    }

    /// Whether the child has something running.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state(), State::Starting | State::Running | State::Draining)
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
