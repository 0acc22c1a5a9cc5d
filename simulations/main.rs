//! `ipfs-kit-sim`: plays seeds and says which promises they break.

use std::collections::BTreeSet;
use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::mpsc::RecvTimeoutError;

use clap::Parser;
use ipfs_kit_simulations::cluster::Sabotage;
use ipfs_kit_simulations::runner::{Options, Print, Report, play, play_twice};
use ipfs_kit_simulations::trace;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Every so many seeds one is played twice, whatever was asked.
const TWICE_EVERY: u64 = 10;

/// Plays whole clusters in virtual time. A seed is a complete bug report: the same seed and the same
/// options give the same events.
#[derive(Parser, Debug)]
#[command(name = "ipfs-kit-sim", version, about)]
struct Arguments {
    /// Plays one seed, twice, and compares.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Plays the seeds from A up to, not including, B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Virtual seconds of faults and users at work.
    #[arg(long, value_name = "N", default_value_t = 90)]
    seconds: u64,
    /// Prints every event; the seed is played once.
    #[arg(long)]
    trace: bool,
    /// Prints what the nodes log, by this filter, with virtual time: debug, or ipfs_kit_actors=trace.
    #[arg(long, value_name = "FILTER", value_parser = EnvFilter::from_str)]
    log: Option<EnvFilter>,
    /// Plays every seed twice and compares; otherwise one in ten of a range.
    #[arg(long)]
    replay: bool,
    /// Real seconds after which a seed counts as hanging.
    #[arg(long, value_name = "N", default_value_t = 300)]
    patience: u64,
    /// Switches the repair paths off: the checkers must notice. Exits 0 if every seed fails.
    #[arg(long)]
    disable_repair: bool,
    /// Switches one repair path off.
    #[arg(long, value_enum, value_name = "PATH")]
    disable: Vec<RepairPath>,
}

/// A repair path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RepairPath {
    /// Followers asking for what they missed.
    Feed,
    /// The leader replacing lost copies.
    Copies,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

impl Arguments {
    fn options(&self) -> Options {
        let mut sabotage: BTreeSet<Sabotage> = BTreeSet::new();
        for path in &self.disable {
            sabotage.insert(match path {
                RepairPath::Feed => Sabotage::Feed,
                RepairPath::Copies => Sabotage::Copies,
            });
        }
        if self.disable_repair {
            sabotage.extend([Sabotage::Feed, Sabotage::Copies]);
        }
        let print = if self.trace { Print::Events } else { Print::Nothing };
        Options { churn_ms: self.seconds * 1_000, sabotage, print }
    }

    fn seeds(&self) -> Range<u64> {
        match (&self.seeds, self.seed) {
            (Some(range), _) => range.clone(),
            (None, Some(seed)) => seed..seed + 1,
            (None, None) => 0..0,
        }
    }

    fn plays_twice(&self, seed: u64) -> bool {
        !self.trace && (self.replay || self.seed.is_some() || seed.is_multiple_of(TWICE_EVERY))
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let options = arguments.options();
    if let Some(filter) = arguments.log.take() {
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_timer(VirtualTime);
        subscriber.with_ansi(false).with_writer(std::io::stderr).init();
    }
    println!("{} {}: {options:?}", env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION"));
    let (mut played, mut failed, mut diverged) = (0u64, 0u64, 0u64);
    let watchdog = Watchdog::start(arguments.patience);
    for seed in arguments.seeds() {
        watchdog.watch(seed);
        let began = RealTime::now();
        let report = if arguments.plays_twice(seed) {
            play_twice(seed, &options).unwrap_or_else(|difference| {
                let (report, divergence) = *difference;
                diverged += 1;
                println!("seed {seed} is not deterministic: {divergence}");
                report
            })
        } else {
            play(seed, &options)
        };
        println!("{report}; {:.1} s real", began.elapsed_s());
        played += 1;
        if !report.passed() {
            failed += 1;
            explain(&report, &options);
        }
    }
    println!("{played} seeds, {failed} failed, {diverged} were not deterministic");
    let expected = if options.sabotage.is_empty() { failed == 0 } else { failed == played };
    if expected && diverged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a failed run leaves for whoever looks into it.
fn explain(report: &Report, options: &Options) {
    for violation in &report.violations {
        println!("  {violation}");
    }
    if !options.sabotage.is_empty() {
        return;
    }
    print!("{}", report.schedule);
    println!("the last events:");
    for line in report.recent.iter().rev().take(40).rev() {
        println!("{line}");
    }
    let (seed, seconds) = (report.seed, options.churn_ms / 1_000);
    println!("replay: --seed {seed} --seconds {seconds} --trace");
}

/// Ends the program when a seed takes too long: a loop that never yields stops virtual time, and nothing
/// on its thread can notice.
struct Watchdog(std::sync::mpsc::Sender<u64>);

impl Watchdog {
    fn start(patience_s: u64) -> Self {
        let (seeds, watched) = std::sync::mpsc::channel();
        let patience = std::time::Duration::from_secs(patience_s);
        let watch = move || {
            let mut current: Option<u64> = None;
            loop {
                match (watched.recv_timeout(patience), current) {
                    (Ok(seed), _) => current = Some(seed),
                    (Err(RecvTimeoutError::Timeout), Some(seed)) => {
                        println!("seed {seed} FAILED LIVE-2: no end within {patience_s} s real");
                        println!("replay: --seed {seed} --trace; the last event is where it hangs");
                        std::process::exit(1);
                    }
                    (Err(RecvTimeoutError::Timeout), None) => {}
                    (Err(RecvTimeoutError::Disconnected), _) => return,
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it watches the simulation from outside")]
        std::thread::spawn(watch);
        Self(seeds)
    }

    fn watch(&self, seed: u64) {
        // It lives as long as the program.
        let _ = self.0.send(seed);
    }
}

/// Stamps log lines with the trace's clock.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        let now_ms = trace::virtual_ms();
        write!(to, "{:>7}.{:03}", now_ms / 1_000, now_ms % 1_000)
    }
}

/// The machine's own clock: how long a person waits.
struct RealTime(std::time::Instant);

impl RealTime {
    fn now() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the program's own speed, outside of any run"
        )]
        Self(std::time::Instant::now())
    }

    fn elapsed_s(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
