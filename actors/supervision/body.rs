//! Bodies: what lives in a child's place. An actor is revived, a future is made anew.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix::dev::{AsyncContextParts, ContextFut};
use actix::{Actor, ActorContext, Addr, Supervised};
use futures_util::future::LocalBoxFuture;
use ipfs_kit_core::restart::{Cause, Exit, StopPurpose};

use super::actor_ref::ActorRef;
use super::context::{Ctx, Factory};
use super::fault::Fault;
use super::node::Node;
use super::panics::{Mark, guard};
use super::signal::Signal;
use super::spec::{Revival, TaskCtx};

/// An actor that can live in the tree: it runs in [`Ctx`] and can be rebuilt; see `supervised!`.
pub trait SupervisedActor: Actor<Context = Ctx<Self>> + Supervised {}

impl<A: Actor<Context = Ctx<A>> + Supervised> SupervisedActor for A {}

/// What polling a body has come to.
pub(crate) enum Step {
    /// The incarnation is ready; reported once.
    Ready,
    /// The incarnation is over.
    Exit(Exit),
}

/// One child's code, through all of its incarnations. No method lets a panic out.
pub(crate) trait Body {
    /// Begins an incarnation.
    fn begin(&mut self) -> Result<(), Cause>;
    /// Runs the incarnation. Not to be polled after its exit.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Step>;
    /// Asks the incarnation to stop; it goes on until it exits.
    fn stop(&mut self, purpose: StopPurpose);
    /// The incarnation exited: keeps what the next one can use and drops the rest.
    fn rest(&mut self);
    /// Drops everything, running or not.
    fn discard(&mut self);
    /// Keeps the running incarnation from working for a while.
    #[cfg(any(test, feature = "chaos"))]
    fn inject_stall(&mut self, duration: std::time::Duration);
}

/// An actor in its context.
pub(crate) struct ActorBody<A: SupervisedActor> {
    node: Arc<Node>,
    mark: Mark,
    actor_ref: ActorRef<A>,
    factory: Factory<A>,
    revival: Revival,
    /// Kept from one incarnation to the next: the mailbox lives in it.
    cell: Option<Cell<A>>,
    announced: bool,
}

/// An incarnation and its mailbox, which the address keeps open.
struct Cell<A: SupervisedActor> {
    fut: ContextFut<A, Ctx<A>>,
    addr: Addr<A>,
}

impl<A: SupervisedActor> ActorBody<A> {
    pub(crate) fn new(
        node: Arc<Node>,
        actor_ref: ActorRef<A>,
        factory: Factory<A>,
        revival: Revival,
    ) -> Self {
        let mark = Mark::of(&node);
        Self { node, mark, actor_ref, factory, revival, cell: None, announced: false }
    }

    fn revive(&mut self, Cell { mut fut, addr }: Cell<A>) -> Result<(), Cause> {
        if !self.actor_ref.is_bound_to(&self.node) {
            drop(addr);
            drop_quietly(&self.node, fut);
            return Err(Cause::new("actor-ref", "the reference was given to another actor"));
        }
        let revived = guard(&self.node, || {
            fut.ctx().reset();
            let open = fut.restart();
            fut.ctx().take_failure().map_or(Ok(open), Err)
        });
        // Kept also after a failure, for the next attempt.
        let rebuilt = fut.ctx().is_rebuilt();
        self.cell = Some(Cell { fut, addr });
        match revived {
            Err(cause) | Ok(Err(cause)) => Err(cause),
            Ok(Ok(false)) => Err(Cause::new("revival", "the mailbox is closed")),
            Ok(Ok(true)) => {
                if !rebuilt {
                    tracing::warn!(actor = %self.node.path(), "revived with its old state");
                }
                #[cfg(any(test, feature = "chaos"))]
                self.node.injections.set_rebuilt(rebuilt);
                Ok(())
            }
        }
    }

    fn create(&mut self) -> Result<(), Cause> {
        let (node, actor_ref, factory) = (&self.node, &self.actor_ref, &self.factory);
        let fut = guard(node, || Ctx::create(node.clone(), actor_ref.clone(), factory.clone()))?;
        let addr = fut.address();
        if let Err(taken) = actor_ref.bind(addr.clone(), node.clone()) {
            drop_quietly(node, fut);
            return Err(Cause::new("actor-ref", format!("the reference belongs to {taken}")));
        }
        node.set_handle(Arc::new(actor_ref.clone()));
        self.cell = Some(Cell { fut, addr });
        Ok(())
    }
}

/// Drops an actor without running its hooks; what is queued becomes dead letters.
fn drop_quietly<A: SupervisedActor>(node: &Arc<Node>, mut fut: ContextFut<A, Ctx<A>>) {
    // Without this, actix would poll it once more in its drop.
    fut.ctx().terminate();
    if let Err(cause) = guard(node, move || drop(fut)) {
        tracing::error!(actor = %node.path(), %cause, "panic while dropping an actor");
    }
}

impl<A: SupervisedActor> Body for ActorBody<A> {
    fn begin(&mut self) -> Result<(), Cause> {
        self.announced = false;
        self.node.open_gate();
        match self.cell.take() {
            Some(cell) => self.revive(cell),
            None => self.create(),
        }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Step> {
        let Some(Cell { fut, .. }) = &mut self.cell else {
            return Poll::Ready(Step::Exit(Exit::Killed));
        };
        fut.ctx().begin_poll();
        let polled = self.mark.guard(|| Pin::new(&mut *fut).poll(task));
        let ended = match polled {
            Err(cause) => return Poll::Ready(Step::Exit(Exit::Panicked(cause))),
            Ok(polled) => polled.is_ready(),
        };
        if let Some(cause) = fut.ctx().take_failure() {
            return Poll::Ready(Step::Exit(Exit::Failed(cause)));
        }
        if ended {
            return Poll::Ready(Step::Exit(Exit::Normal));
        }
        if fut.ctx().wants_poll() {
            task.waker().wake_by_ref();
        }
        if !self.announced && fut.ctx().is_ready() {
            self.announced = true;
            return Poll::Ready(Step::Ready);
        }
        Poll::Pending
    }

    fn stop(&mut self, purpose: StopPurpose) {
        if purpose == StopPurpose::Final {
            self.node.close_gate();
        }
        if let Some(Cell { fut, .. }) = &mut self.cell {
            fut.ctx().parts().stop();
        }
    }

    fn rest(&mut self) {
        if self.revival == Revival::Recreate {
            self.discard();
        }
    }

    fn discard(&mut self) {
        self.node.close_gate();
        self.actor_ref.unbind(&self.node);
        if let Some(Cell { fut, addr }) = self.cell.take() {
            drop(addr);
            drop_quietly(&self.node, fut);
        }
    }

    #[cfg(any(test, feature = "chaos"))]
    fn inject_stall(&mut self, duration: std::time::Duration) {
        use actix::AsyncContext;
        if let Some(Cell { fut, .. }) = &mut self.cell {
            fut.ctx().wait(actix::fut::wrap_future::<_, A>(tokio::time::sleep(duration)));
        }
    }
}

impl<A: SupervisedActor> Drop for ActorBody<A> {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Makes a task's future, once per incarnation.
pub(crate) type TaskFactory = Rc<dyn Fn(TaskCtx) -> LocalBoxFuture<'static, Result<(), Fault>>>;

/// A future, also that of a nested supervisor.
pub(crate) struct TaskBody {
    node: Arc<Node>,
    factory: TaskFactory,
    running: Option<Running>,
    mark: Mark,
}

struct Running {
    future: LocalBoxFuture<'static, Result<(), Fault>>,
    /// Ends when the task reports ready; gone once that is known.
    ready: Option<Pin<Box<dyn Future<Output = ()>>>>,
    stop: Signal,
    #[cfg(any(test, feature = "chaos"))]
    stall: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl TaskBody {
    pub(crate) fn new(node: Arc<Node>, factory: TaskFactory) -> Self {
        let mark = Mark::of(&node);
        Self { node, factory, running: None, mark }
    }
}

impl Body for TaskBody {
    fn begin(&mut self) -> Result<(), Cause> {
        let (stop, ready) = (Signal::default(), Signal::default());
        let ctx = TaskCtx::new(self.node.clone(), stop.clone(), ready.clone());
        let factory = &self.factory;
        let future = guard(&self.node, || factory(ctx))?;
        self.running = Some(Running {
            future,
            ready: Some(Box::pin(ready.wait())),
            stop,
            #[cfg(any(test, feature = "chaos"))]
            stall: None,
        });
        Ok(())
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Step> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(Step::Exit(Exit::Killed));
        };
        #[cfg(any(test, feature = "chaos"))]
        if let Some(stall) = &mut running.stall {
            ready!(stall.as_mut().poll(task));
            running.stall = None;
        }
        match self.mark.guard(|| running.future.as_mut().poll(task)) {
            Err(cause) => return Poll::Ready(Step::Exit(Exit::Panicked(cause))),
            Ok(Poll::Ready(Ok(()))) => return Poll::Ready(Step::Exit(Exit::Normal)),
            Ok(Poll::Ready(Err(fault))) => {
                return Poll::Ready(Step::Exit(Exit::Failed(fault.into_cause())));
            }
            Ok(Poll::Pending) => {}
        }
        let Some(ready) = &mut running.ready else { return Poll::Pending };
        ready!(ready.as_mut().poll(task));
        running.ready = None;
        Poll::Ready(Step::Ready)
    }

    fn stop(&mut self, _purpose: StopPurpose) {
        if let Some(running) = &self.running {
            running.stop.raise();
        }
    }

    fn rest(&mut self) {
        self.discard();
    }

    fn discard(&mut self) {
        let running = self.running.take();
        if let Err(cause) = guard(&self.node, move || drop(running)) {
            tracing::error!(task = %self.node.path(), %cause, "panic while dropping a task");
        }
    }

    #[cfg(any(test, feature = "chaos"))]
    fn inject_stall(&mut self, duration: std::time::Duration) {
        if let Some(running) = &mut self.running {
            running.stall = Some(Box::pin(tokio::time::sleep(duration)));
        }
    }
}

impl Drop for TaskBody {
    fn drop(&mut self) {
        self.discard();
    }
}
