//! Everything that happens in a run, one line an event, and one hash over all of it.
//!
//! Equal seeds must give equal traces. A second run of a seed compares itself line by line with the
//! first one's [`Recording`], so that the first difference is named, not only noticed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Lines kept for the report of a failed run.
const RECENT_LINES_MAX: usize = 400;
/// Bytes of a recording; a longer run is recorded up to here and compared by hash only after it.
const RECORDING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Events within one virtual millisecond after which the run counts as a busy loop.
const EVENTS_PER_MS_MAX: u64 = 100_000;

/// What becomes of the lines besides being hashed.
#[derive(Clone, Debug, Default)]
pub enum Lines {
    /// Only the most recent ones are kept.
    #[default]
    Recent,
    /// They are printed on standard error.
    Print,
    /// All are kept, for a second run to be compared with.
    Record,
    /// They are compared with a first run's.
    Compare(Arc<Recording>),
}

/// The lines of a whole run.
#[derive(Debug, Default)]
pub struct Recording {
    text: String,
    ends: Vec<usize>,
    is_cut: bool,
}

impl Recording {
    fn line(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.text.get(start..end)
    }

    fn push(&mut self, line: &str) {
        if self.text.len() + line.len() <= RECORDING_BYTES_MAX {
            self.text.push_str(line);
            self.ends.push(self.text.len());
        } else {
            self.is_cut = true;
        }
    }
}

/// Where a second run left the path of the first one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {index} differs: first run {first:?}, second run {second:?}")]
pub struct Divergence {
    /// Which event, from 0.
    pub index: u64,
    /// The first run's line; empty where it had ended.
    pub first: String,
    /// The second run's line.
    pub second: String,
}

/// A run's trace; clones are handles to the same one.
#[derive(Clone)]
pub struct Trace {
    start: Instant,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hasher: blake3::Hasher,
    lines: Lines,
    recording: Recording,
    recent: VecDeque<String>,
    events: u64,
    this_ms: u64,
    events_this_ms: u64,
    busy_loop_ms: Option<u64>,
    divergence: Option<Divergence>,
    line: String,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

std::thread_local! {
    /// When the run on this thread began.
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Virtual milliseconds since the run on this thread began; 0 outside of one.
#[must_use]
pub fn virtual_ms() -> u64 {
    let passed = START.get().map(|start| start.elapsed().as_millis());
    passed.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

impl Trace {
    /// An empty trace that begins now. Needs a tokio runtime with paused time.
    #[must_use]
    pub fn begin(lines: Lines) -> Self {
        let inner = Inner {
            hasher: blake3::Hasher::new(),
            lines,
            recording: Recording::default(),
            recent: VecDeque::new(),
            events: 0,
            this_ms: 0,
            events_this_ms: 0,
            busy_loop_ms: None,
            divergence: None,
            line: String::new(),
        };
        let start = Instant::now();
        START.set(Some(start));
        Self { start, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Virtual milliseconds since the trace began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment that [`Trace::now_ms`] counts from.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Records one event.
    pub fn event(&self, what: fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        let inner = &mut *self.inner();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        // Writing into a string can't fail.
        let _ = write!(line, "{:>7}.{:03} {what}", now_ms / 1000, now_ms % 1000);
        inner.hasher.update(line.as_bytes());
        inner.hasher.update(b"\n");
        inner.count(now_ms);
        inner.keep(&line);
        inner.events += 1;
        inner.line = line;
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner().events
    }

    /// The hash over all events so far, as 32 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(&self.inner().hasher.finalize().as_bytes()[..16])
    }

    /// The most recent lines, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        self.inner().recent.iter().cloned().collect()
    }

    /// The virtual millisecond in which too many events happened, if there was one.
    #[must_use]
    pub fn busy_loop_ms(&self) -> Option<u64> {
        self.inner().busy_loop_ms
    }

    /// Takes out the lines of a recorded run.
    #[must_use]
    pub fn take_recording(&self) -> Recording {
        std::mem::take(&mut self.inner().recording)
    }

    /// Where this run left the path of the one it is compared with.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        let inner = self.inner();
        if inner.divergence.is_some() {
            return inner.divergence.clone();
        }
        let Lines::Compare(first) = &inner.lines else { return None };
        // It may also have ended too early.
        let missing = first.line(usize::try_from(inner.events).ok()?)?;
        Some(Divergence { index: inner.events, first: missing.into(), second: String::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock is held leaves a half-written line at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, now_ms: u64) {
        if self.this_ms != now_ms {
            self.this_ms = now_ms;
            self.events_this_ms = 0;
        }
        self.events_this_ms += 1;
        if self.events_this_ms > EVENTS_PER_MS_MAX && self.busy_loop_ms.is_none() {
            self.busy_loop_ms = Some(now_ms);
        }
    }

    fn keep(&mut self, line: &str) {
        match &self.lines {
            Lines::Recent => {}
            Lines::Print => {
                eprintln!("{line}");
                return;
            }
            Lines::Record => self.recording.push(line),
            Lines::Compare(first) if self.divergence.is_none() => {
                let index = usize::try_from(self.events).unwrap_or(usize::MAX);
                let expected = first.line(index);
                let beyond = expected.is_none() && first.is_cut;
                if expected != Some(line) && !beyond {
                    self.divergence = Some(Divergence {
                        index: self.events,
                        first: expected.unwrap_or_default().into(),
                        second: line.into(),
                    });
                }
            }
            Lines::Compare(_) => {}
        }
        let mut kept = if self.recent.len() == RECENT_LINES_MAX {
            self.recent.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        kept.clear();
        kept.push_str(line);
        self.recent.push_back(kept);
    }
}

#[cfg(test)]
mod tests;
