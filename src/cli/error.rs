//! The one form in which a command fails: what, why, what to do, a stable code.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io;

use serde_json::json;

use super::output::Format;
use crate::config::ConfigError;
use crate::http::codes::{self, CODES, Class};
use ipfs_kit_core::proto::OperationFailure;

/// Longest cause chain that is printed; a longer one is a circle.
const CAUSES_MAX: usize = 16;

/// Why a command failed, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
    code: Cow<'static, str>,
    retryable: bool,
}

impl CliError {
    /// A failure with one of the codes of the table.
    pub fn new(code: &'static str, what: impl Into<String>) -> Self {
        let known = codes::find(code);
        debug_assert!(known.is_some(), "{code} stands in the table");
        Self {
            what: what.into(),
            causes: Vec::new(),
            hint: None,
            code: Cow::Borrowed(code),
            retryable: known.is_some_and(|code| code.retryable),
        }
    }

    /// With the chain of causes that ends in `cause`.
    #[must_use]
    pub fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next.take_if(|_| self.causes.len() < CAUSES_MAX) {
            let text = cause.to_string();
            // Many errors repeat their source in their own text.
            if !self.causes.last().is_some_and(|last| last.contains(&text)) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// With the causes of an error whose own text says what failed.
    #[must_use]
    pub fn because_source(self, error: &dyn Error) -> Self {
        match error.source() {
            Some(source) => self.because(source),
            None => self,
        }
    }

    /// With one thing to do about it, best an exact command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed and why, in one line.
    pub fn summary(&self) -> String {
        let mut parts = vec![self.what.as_str()];
        parts.extend(self.causes.iter().map(String::as_str));
        parts.join(": ")
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether the same command may work later.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Its kind, and so the command's exit code.
    pub fn class(&self) -> Class {
        codes::class_of(&self.code)
    }

    /// The form for standard error: prose, or one JSON object.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.render_text(),
            Format::Json | Format::Ndjson => {
                let object = json!({
                    "error": {
                        "code": self.code,
                        "message": self.what,
                        "causes": self.causes,
                        "hint": self.hint,
                        "retryable": self.retryable,
                    }
                });
                format!("{object}\n")
            }
        }
    }

    fn render_text(&self) -> String {
        let mut text = String::new();
        let mut push = |label: &str, value: &str| {
            let value = value.replace('\n', "\n    ");
            writeln!(text, "{label}: {value}").expect("writing to a string never fails");
        };
        push("error", &self.what);
        for cause in &self.causes {
            push("  because", cause);
        }
        if let Some(hint) = &self.hint {
            push("  hint", hint);
        }
        push("  code", &self.code);
        text
    }
}

/// What the node reports is already in the user's form.
impl From<OperationFailure> for CliError {
    fn from(failure: OperationFailure) -> Self {
        Self {
            what: failure.message,
            causes: Vec::new(),
            hint: failure.hint,
            code: Cow::Owned(failure.code),
            retryable: failure.retryable,
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::new("E_CONFIG", error.to_string())
            .because_source(&error)
            .hint("ipfs-kit help config lists all settings")
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Halt {
    /// It failed.
    Failed(CliError),
    /// Nobody reads standard output any more (`… | head`): not worth a word.
    PipeClosed,
}

impl From<CliError> for Halt {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

/// Only for writing to standard output; other I/O errors name their file.
impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Failed(CliError::new("E_IO", "cannot write to standard output").because(&error))
        }
    }
}

/// How a command ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Everything asked for is so.
    Fully,
    /// It was done, but the state asked for is not reached (exit code 4).
    Degraded,
}

/// What every verb returns.
pub type VerbResult = Result<Done, Halt>;

/// The text of `help exit-codes`.
pub fn exit_codes_text() -> String {
    let mut text = String::from("  0  success\n");
    for class in Class::ALL {
        text.push_str(&format!("{:>3}  {}\n", class.exit_code(), class.meaning()));
    }
    text
}

/// The text of `help errors`.
pub fn errors_text() -> String {
    let mut text = String::new();
    for code in CODES {
        let retry = if code.retryable { "; a retry may help" } else { "" };
        text.push_str(&format!(
            "{:<20} exit {:>3}  {}{retry}\n",
            code.name,
            code.class.exit_code(),
            code.meaning
        ));
    }
    text
}

#[cfg(test)]
mod tests;
