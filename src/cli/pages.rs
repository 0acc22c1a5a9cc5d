//! Completion scripts and manual pages, made from the same definition that parses the command line.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::error::{CliError, Done, VerbResult};
use super::output::Output;

/// Runs `completions SHELL`.
pub fn completions<W: Write>(out: &mut Output<W>, shell: Shell) -> VerbResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ipfs-kit", &mut script);
    out.bytes(&script)?;
    out.flush()?;
    Ok(Done::Fully)
}

/// Runs `man DIR`: a page for the program and one for each command, as `ipfs-kit-pin-add.1`.
pub fn man<W: Write>(out: &mut Output<W>, folder: &Path) -> VerbResult {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| {
        let what = format!("can't write manual pages to {}", folder.display());
        CliError::new("E_DESTINATION", what)
            .because(&error)
            .hint("name a folder that can be written")
    })?;
    out.prose(&format!("{}\n", folder.join("ipfs-kit.1").display()))?;
    Ok(Done::Fully)
}
