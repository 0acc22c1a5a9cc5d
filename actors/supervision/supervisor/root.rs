//! The root of a tree: a supervisor whose exit is the program's.

use super::{
    Change, ChildIx, ChildSpec, Duration, Env, Exit, News, Order, RunnerId, SpecError,
    SupervisorSpec, Tree, install_hook, mpsc, run_child,
};
use super::{ORDERS_MAX, REPORTS_MAX};
use crate::supervision::node::Node;
use crate::supervision::path::ActorPath;
use crate::supervision::runner::Report;
use ipfs_kit_core::restart::StopPurpose;
use std::sync::Arc;

/// A running tree. Dropping it kills everything at once; [`Root::stop`] goes in order.
pub struct Root {
    node: Arc<Node>,
    orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    runner: tokio::task::JoinHandle<()>,
    exit: Option<Exit>,
    is_ready: bool,
}

/// Starts a tree. All jitter comes from the seed; a panic hook is installed that keeps the words of
/// panics in actors, and leaves all others to the hook that was there before.
///
/// Must be called in a tokio `LocalSet`.
///
/// # Errors
/// The spec can't be, or the tree has a running root of that name; nothing was started.
pub fn launch(spec: SupervisorSpec, tree: &Tree, seed: u64) -> Result<Root, SpecError> {
    let spec = ChildSpec::supervisor(spec);
    spec.check(0)?;
    let path = ActorPath::root(spec.name()).map_err(|source| SpecError::Name { source })?;
    if tree.hub().node(&path).is_some_and(|node| node.is_alive()) {
        let (supervisor, name) = ("the tree".to_owned(), spec.name().to_owned());
        return Err(SpecError::Duplicate { supervisor, name });
    }
    install_hook();
    let env = Env { hub: tree.hub().clone(), seed };
    let node = tree.hub().register(spec.node_spec(path, 0));
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let (sender, reports) = mpsc::channel(REPORTS_MAX);
    let id = RunnerId { child: ChildIx(0), generation: 0 };
    let body = spec.build(node.clone(), &env);
    let runner = tokio::task::spawn_local(run_child(id, node.clone(), body, receiver, sender));
    let root = Root { node, orders, reports, runner, exit: None, is_ready: false };
    root.order(Order::Start);
    Ok(root)
}

impl Root {
    /// Where the root is.
    pub fn path(&self) -> &ActorPath {
        self.node.path()
    }

    /// Waits until every child is up.
    ///
    /// # Errors
    /// The tree ended first, in this way.
    pub async fn ready(&mut self) -> Result<(), Exit> {
        while !self.is_ready {
            if let Some(exit) = &self.exit {
                return Err(exit.clone());
            }
            self.next_report().await;
        }
        Ok(())
    }

    /// Waits until the tree has ended by itself: it gave up, or [`Root::stop`] was called. Cancel safe.
    pub async fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = &self.exit {
                return exit.clone();
            }
            self.next_report().await;
        }
    }

    /// Stops everything, in reverse order, each child within its own deadline.
    pub async fn stop(&mut self) -> Exit {
        if self.exit.is_none() {
            self.order(Order::Stop(StopPurpose::Final));
        }
        self.wait().await
    }

    /// Stops everything, and kills what isn't down by the deadline.
    pub async fn stop_within(&mut self, deadline: Duration) -> Exit {
        match tokio::time::timeout(deadline, self.stop()).await {
            Ok(exit) => exit,
            Err(_) => {
                self.order(Order::Kill(None));
                self.wait().await
            }
        }
    }

    fn order(&self, order: Order) {
        if let Err(error) = self.orders.try_send(order) {
            tracing::error!(root = %self.path(), ?order, %error, "order refused");
        }
    }

    async fn next_report(&mut self) {
        match self.reports.recv().await.map(|report| report.news) {
            Some(News::Ready) => self.is_ready = true,
            Some(News::Exited(exit)) => {
                let gave_up = exit.is_abnormal();
                self.node.change(if gave_up { Change::GaveUp } else { Change::Stopped });
                self.exit = Some(exit);
            }
            None => self.exit = Some(Exit::Killed),
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.runner.abort();
        if self.node.is_alive() {
            self.node.change(Change::Stopped);
        }
    }
}
