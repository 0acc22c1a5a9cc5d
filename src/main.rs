//! Starts the program.

use std::process::ExitCode;

use ipfs_kit::cli::args::{Globals, NodeCommand};
use ipfs_kit::cli::error::{CliError, VerbResult};
use ipfs_kit::cli::output::Output;
use ipfs_kit::cli::{self, demo, init, up};

fn main() -> ExitCode {
    cli::main(run_node)
}

/// Runs a verb that makes or runs nodes. Actors live on this thread; the network, the API and blocking
/// work on the runtime's.
fn run_node(globals: &Globals, command: NodeCommand) -> VerbResult {
    let mut output = Output::new(std::io::stdout(), globals.output);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new("E_INTERNAL", "cannot start").because(&error))?;
    let local = tokio::task::LocalSet::new();
    match command {
        NodeCommand::Init(args) => init::run(globals, &args, &mut output),
        NodeCommand::Up(args) => local.block_on(&runtime, up::run(globals, &args, &mut output)),
        NodeCommand::Demo(args) => local.block_on(&runtime, demo::run(&args, &mut output)),
    }
}
