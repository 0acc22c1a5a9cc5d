//! A process: tasks of one node that all end at the same instant, wherever they are.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::task::{AbortHandle, JoinHandle, LocalSet};

/// Everything that a node spawns goes into a set of its own, which a crash drops whole.
#[derive(Debug)]
pub struct Process {
    tasks: Rc<RefCell<Option<LocalSet>>>,
    driver: AbortHandle,
}

impl Process {
    /// A process without tasks. Needs to be inside a `LocalSet` itself.
    #[must_use]
    pub fn start() -> Self {
        let tasks = Rc::new(RefCell::new(Some(LocalSet::new())));
        let driven = Rc::clone(&tasks);
        let driver = tokio::task::spawn_local(poll_fn(move |cx| {
            match driven.borrow_mut().as_mut() {
                // It is woken again by the next task, even if all have ended.
                Some(set) => Pin::new(set).poll(cx).map(|()| ()).is_pending(),
                None => return Poll::Ready(()),
            };
            Poll::Pending
        }));
        Self { tasks, driver: driver.abort_handle() }
    }

    /// Runs a task in the process; `None` if it was killed. The handle of a task that dies with its process
    /// resolves to an error.
    pub fn spawn<T: 'static>(
        &self,
        task: impl Future<Output = T> + 'static,
    ) -> Option<JoinHandle<T>> {
        self.tasks.borrow().as_ref().map(|set| set.spawn_local(task))
    }

    /// Ends every task where it is. Nothing of the process runs after this returns.
    pub fn kill(&self) {
        // Taken out first: what is dropped may look at the process.
        let set = self.tasks.borrow_mut().take();
        drop(set);
        self.driver.abort();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
