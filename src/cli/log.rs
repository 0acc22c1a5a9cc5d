//! The node's log: on standard error, as lines for people or as JSON objects, filtered by module.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{LogFilter, LogFormat, LogLevel, LogSettings};

/// libp2p is chatty; what an operator needs of it is told by the network's own events.
const QUIET: [(&str, LogLevel); 3] =
    [("libp2p", LogLevel::Warn), ("libp2p_gossipsub", LogLevel::Error), ("yamux", LogLevel::Warn)];

/// Sets the log of this process up, once.
pub fn init(settings: &LogSettings) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let set = tracing_subscriber::registry().with(lines.with_filter(targets(&settings.level)));
    if let Err(error) = set.try_init() {
        eprintln!("warning: the log can't be set up: {error}");
    }
}

/// What was set, over what is quiet by default.
fn targets(filter: &LogFilter) -> Targets {
    let quiet = QUIET.into_iter().map(|(module, level)| (module.to_owned(), level));
    let all = quiet.filter(|(_, level)| *level < filter.level).chain(filter.targets());
    let all = all.map(|(module, level)| (module, level_of(level)));
    Targets::new().with_default(level_of(filter.level)).with_targets(all)
}

fn level_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests;
