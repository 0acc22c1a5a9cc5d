//! What the program reaches, each figure beside its limit, which is measured in the same run.
//!
//! Machines differ and are noisy, so that only ratios mean something. The program under test is the
//! release binary, run as its users run it: separate processes, real disks, syncs on.

#![expect(
    clippy::disallowed_methods,
    reason = "benches measure real time and drive real processes"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

mod commit;
mod content;
mod failover;
mod figure;
mod limits;
mod load;
mod memory;
mod program;
mod sample;
mod supervision;
mod transfer;

use figure::Figure;
use mimalloc::MiMalloc;
use program::Program;

/// As in the program: actors are measured here too.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// Measures the program beside the limits of this machine.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Which benches; all without a name
    names: Vec<String>,
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
    /// Prints the names and what they measure
    #[arg(long)]
    list: bool,
    /// Measures this binary instead of building the release
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Part of the full amount of work, in percent: for a quick look
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
    percent: u64,
}

/// What a bench runs in a process of its own.
#[derive(clap::Subcommand)]
enum Part {
    /// Sends requests
    #[command(hide = true)]
    Load(load::Load),
}

/// One bench: a name, what it measures, and how.
struct Bench {
    name: &'static str,
    what: &'static str,
    run: fn(&Program, &Scale) -> Result<Vec<Figure>>,
}

/// How much work is done.
struct Scale {
    percent: u64,
}

impl Scale {
    fn of(&self, full: u64) -> u64 {
        (full * self.percent / 100).max(1)
    }
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "import_large",
        what: "add a file of 2 GiB, durable, and read it back",
        run: content::large,
    },
    Bench { name: "import_small", what: "add 50,000 files of 4 KiB, durable", run: content::small },
    Bench {
        name: "commit",
        what: "pins per second on 3 masters: 1, 64, 1,024 outstanding, and a million at once",
        run: commit::commit,
    },
    Bench { name: "read_index", what: "linearizable reads per second", run: commit::read_index },
    Bench {
        name: "restart",
        what: "kill -9 of a master with a million pins to its next answer, and its memory",
        run: commit::restart,
    },
    Bench {
        name: "dag_transfer",
        what: "1 GiB and 50,000 blocks from one node to another, verified and durable",
        run: transfer::dag_transfer,
    },
    Bench {
        name: "failover",
        what: "kill -9 of the leader to the next commit, 3 masters, 200 times",
        run: failover::failover,
    },
    Bench {
        name: "supervision",
        what: "questions per second to a supervised actor, beside a plain one",
        run: supervision::supervision,
    },
    Bench {
        name: "memory",
        what: "resident memory of an idle worker and an idle master",
        run: memory::idle,
    },
    Bench {
        name: "memory_adding",
        what: "resident memory of a node that adds 4 GiB, at its peak",
        run: memory::adding,
    },
];

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every figure reached what it must.
fn run(args: &Args) -> Result<bool> {
    if let Some(Part::Load(load)) = &args.part {
        println!("{}", serde_json::to_string(&load.run()?)?);
        return Ok(true);
    }
    if args.list {
        for bench in BENCHES {
            println!("{:<15} {}", bench.name, bench.what);
        }
        return Ok(true);
    }
    if let Some(unknown) = args.names.iter().find(|name| BENCHES.iter().all(|b| b.name != **name)) {
        bail!("there is no bench {unknown}; --list shows all");
    }
    let program = Program::new(args.binary.clone())?;
    let scale = Scale { percent: args.percent };
    let mut all_reached = true;
    for bench in BENCHES {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == bench.name) {
            continue;
        }
        eprintln!("{}: {}", bench.name, bench.what);
        let figures = (bench.run)(&program, &scale).with_context(|| bench.name.to_owned())?;
        for figure in figures {
            all_reached &= figure.is_reached();
            println!("{}", if args.json { figure.to_json() } else { figure.to_string() });
        }
    }
    Ok(all_reached)
}
