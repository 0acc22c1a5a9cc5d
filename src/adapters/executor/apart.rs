//! A thread on which one task after the other runs, beside the actors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use ipfs_kit_actors::ports::ApartTask;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Tasks that may wait for the one before to end; more is a bug of the callers.
const TASKS_MAX: usize = 16;

/// The thread; it ends when this is dropped and the present task has ended.
pub(super) struct Apart {
    tasks: Mutex<SyncSender<Given>>,
    runtime: Handle,
}

struct Given {
    task: ApartTask,
    /// Its sender is dropped by whoever no longer wants the task.
    stopped: oneshot::Receiver<()>,
    ended: oneshot::Sender<Result<(), Box<dyn Any + Send>>>,
}

impl Apart {
    /// Starts the thread. It has timers and sockets of its own, so that nobody else is woken for them.
    pub(super) fn start(name: &str) -> std::io::Result<Self> {
        let (tasks, given) = sync_channel(TASKS_MAX);
        let (made, runtime) = sync_channel(1);
        // Made there: where there is no thread for it, there is no runtime to drop, which a caller inside of
        // another one must not do.
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let own = Builder::new_current_thread().enable_all().build();
            // Whoever starts the thread waits for this.
            let _ = made.send(own.as_ref().map(|own| own.handle().clone()).map_err(again));
            if let Ok(own) = own {
                serve(&own, &given);
            }
        })?;
        let runtime = runtime.recv().map_err(std::io::Error::other)??;
        Ok(Self { tasks: Mutex::new(tasks), runtime })
    }

    /// Its runtime. What is spawned there goes on while a task runs.
    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// Runs a task. Where too many wait it is dropped, and whoever waits for its result sees that.
    pub(super) fn run(&self, task: ApartTask) -> LocalBoxFuture<'static, ()> {
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.try_send(Given { task, stopped, ended }).is_err() {
            tracing::error!("too many tasks wait for their thread; one was dropped");
        }
        let run = async move {
            let _stop: oneshot::Sender<()> = stop;
            if let Ok(Err(panic)) = end.await {
                resume_unwind(panic);
            }
        };
        run.boxed_local()
    }
}

/// The same error for somebody else.
fn again(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}

fn serve(runtime: &Runtime, given: &Receiver<Given>) {
    for Given { task, stopped, ended } in given {
        let run = || {
            // What the task leaves behind ends with it.
            let local = LocalSet::new();
            runtime.block_on(local.run_until(async move {
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = task() => {}
                }
            }));
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        // Whoever asked may have given up.
        let _ = ended.send(result);
    }
}
