//! Verbs that make or run nodes.

use super::args::{Globals, NodeCommand};
use super::error::{CliError, VerbResult};
use super::output::Output;
use super::{demo, init, up};
use crate::engine::DiskMaker;

/// Runs a verb that makes or runs nodes. Actors live on this thread; the network, the API and blocking
/// work on the runtime's.
pub fn run(globals: &Globals, command: NodeCommand, disk: DiskMaker) -> VerbResult {
    let mut output = Output::new(std::io::stdout(), globals.output);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()
        .map_err(|error| CliError::new("E_INTERNAL", "cannot start").because(&error))?;
    let local = tokio::task::LocalSet::new();
    match command {
        NodeCommand::Init(args) => init::run(globals, &args, &mut output),
        NodeCommand::Up(args) => {
            local.block_on(&runtime, up::run(globals, &args, disk, &mut output))
        }
        NodeCommand::Demo(args) => local.block_on(&runtime, demo::run(&args, &mut output)),
    }
}

/// Half of the cores: the actors, consensus, the disk and hashing have threads of their own, and workers that
/// find nothing to do wake each other all the time.
fn worker_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}
