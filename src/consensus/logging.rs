//! Raft's log lines, forwarded to `tracing`.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, Serializer, o};
use tracing::Level as TracingLevel;

/// A logger for raft that ends in `tracing` under the target `raft`. Lines that nobody listens to
/// are never formatted.
pub(crate) fn logger() -> Logger {
    Logger::root(TracingDrain, o!())
}

struct TracingDrain;

impl Drain for TracingDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "raft", "{}", Line(record, context));
            }
            Level::Warning => tracing::warn!(target: "raft", "{}", Line(record, context)),
            Level::Info => tracing::info!(target: "raft", "{}", Line(record, context)),
            Level::Debug => tracing::debug!(target: "raft", "{}", Line(record, context)),
            Level::Trace => tracing::trace!(target: "raft", "{}", Line(record, context)),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error => {
                tracing::enabled!(target: "raft", TracingLevel::ERROR)
            }
            Level::Warning => tracing::enabled!(target: "raft", TracingLevel::WARN),
            Level::Info => tracing::enabled!(target: "raft", TracingLevel::INFO),
            Level::Debug => tracing::enabled!(target: "raft", TracingLevel::DEBUG),
            Level::Trace => tracing::enabled!(target: "raft", TracingLevel::TRACE),
        }
    }
}

/// One log line: the message, then its pairs, then those of the logger.
struct Line<'a>(&'a Record<'a>, &'a OwnedKVList);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record, context) = self;
        write!(f, "{}", record.msg())?;
        let mut pairs = Pairs(f);
        record.kv().serialize(record, &mut pairs).map_err(|_| fmt::Error)?;
        context.serialize(record, &mut pairs).map_err(|_| fmt::Error)
    }
}

struct Pairs<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Serializer for Pairs<'_, '_> {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.write_char(' ')?;
        self.0.write_str(key)?;
        self.0.write_char('=')?;
        self.0.write_fmt(*value)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
