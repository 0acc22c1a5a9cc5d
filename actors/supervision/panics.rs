//! Panics of supervised code: caught, located, and told apart from anybody else's.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use ipfs_kit_core::restart::Cause;

use super::node::Node;
use super::path::ActorPath;

thread_local! {
    /// The child whose code this thread is running.
    static CURRENT: RefCell<Option<Arc<Node>>> = const { RefCell::new(None) };
    /// What the hook saw of the panic that is being caught.
    static LAST: Cell<Option<Cause>> = const { Cell::new(None) };
}

/// What marks a thread as running a child's code. It moves to the thread and back, since counting references to it
/// would cost every message.
pub(crate) struct Mark(Option<Arc<Node>>);

impl Mark {
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        Self(Some(node.clone()))
    }

    /// As [`guard`], for a child that runs often.
    pub(crate) fn guard<T>(&mut self, code: impl FnOnce() -> T) -> Result<T, Cause> {
        self.swap();
        let caught = catch(code);
        self.swap();
        caught
    }

    fn swap(&mut self) {
        CURRENT.with(|current| std::mem::swap(&mut *current.borrow_mut(), &mut self.0));
    }
}

/// The path of the child whose code is calling, if it is one.
pub(crate) fn current_path() -> Option<ActorPath> {
    // A thread that is ending has no storage left, and runs no child.
    let path =
        CURRENT.try_with(|current| current.borrow().as_ref().map(|node| node.path().clone()));
    path.ok().flatten()
}

/// Runs a piece of a child's code; a panic becomes its cause.
///
/// The caller must not use what the closure borrowed other than to rebuild or drop it.
pub(crate) fn guard<T>(node: &Arc<Node>, code: impl FnOnce() -> T) -> Result<T, Cause> {
    Mark::of(node).guard(code)
}

fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Cause> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        let seen = LAST.with(Cell::take);
        // Without the hook (or when it was replaced) the payload still has the words.
        let cause = seen.unwrap_or_else(|| cause_of(payload.as_ref()));
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            // A payload whose drop panics can only be leaked.
            std::mem::forget(again);
        }
        cause
    })
}

/// On another thread the panic was located there.
fn cause_of(payload: &(dyn Any + Send)) -> Cause {
    let located = payload.downcast_ref::<Cause>().cloned();
    located.unwrap_or_else(|| Cause::new("panic", words(payload)))
}

/// A future that is the calling child's code on whatever thread it runs: its panic is located there, and goes
/// on as that cause.
pub(crate) fn as_caller<F: Future + 'static>(
    make: impl FnOnce() -> F,
) -> impl FnOnce() -> LocalBoxFuture<'static, F::Output> {
    let node = CURRENT.with(|current| current.borrow().clone());
    move || {
        let mut future = Box::pin(make());
        let located = poll_fn(move |cx| {
            let mut poll = || future.as_mut().poll(cx);
            let Some(node) = &node else { return poll() };
            guard(node, poll).unwrap_or_else(|cause| resume_unwind(Box::new(cause)))
        });
        located.boxed_local()
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a value that is no text".to_owned(),
    }
}

/// Puts our hook in front of the present one, once per process. A panic outside of supervised code
/// goes on to the hook that was there before.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let foreign = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match current_path() {
            Some(path) => note(&path, info),
            None => foreign(info),
        }));
    });
}

fn note(path: &ActorPath, info: &PanicHookInfo<'_>) {
    let mut cause = Cause::new("panic", words(info.payload()));
    if let Some(location) = info.location() {
        cause = cause.at(location.to_string());
    }
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(actor = %path, %cause, %backtrace, "panic");
    LAST.with(|last| last.set(Some(cause)));
}
