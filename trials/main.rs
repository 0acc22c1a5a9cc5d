//! Clusters of real processes under `kill -9` and load: what users were told must hold afterwards.
//!
//! Time, processes and folders are real, so a seed repeats what is drawn, not what happens; the simulations
//! repeat everything and know less about the world.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod content;
mod kill_loop;
mod ledger;
mod program;
mod read;
mod rest;
mod rng;
mod samples;
mod soak;
mod strike;
mod users;
mod verify;

use program::Build;

/// Clusters of real processes under kill -9 and load.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Rounds of kill -9 during adds, pins and unpins; after each, everything is compared
    KillLoop {
        /// How many rounds
        #[arg(long, default_value_t = 200)]
        rounds: u64,
        /// What is drawn follows from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Users at work at once
        #[arg(long, default_value_t = 4)]
        users: u64,
        /// A kill loses what was not synced, as a power loss does; otherwise the kernel keeps it
        #[arg(long)]
        power_loss: bool,
        /// Leaves out every sync below this folder of a node, such as raft or blocks: then something must
        /// be lost
        #[arg(long, value_name = "FOLDER", requires = "power_loss")]
        without_syncs_of: Option<String>,
        /// Ends without the last rest, in which what lost requests left behind has to go (two minutes)
        #[arg(long)]
        brief: bool,
        /// Tries this binary instead of building one
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// Adds, pins and unpins for long, a kill a minute: memory stays flat, nothing is lost, no queue grows
    Soak {
        /// For how long
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// Pins that are there from the beginning
        #[arg(long, default_value_t = 200_000)]
        pins: u64,
        /// What is drawn follows from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Users at work at once
        #[arg(long, default_value_t = 4)]
        users: u64,
        /// Tries this binary instead of building one
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
fn run(args: Args) -> Result<bool> {
    // Nodes end with the thread that started them, so the trial itself stays on this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.trial {
        Trial::KillLoop { rounds, seed, users, power_loss, without_syncs_of, brief, binary } => {
            let build = if power_loss { Build::PowerLoss } else { Build::Plain };
            let program = program::find(build, binary)?;
            println!("{}, {rounds} rounds of {}", program.display(), build.describe());
            runtime.block_on(kill_loop::run(kill_loop::Plan {
                program,
                rounds,
                seed,
                users,
                without_syncs_of,
                brief,
            }))
        }
        Trial::Soak { minutes, pins, seed, users, binary } => {
            let program = program::find(Build::Plain, binary)?;
            println!("{}, {minutes} minutes with {pins} pins", program.display());
            let length = Duration::from_secs(minutes * 60);
            runtime.block_on(soak::run(soak::Plan { program, length, pins, seed, users }))
        }
    }
}
