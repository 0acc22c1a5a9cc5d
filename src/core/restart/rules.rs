//! The values of supervision: how a child ended, and the rules it lives under.

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

/// Longest text kept of a cause; the rest is cut.
pub const CAUSE_LEN_BYTES_MAX: usize = 1024;

/// Position of a child under its supervisor: the order of starting, and never used twice.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ChildIx(pub u32);

/// Why a child ended abnormally, in words that an operator can act on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// What failed: the type of the error, `panic`, `start-timeout`, `intensity`.
    pub kind: String,
    /// What was said, with its sources, at most [`CAUSE_LEN_BYTES_MAX`] bytes.
    pub text: String,
    /// Where, as `file:line:column`, when that is known.
    pub location: Option<String>,
}

impl Cause {
    /// A cause without a location. An overlong text is cut at a character boundary.
    pub fn new(kind: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > CAUSE_LEN_BYTES_MAX {
            let cut = (0..=CAUSE_LEN_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
        }
        Self { kind: kind.into(), text, location: None }
    }

    /// The same cause with the place where it arose.
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} at {location}: {}", self.kind, self.text),
            None => write!(f, "{}: {}", self.kind, self.text),
        }
    }
}

/// How one incarnation of a child ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "exit", content = "cause")]
pub enum Exit {
    /// It stopped by itself or when it was asked to.
    Normal,
    /// It gave up with a typed error.
    Failed(Cause),
    /// It panicked.
    Panicked(Cause),
    /// It was dropped: its stop deadline passed, or somebody killed it.
    Killed,
}

impl Exit {
    /// Whether a transient child is restarted after it.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal)
    }

    /// The word used in tables and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
            Self::Killed => "killed",
        }
    }

    /// The cause, where there is one.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Failed(cause) | Self::Panicked(cause) => Some(cause),
            Self::Normal | Self::Killed => None,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cause() {
            Some(cause) => write!(f, "{}: {cause}", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}

/// Which siblings restart with a child that crashed (Erlang/OTP's supervisor strategies).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// None: the children don't depend on each other.
    #[default]
    OneForOne,
    /// Those that were started after it, because they depend on it.
    RestForOne,
    /// All of them, because they depend on each other.
    OneForAll,
}

impl Strategy {
    /// The words used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneForOne => "one-for-one",
            Self::RestForOne => "rest-for-one",
            Self::OneForAll => "one-for-all",
        }
    }
}

/// After which exits a child is restarted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartPolicy {
    /// After every exit that nobody asked for.
    #[default]
    Permanent,
    /// After abnormal exits.
    Transient,
    /// Never, not even when a sibling's crash stopped it.
    Temporary,
}

/// Whether its supervisor can be of use without a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Importance {
    /// It can't: an abnormal end that is not followed by a restart escalates, and the node isn't
    /// ready while the child is down.
    #[default]
    Essential,
    /// It can.
    Optional,
}

/// The rules of one child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildRule {
    /// After which exits it is restarted.
    pub restart: RestartPolicy,
    /// What its absence means.
    pub importance: Importance,
    /// How long it may take until it reports ready; unlimited for supervisors.
    pub start_timeout_ms: Option<u64>,
    /// How long it may take to stop before it is killed; unlimited for supervisors.
    pub stop_deadline_ms: Option<u64>,
}

/// How many restarts a supervisor bears in a sliding window before it gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intensity {
    /// Restarts borne in the period; the next one escalates.
    pub max_restarts: u32,
    /// Length of the window.
    pub period_ms: u64,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { max_restarts: 5, period_ms: 30_000 }
    }
}

/// Delays between a crash and the restart: `base · 2^(n-1)`, capped, with jitter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackOff {
    /// Delay after the first crash.
    pub base_ms: u64,
    /// Longest delay before jitter.
    pub cap_ms: u64,
    /// Each delay is moved by up to this many percent, either way.
    pub jitter_percent: u8,
    /// A child that was up this long counts its crashes from one again.
    pub quiet_ms: u64,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base_ms: 100, cap_ms: 10_000, jitter_percent: 20, quiet_ms: 60_000 }
    }
}

impl BackOff {
    /// The delay before the restart that follows `crash`, counted from one.
    pub fn delay_ms(&self, crash: u32, rng: &mut impl RngCore) -> u64 {
        let doublings = crash.saturating_sub(1).min(63);
        let plain_ms = self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms);
        let spread_ms = plain_ms / 100 * u64::from(self.jitter_percent.min(100))
            + plain_ms % 100 * u64::from(self.jitter_percent.min(100)) / 100;
        if spread_ms == 0 {
            return plain_ms;
        }
        plain_ms - spread_ms + rng.next_u64() % spread_ms.saturating_mul(2).saturating_add(1)
    }
}
