//! What a verb has at hand: the node, where to print, and how much to say.

use std::io::{BufRead, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use super::args::Globals;
use super::client::Client;
use super::error::{CliError, Halt};
use super::output::{Column, Format, Output};
use super::progress::{Progress, Verbosity};
use crate::config::{self, Loaded};

/// One command being run.
pub struct Session<W: Write> {
    /// The node.
    pub client: Client,
    /// Standard output.
    pub out: Output<W>,
    globals: Globals,
}

impl<W: Write> Session<W> {
    /// Finds the node that the flags mean. Nothing is sent yet.
    pub fn open(globals: &Globals, out: Output<W>) -> Result<Self, CliError> {
        let loaded = config::load(&globals.sources(Vec::new()))?;
        warn(globals, &loaded);
        let client = Client::of(globals, &loaded)?;
        Ok(Self { client, out, globals: globals.clone() })
    }

    /// How much to say on standard error.
    pub fn verbosity(&self) -> Verbosity {
        self.globals.verbosity()
    }

    /// Prose on standard error, unless `-q`.
    pub fn say(&self, text: &str) {
        if self.verbosity() >= Verbosity::Normal {
            eprintln!("{text}");
        }
    }

    /// Details on standard error, only with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbosity() == Verbosity::Verbose {
            eprintln!("{text}");
        }
    }

    /// A bar for a transfer.
    pub fn progress(&self, label: impl Into<String>, total_bytes: Option<u64>) -> Progress {
        Progress::bytes(label, total_bytes, self.verbosity())
    }

    /// Prints one result. With `-q`, a table is only the value at `essence`, ready for `$(…)`.
    pub fn print(
        &mut self,
        value: &impl Serialize,
        fields: &[Column],
        essence: &str,
    ) -> Result<(), Halt> {
        let value = to_value(value)?;
        if self.out.format() == Format::Table && self.verbosity() == Verbosity::Quiet {
            let text = super::output::text(value.pointer(essence).unwrap_or(&Value::Null));
            return Ok(self.out.prose(&format!("{text}\n"))?);
        }
        Ok(self.out.record(&value, fields)?)
    }

    /// Prints a list that is already here.
    pub fn print_all<T: Serialize>(
        &mut self,
        items: &[T],
        columns: &'static [Column],
    ) -> Result<(), Halt> {
        let mut rows = self.out.rows(columns);
        for item in items {
            rows.push(&to_value(item)?)?;
        }
        rows.finish()?;
        Ok(())
    }

    /// Asks before something that can't be taken back: `name` must be typed, or `--yes` given.
    pub fn confirm(&self, what_happens: &str, name: &str) -> Result<(), CliError> {
        if self.globals.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(CliError::new("E_USAGE", format!("not confirmed: {what_happens}"))
                .hint("give --yes to do it without asking"));
        }
        eprintln!("{what_happens}");
        eprint!("Type {name} to go on: ");
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).map_err(|error| {
            CliError::new("E_IO", "cannot read the confirmation").because(&error)
        })?;
        if answer.trim() == name {
            return Ok(());
        }
        Err(CliError::new("E_INTERRUPTED", "not confirmed; nothing was changed"))
    }
}

/// Says what looks like a mistake in the configuration and may be none.
pub fn warn(globals: &Globals, loaded: &Loaded) {
    if globals.verbosity() >= Verbosity::Normal {
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
    }
}

/// A result as JSON.
pub fn to_value(value: &impl Serialize) -> Result<Value, CliError> {
    serde_json::to_value(value)
        .map_err(|error| CliError::new("E_INTERNAL", "cannot write the result").because(&error))
}
