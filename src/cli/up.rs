//! `up`: runs the node of a folder until it is told to stop.

use std::io::Write;

use ipfs_kit_actors::cluster_manager::monitoring::Expelled;
use ipfs_kit_actors::node::Ended;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Globals, UpArgs};
use super::engine_error::{COPIED, engine_error};
use super::error::{CliError, Done, Halt};
use super::local_cluster::{self, LocalCluster, Timing};
use super::log;
use super::output::Output;
use crate::adapters::service_manager::ServiceManager;
use crate::config;
use crate::engine::{self, DiskMaker, Running};

/// Runs the command; must run within a `LocalSet`.
pub async fn run(
    globals: &Globals,
    args: &UpArgs,
    disk: DiskMaker,
    output: &mut Output<impl Write>,
) -> Result<Done, Halt> {
    if args.dev {
        return dev(output).await;
    }
    if args.with_parent {
        // A child of a demo does not outlive it, however it ends.
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).map_err(|error| {
            CliError::new("E_START", "can't tie this process to its parent").because(&error)
        })?;
    }
    let mut flags = Vec::new();
    if let Some(role) = args.role {
        flags.push(config::Flag { path: "role", name: "--role", value: role.to_string() });
    }
    flags.extend(globals.api_flag());
    let loaded = config::load(&globals.sources(flags)).map_err(CliError::from)?;
    log::init(&loaded.settings.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut stop = StopSignals::new()?;
    let running = tokio::select! {
        biased;
        () = stop.received() => return Ok(Done::Fully),
        started = engine::start(&loaded.settings, disk) => started.map_err(|error| engine_error(&error))?,
    };
    announce(&running, output)?;
    let manager = ServiceManager::of_process();
    manager.ready(&format!("API at {}", running.api));
    until_stopped(running, &mut stop, &manager).await
}

fn announce(running: &Running, output: &mut Output<impl Write>) -> Result<(), Halt> {
    let mut text = format!("ready: API at {}\n", running.api);
    if !running.addrs.is_empty() {
        text.push_str(&format!("members reach it at {}\n", running.addrs.join(", ")));
    }
    if let Some(admission) = &running.admission {
        text.push_str(&format!("joined as {}\n", admission.membership.node));
        for (addr, reason) in &admission.unreachable {
            tracing::warn!(%addr, %reason, "the cluster can't reach this node");
        }
    }
    output.prose(&text)?;
    output.flush()?;
    Ok(())
}

async fn until_stopped(
    mut running: Running,
    stop: &mut StopSignals,
    manager: &ServiceManager,
) -> Result<Done, Halt> {
    let ended = tokio::select! {
        biased;
        () = stop.received() => None,
        ended = running.node.wait() => Some(ended),
        () = signs_of_life(manager) => unreachable!("they never end"),
    };
    manager.stopping();
    tracing::info!(by_itself = ended.is_some(), "stopping");
    tokio::select! {
        biased;
        () = stop.received() => {
            // What was acknowledged is on the disk: a node may end anywhere.
            return Err(CliError::new("E_INTERRUPTED", "ended at once, as asked for twice")
                .hint("nothing is lost; the next start reads what is on the disk")
                .into());
        }
        () = running.stop() => {}
    }
    match ended {
        None => Ok(Done::Fully),
        Some(Ended::Expelled(expelled)) => Err(CliError::new(
            "E_IDENTITY",
            "the cluster does not want this node",
        )
        .because(&expelled)
        .hint(match expelled {
            Expelled::IdentityInUse { .. } => COPIED,
            Expelled::NotAMember => {
                "ipfs-kit node ls on a master shows the members; to come back, make a new node \
                         with a new token: ipfs-kit --folder NEW init --join TOKEN"
            }
        })
        .into()),
        Some(Ended::DiskFailed { cause }) => Err(disk_failed(cause).into()),
        Some(Ended::Exit(exit)) => {
            Err(CliError::new("E_START", format!("the node gave up: {exit:?}"))
                .hint("what is stored is intact; the log above says what failed")
                .into())
        }
    }
}

/// Tells the service manager that the thread of all actors still runs, since it is on that thread.
async fn signs_of_life(manager: &ServiceManager) {
    let Some(interval) = manager.watchdog_interval() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        manager.alive();
    }
}

fn disk_failed(cause: String) -> CliError {
    CliError::new("E_STORE", "the disk of the node's folder failed")
        .because(&std::io::Error::other(cause))
        .hint(
            "what was acknowledged before is on the disk, as far as the disk gives it back; look after \
             the disk (dmesg says more), then start the node again, or replace it: the cluster makes \
             its copies anew elsewhere",
        )
}

/// SIGINT and SIGTERM.
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Begins to listen.
    pub fn new() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::new("E_START", "can't listen to signals").because(&error)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for either.
    pub async fn received(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A small throw-away cluster that runs until it is stopped.
async fn dev(output: &mut Output<impl Write>) -> Result<Done, Halt> {
    let mut stop = StopSignals::new()?;
    let mut cluster = LocalCluster::new()?;
    let mut say = |line: String| eprintln!("{line}");
    let started = tokio::select! {
        biased;
        () = stop.received() => { cluster.discard().await; return Ok(Done::Fully) }
        started = cluster.start(&local_cluster::SHAPE, Timing::Relaxed, &mut say) => started,
    };
    if let Err(error) = started {
        let kept = cluster.keep();
        eprintln!("the folders are kept in {}", kept.display());
        return Err(error.into());
    }
    output.prose(&cluster.endpoints())?;
    output.prose("Ctrl-C stops it and removes everything\n")?;
    output.flush()?;
    stop.received().await;
    cluster.discard().await;
    Ok(Done::Fully)
}

#[cfg(test)]
mod tests;
