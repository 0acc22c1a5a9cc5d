//! The command line: what users type, and the form of what they get.
//!
//! How to read it: [`args`] is everything that can be typed; [`error`] and [`output`] are the two forms of
//! what comes back; [`client`] reaches the node; a file per group of verbs does the rest.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, ClientCommand, Command, Globals, NodeCommand};
use error::{CliError, Done, Halt, VerbResult};
use output::{Format, Output};
use session::Session;

mod add;
pub mod args;
mod block;
mod call;
pub mod client;
mod cluster;
mod dag;
pub mod demo;
mod doctor;
mod download;
mod engine_error;
pub mod error;
pub mod init;
mod local;
pub mod local_cluster;
mod log;
pub mod nodes;
pub mod output;
mod pages;
mod pin;
pub mod progress;
mod read;
pub mod session;
mod status;
pub mod unpack;
pub mod up;
pub mod walk;

/// Threads of a client command: one for the network, one for the disk.
const WORKER_THREADS: usize = 2;
/// Bytes of standard output that are written at once.
const STDOUT_LEN_BYTES: usize = 64 * 1024;

/// Says where the API is, like `--api`. For commands that talk to a node; one that runs a node listens
/// where its configuration says.
const API_VARIABLE: &str = "IPFS_KIT_API";

/// Runs what was typed. `run_node` does what makes or runs nodes, which is the composition root's.
pub fn main(run_node: impl FnOnce(&Globals, NodeCommand) -> VerbResult) -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, format_asked_for(&typed)),
    };
    let format = cli.globals.output;
    let result = match cli.command {
        Command::Node(command) => run_node(&cli.globals, command),
        Command::Client(command) => {
            let mut globals = cli.globals;
            globals.api = globals.api.or_else(|| std::env::var(API_VARIABLE).ok());
            let file = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
            let stdout = BufWriter::with_capacity(STDOUT_LEN_BYTES, std::io::stdout());
            let output = Output::new(stdout, globals.output).with_file(file.ok());
            run_client(&globals, command, output)
        }
    };
    finish(result, format)
}

/// Runs a verb that talks to a running node, or to nobody.
pub fn run_client<W: Write>(
    globals: &Globals,
    command: ClientCommand,
    mut output: Output<W>,
) -> VerbResult {
    match command {
        ClientCommand::Config(command) => return local::config(globals, &mut output, &command),
        ClientCommand::Version => return local::version(&mut output),
        ClientCommand::Completions { shell } => return pages::completions(&mut output, shell),
        ClientCommand::Man { dir } => return pages::man(&mut output, &dir),
        ClientCommand::Help(args) => return local::help(&mut output, &args),
        ClientCommand::Call(args) if args.list => return local::operations(&mut output),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(|error| CliError::new("E_INTERNAL", "cannot start").because(&error))?;
    runtime.block_on(async {
        if matches!(command, ClientCommand::Doctor) {
            return tokio::select! {
                biased;
                stopped = tokio::signal::ctrl_c() => Err(interrupted(stopped).into()),
                () = deadline(globals.timeout) => Err(too_late().into()),
                result = doctor::run(globals, &mut output) => result,
            };
        }
        let mut session = Session::open(globals, output)?;
        let verb = run_verb(&mut session, command);
        tokio::select! {
            biased;
            stopped = tokio::signal::ctrl_c() => Err(interrupted(stopped).into()),
            () = deadline(globals.timeout) => Err(too_late().into()),
            result = verb => result,
        }
    })
}

async fn run_verb<W: Write>(session: &mut Session<W>, command: ClientCommand) -> VerbResult {
    match command {
        ClientCommand::Status => status::status(session).await,
        ClientCommand::Add(args) => add::run(session, args).await,
        ClientCommand::Get(args) => read::get(session, args).await,
        ClientCommand::Cat(args) => read::cat(session, args).await,
        ClientCommand::Ls(args) => read::ls(session, args).await,
        ClientCommand::Dag(command) => dag::run(session, command).await,
        ClientCommand::Block(command) => block::run(session, command).await,
        ClientCommand::Store(command) => block::store(session, command).await,
        ClientCommand::Pin(command) => pin::run(session, command).await,
        ClientCommand::Node(command) => cluster::members(session, command).await,
        ClientCommand::Cluster(command) => cluster::run(session, command).await,
        ClientCommand::Index(command) => status::index(session, command).await,
        ClientCommand::Actors => status::actors(session).await,
        ClientCommand::Call(args) => call::run(session, args).await,
        ClientCommand::Config(_)
        | ClientCommand::Version
        | ClientCommand::Doctor
        | ClientCommand::Completions { .. }
        | ClientCommand::Man { .. }
        | ClientCommand::Help(_) => unreachable!("they ran before a node was looked for"),
    }
}

async fn deadline(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn interrupted(signal: std::io::Result<()>) -> CliError {
    match signal {
        Ok(()) => CliError::new("E_INTERRUPTED", "interrupted")
            .hint("an add or import leaves nothing behind; what a call began may still happen"),
        Err(error) => CliError::new("E_INTERNAL", "cannot listen for signals").because(&error),
    }
}

fn too_late() -> CliError {
    CliError::new("E_TIMEOUT", "not finished within --timeout; it may still happen")
        .hint("look with ipfs-kit status, or give it longer")
}

/// Whole milliseconds, for requests.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reports how a command ended; the exit codes are those of `help exit-codes`.
pub fn finish(result: VerbResult, format: Format) -> ExitCode {
    match result {
        Ok(Done::Fully) | Err(Halt::PipeClosed) => ExitCode::SUCCESS,
        Ok(Done::Degraded) => ExitCode::from(crate::http::codes::Class::Degraded.exit_code()),
        Err(Halt::Failed(error)) => {
            // Where standard error is gone too, the exit code still tells.
            let _ = std::io::stderr().write_all(error.render(format).as_bytes());
            ExitCode::from(error.class().exit_code())
        }
    }
}

/// Help and version are no errors; everything else is one, in the format that was asked for.
fn not_understood(error: &clap::Error, format: Format) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that is gone, as in `--help | head`, has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    match format {
        Format::Table => {
            // Where standard error is gone, the exit code still tells.
            let _ = error.print();
            ExitCode::from(crate::http::codes::Class::Usage.exit_code())
        }
        Format::Json | Format::Ndjson => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            let failure = CliError::new("E_USAGE", message).hint("ipfs-kit help");
            finish(Err(failure.into()), format)
        }
    }
}

/// The format as far as a line that was not understood tells.
fn format_asked_for(typed: &[OsString]) -> Format {
    let words: Vec<&str> = typed.iter().filter_map(|word| word.to_str()).collect();
    let value = words.iter().enumerate().find_map(|(at, word)| match *word {
        "--output" => words.get(at + 1).copied(),
        word => word.strip_prefix("--output="),
    });
    match value {
        Some("json") => Format::Json,
        Some("ndjson") => Format::Ndjson,
        _ => Format::Table,
    }
}

#[cfg(test)]
mod tests;
