//! One seed, one run: set up, played, judged, and where asked played again and compared.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ipfs_kit_core::invariant::Violation;
use tokio::task::LocalSet;

use crate::cluster::Sabotage;
use crate::faults::Schedule;
use crate::scenarios;
use crate::stage::{Broken, Stage};
use crate::trace::{Divergence, Lines, Recording, Trace};
use crate::world::net::Stats;

/// How a seed is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long faults and users are at work, in virtual milliseconds.
    pub churn_ms: u64,
    /// What is switched off.
    pub sabotage: BTreeSet<Sabotage>,
    /// Whether every event is printed.
    pub print: Print,
}

/// Whether every event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// Only what was last seen before a broken promise is reported.
    Nothing,
    /// On standard error, as it happens.
    Events,
}

impl Default for Options {
    fn default() -> Self {
        Self { churn_ms: 90_000, sabotage: BTreeSet::new(), print: Print::Nothing }
    }
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Promises that were broken; none: it passed.
    pub violations: Vec<Violation>,
    /// The hash over all its events.
    pub hash: String,
    /// How many there were.
    pub events: u64,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// What went wrong on purpose; empty if the run ended before it was drawn.
    pub schedule: Schedule,
    /// What the network carried.
    pub net: Stats,
    /// What else is worth a look.
    pub figures: Figures,
    /// The last events, oldest first, if it failed.
    pub recent: Vec<String>,
}

/// What a run did, to see that it did enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Users' requests that were answered.
    pub answered: u64,
    /// Those that failed or were lost.
    pub unanswered: u64,
    /// Pins that users asked for.
    pub pins: usize,
    /// Bytes read back and compared.
    pub verified_bytes: u64,
    /// The newest log index.
    pub newest: u64,
    /// Leaders.
    pub terms: usize,
    /// Times that a node was started.
    pub starts: u64,
    /// Times that a node ended by itself.
    pub ended: usize,
    /// Deltas that gossip brought first to the runs that lived to the end.
    pub deltas_by_gossip: u64,
    /// Deltas that they had to fetch.
    pub deltas_by_feed: u64,
    /// Most messages that ever waited in one mailbox.
    pub mailbox_high_water: usize,
    /// States checked as a whole.
    pub states_checked: u64,
}

impl Report {
    /// Whether no promise was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok    " } else { "FAILED" };
        let Figures { answered, unanswered, pins, newest, terms, starts, ended, .. } = self.figures;
        write!(
            f,
            "seed {:<6} {verdict} {} {:>7} events {:>4} s virtual; {answered}+{unanswered} requests, \
             {pins} pins, index {newest}, {terms} terms, {starts} starts, {ended} ended by themselves",
            self.seed,
            self.hash,
            self.events,
            self.virtual_ms / 1_000,
        )
    }
}

/// Plays a seed once.
#[must_use]
pub fn play(seed: u64, options: &Options) -> Report {
    let lines = match options.print {
        Print::Nothing => Lines::Recent,
        Print::Events => Lines::Print,
    };
    play_with(seed, options, lines).0
}

/// Plays a seed twice; an error names the first event that differs.
pub fn play_twice(seed: u64, options: &Options) -> Result<Report, Box<(Report, Divergence)>> {
    let (first, trace) = play_with(seed, options, Lines::Record);
    let recording: Arc<Recording> = Arc::new(trace.take_recording());
    let (second, trace) = play_with(seed, options, Lines::Compare(recording));
    if let Some(divergence) = trace.divergence() {
        return Err(Box::new((first, divergence)));
    }
    if first.hash != second.hash {
        // Beyond the end of what was recorded.
        let divergence =
            Divergence { index: first.events, first: first.hash.clone(), second: second.hash };
        return Err(Box::new((first, divergence)));
    }
    Ok(first)
}

/// Plays one scene from a seed, for tests.
///
/// # Panics
/// If the scene breaks a promise: with the promise and the last events.
pub fn play_scene(seed: u64, scene: impl AsyncFnOnce(&mut Stage) -> Result<(), Broken>) {
    in_paused_time(async {
        let trace = Trace::begin(Lines::Recent);
        let mut stage = scenarios::stage(seed, &BTreeSet::new(), trace.clone());
        if let Err(broken) = scene(&mut stage).await {
            panic!("seed {seed}: {broken}\n{}", trace.recent().join("\n"));
        }
    });
}

/// Runs to the end on this thread; time passes only while everything waits.
fn in_paused_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing that could be missing");
    LocalSet::new().block_on(&runtime, run)
}

fn play_with(seed: u64, options: &Options, lines: Lines) -> (Report, Trace) {
    in_paused_time(async {
        let trace = Trace::begin(lines);
        let mut stage = scenarios::stage(seed, &options.sabotage, trace.clone());
        let mut schedule = Schedule::default();
        let played =
            scenarios::run(&mut stage, &options.sabotage, options.churn_ms, &mut schedule).await;
        let violations = played.err().map(|broken| broken.found).unwrap_or_default();
        for violation in &violations {
            trace.event(format_args!("BROKEN {violation}"));
        }
        (report(&stage, &trace, violations, schedule), trace)
    })
}

fn report(stage: &Stage, trace: &Trace, violations: Vec<Violation>, schedule: Schedule) -> Report {
    let (cluster, ledger) = (stage.cluster.borrow(), stage.ledger.borrow());
    let arrivals = cluster.running().into_iter().map(|(_, handle)| handle.arrivals());
    let (deltas_by_gossip, deltas_by_feed) =
        arrivals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let checkers = stage.checkers();
    Report {
        seed: stage.seed,
        hash: trace.hash(),
        events: trace.events(),
        virtual_ms: trace.now_ms(),
        schedule,
        net: cluster.world.net.stats(),
        figures: Figures {
            answered: ledger.answered,
            unanswered: ledger.unanswered,
            pins: ledger.items().len(),
            verified_bytes: ledger.verified_bytes,
            newest: checkers.newest(),
            terms: checkers.terms(),
            starts: cluster.machines().iter().map(|machine| machine.runs()).sum(),
            ended: cluster.ended().len(),
            deltas_by_gossip,
            deltas_by_feed,
            mailbox_high_water: checkers.mailbox_high_water(),
            states_checked: checkers.states_checked(),
        },
        recent: if violations.is_empty() { Vec::new() } else { trace.recent() },
        violations,
    }
}
