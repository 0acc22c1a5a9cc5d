//! What can be wrong with a configuration, said so that it can be put right at once.

use std::fmt;
use std::path::PathBuf;

use super::Origin;

/// Why there are no settings. Nothing was started or written; the same input fails again.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any real configuration.
    #[error("{} is too large for a configuration file: more than {len_bytes_max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound.
        len_bytes_max: u64,
    },
    /// The folder holds several configuration files.
    #[error("two configuration files: {} and {}; keep one", first.display(), second.display())]
    Ambiguous {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The file is neither YAML nor JSON.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, from 1; 0 where the parser can't say.
        line: u64,
        /// Column, from 1; 0 where the parser can't say.
        column: u64,
        /// What the parser says.
        message: String,
    },
    /// Keys or values are wrong; all of them are listed.
    #[error("{}", list(problems))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
    /// No home to put the default folder in.
    #[error("no home folder is known; set IPFS_KIT_FOLDER or give --folder")]
    NoHome,
}

/// One wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as it was written.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.message)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
