//! `log.level`: the least severe level that the log holds, for everything and for single modules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Modules that one filter may name.
const MODULES_MAX: usize = 32;
/// Longest name of a module.
const MODULE_LEN_BYTES_MAX: usize = 64;
/// Our packages, which users call by their room: `net` is `ipfs_kit_net`.
const ROOMS: [&str; 6] = ["core", "consensus", "content", "store", "net", "actors"];
/// Modules of the program itself: `http` is `ipfs_kit::http`.
const PROGRAM: [&str; 5] = ["adapters", "cli", "config", "engine", "http"];

/// Severity, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// Something changed.
    Info,
    /// What the node does.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 6] =
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// Which lines the log holds: `info`, or `info,net=debug,raft=warn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter {
    /// For every module that is not named.
    pub level: LogLevel,
    /// For modules, as they were named; a later one wins over an earlier one of the same name.
    pub modules: Vec<(String, LogLevel)>,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    /// A part is neither a level nor a module with one.
    #[error(
        "{part:?} is no level; write one of off, error, warn, info, debug, trace, or MODULE=LEVEL"
    )]
    Level {
        /// The part.
        part: String,
    },
    /// The level for everything is missing, or not in front.
    #[error("the level for everything comes first and once, such as info,net=debug")]
    Order,
    /// A module can't be called that.
    #[error(
        "{module:?} is no module; use letters, digits, '_' and '::', such as net or libp2p_swarm"
    )]
    Module {
        /// The name.
        module: String,
    },
    /// Too many modules.
    #[error("more than {MODULES_MAX} modules")]
    TooMany,
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let shown = |part: &str| part.chars().take(60).collect::<String>();
        let level_of = |name: &str, part: &str| {
            LogLevel::find(name).ok_or_else(|| LogFilterError::Level { part: shown(part) })
        };
        let mut parts = text.split(',').map(str::trim);
        let first = parts.next().unwrap_or_default();
        if first.contains('=') {
            return Err(LogFilterError::Order);
        }
        let level = level_of(first, first)?;
        let mut modules = Vec::new();
        for part in parts {
            let Some((module, name)) = part.split_once('=') else {
                level_of(part, part)?;
                return Err(LogFilterError::Order);
            };
            let (module, level) = (module.trim(), level_of(name.trim(), part)?);
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if module.is_empty() || module.len() > MODULE_LEN_BYTES_MAX || !module.chars().all(fits)
            {
                return Err(LogFilterError::Module { module: shown(module) });
            }
            modules.push((module.to_owned(), level));
        }
        if modules.len() > MODULES_MAX {
            return Err(LogFilterError::TooMany);
        }
        Ok(Self { level, modules })
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        self.modules
            .iter()
            .try_for_each(|(module, level)| write!(f, ",{module}={}", level.as_str()))
    }
}

impl TryFrom<String> for LogFilter {
    type Error = LogFilterError;

    fn try_from(text: String) -> Result<Self, LogFilterError> {
        text.parse()
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.to_string()
    }
}

impl LogFilter {
    /// The modules with the names that the compiler gives them.
    pub fn targets(&self) -> impl Iterator<Item = (String, LogLevel)> {
        self.modules.iter().map(|(module, level)| (target(module), *level))
    }
}

/// The compiler's name of a module; what is none of ours stays as it is.
fn target(module: &str) -> String {
    let first = module.split("::").next().unwrap_or_default();
    if ROOMS.contains(&first) {
        format!("ipfs_kit_{module}")
    } else if PROGRAM.contains(&first) {
        format!("ipfs_kit::{module}")
    } else {
        module.to_owned()
    }
}

#[cfg(test)]
mod tests;
