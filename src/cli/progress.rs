//! Progress on standard error: a bar on a terminal, lines with `-v`, otherwise nothing.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::quantity::display_size;

/// How much a command says on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only (`-q`).
    Quiet,
    /// What matters.
    Normal,
    /// What happens (`-v`).
    Verbose,
}

/// Bytes between two lines of progress where no terminal is.
const LINE_EVERY_BYTES: u64 = 256 << 20;

/// The progress of one transfer, by bytes.
pub struct Progress {
    label: String,
    form: Form,
    total_bytes: Option<u64>,
}

enum Form {
    Bar(ProgressBar),
    Lines { next_bytes: u64 },
    Silent,
}

impl Progress {
    /// Begins. Without a total the bar shows only what is done.
    pub fn bytes(label: impl Into<String>, total_bytes: Option<u64>, verbosity: Verbosity) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let form = match verbosity {
            Verbosity::Quiet => Form::Silent,
            _ if on_terminal => Form::Bar(bar(total_bytes)),
            Verbosity::Verbose => Form::Lines { next_bytes: LINE_EVERY_BYTES },
            Verbosity::Normal => Form::Silent,
        };
        let label = label.into();
        if let Form::Bar(bar) = &form {
            bar.set_message(label.clone());
        }
        Self { label, form, total_bytes }
    }

    /// Says how far it is.
    pub fn set(&mut self, done_bytes: u64) {
        match &mut self.form {
            Form::Bar(bar) => bar.set_position(done_bytes),
            Form::Lines { next_bytes } if done_bytes >= *next_bytes => {
                *next_bytes = done_bytes - done_bytes % LINE_EVERY_BYTES + LINE_EVERY_BYTES;
                let total = self
                    .total_bytes
                    .map_or_else(String::new, |total| format!(" of {}", display_size(total)));
                eprintln!("{}: {}{total}", self.label, display_size(done_bytes));
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    /// Says what is going on now, where the bar is.
    pub fn stage(&mut self, label: impl Into<String>) {
        self.label = label.into();
        match &self.form {
            Form::Bar(bar) => bar.set_message(self.label.clone()),
            Form::Lines { .. } => eprintln!("{}", self.label),
            Form::Silent => {}
        }
    }

    /// Takes the bar away. Also happens on drop, so that an error starts on a clean line.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn bar(total_bytes: Option<u64>) -> ProgressBar {
    let template = match total_bytes {
        Some(_) => "{msg} [{bar:30}] {bytes} of {total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template)
        .expect("both templates are fixed")
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests;
