//! The kill loop: rounds of `kill -9` under load, and after each of them everything is compared with what
//! users were told.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ipfs_kit::cli::local_cluster::{Addresses, LocalCluster, SHAPE, Timing};
use tokio::time::Instant;

use crate::ledger::{Known, Ledger};
use crate::rest::{LOOK, rest};
use crate::rng::Rng;
use crate::strike::Strike;
use crate::users::{User, World};
use crate::verify::{Seen, verify};

/// How long a cluster may need to come to rest after the last restart.
const REST_WITHIN: Duration = Duration::from_secs(90);
/// How long requests without an answer, and the leases of their adds, may live on.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
/// Milliseconds of load before a strike, and between a strike and the restart.
const BEFORE_MS: RangeInclusive<u64> = 100..=1_500;
const DOWN_MS: RangeInclusive<u64> = 0..=1_500;
/// Strikes of one round, one after the other.
const STRIKES: RangeInclusive<u64> = 1..=2;
/// The variable that names the folder whose syncs the program under trial leaves out.
const FORGETS: &str = "POWER_LOSS_FORGETS_SYNCS_OF";
/// Pins that one user keeps.
const KEEPS: usize = 12;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// How many rounds.
    pub rounds: u64,
    /// What is drawn follows from it; when exactly a kill hits does not.
    pub seed: u64,
    /// Users at work at once.
    pub users: u64,
    /// The folder whose syncs are left out.
    pub without_syncs_of: Option<String>,
    /// Whether to end without waiting for what lost requests left behind.
    pub brief: bool,
}

/// A cluster under trial.
struct Trial {
    plan: Plan,
    cluster: LocalCluster,
    world: World,
    users: Vec<User>,
    rng: Rng,
    kills: u64,
    bytes: u64,
}

/// Runs all rounds; says whether nothing was lost.
pub async fn run(plan: Plan) -> Result<bool> {
    let begun = Instant::now();
    let mut trial = Trial::begin(plan).await?;
    let mut round = 0;
    let outcome = loop {
        if round == trial.plan.rounds {
            break if trial.plan.brief { Ok(()) } else { trial.last_rest().await };
        }
        round += 1;
        if let Err(error) = trial.round(round).await {
            break Err(error);
        }
        if !trial.world.ledger.open().losses.is_empty() {
            break Ok(());
        }
    };
    if let Err(error) = outcome {
        trial.world.ledger.lose(format!("{error:#}"));
    }
    trial.finish(round, begun.elapsed()).await
}

impl Trial {
    async fn begin(plan: Plan) -> Result<Self> {
        let mut cluster =
            LocalCluster::of(plan.program.clone(), Addresses::Fixed).map_err(plain)?;
        // Half a second without a leader is enough on one machine, and a memory cache would hide losses.
        cluster.set("raft.tick", "25ms");
        cluster.set("cache.max", "0");
        if let Some(folder) = &plan.without_syncs_of {
            cluster.set_variable(FORGETS, folder);
        }
        println!("seed {}, folders in {}", plan.seed, cluster.path().display());
        let mut say = |line: String| println!("{line}");
        let started = cluster.start(&SHAPE, Timing::Brisk, &mut say).await;
        if let Err(error) = started {
            let kept = cluster.keep();
            return Err(plain(error).context(format!("the folders are kept in {}", kept.display())));
        }
        let folders = cluster.nodes().iter().map(|node| node.folder().to_owned()).collect();
        let world = World {
            seed: plan.seed,
            folders: Arc::new(folders),
            ledger: Arc::new(Ledger::default()),
            over: Arc::new(AtomicBool::new(false)),
            keeps: KEEPS,
        };
        let users = (0..plan.users).map(|number| User::new(&world, number, plan.users)).collect();
        let rng = Rng::new(plan.seed, "strikes");
        Ok(Self { plan, cluster, world, users, rng, kills: 0, bytes: 0 })
    }

    async fn round(&mut self, round: u64) -> Result<()> {
        let begun = Instant::now();
        self.world.over.store(false, Ordering::Relaxed);
        let at_work: Vec<_> = self.users.drain(..).map(|user| tokio::spawn(user.live())).collect();
        let mut struck = Vec::new();
        let mut result = Ok(());
        for _ in 0..self.rng.within(STRIKES) {
            match self.strike().await {
                Ok(what) => struck.push(what),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.world.over.store(true, Ordering::Relaxed);
        for user in at_work {
            self.users.push(user.await.context("a user stopped")??);
        }
        result?;
        let resting = Instant::now();
        let pins = rest(&self.cluster, REST_WITHIN).await.map_err(|missing| anyhow!(missing))?;
        let rested = resting.elapsed();
        let seen =
            verify(&self.cluster, &self.world.ledger, &pins, usize::MAX, &mut self.rng).await;
        let seen = seen.map_err(plain)?;
        self.bytes += seen.bytes;
        println!(
            "round {round:>3}: {}; {} pins; rest {:.1} s; {}; {:.1} s",
            struck.join("; "),
            pins.len(),
            rested.as_secs_f64(),
            describe(&seen),
            begun.elapsed().as_secs_f64(),
        );
        Ok(())
    }

    /// Kills at a random moment, and starts what was killed after another.
    async fn strike(&mut self) -> Result<String> {
        self.pause(BEFORE_MS).await;
        let strike = Strike::draw(&mut self.rng);
        let victims = strike.victims(&self.cluster, &mut self.rng).await;
        self.cluster.kill_at_once(&victims).await.map_err(plain)?;
        self.kills += victims.len() as u64;
        self.pause(DOWN_MS).await;
        for at in &victims {
            self.cluster.spawn(*at).map_err(plain)?;
        }
        for at in &victims {
            self.cluster.wait_ready(*at).await.map_err(plain)?;
        }
        let names: Vec<&str> =
            victims.iter().map(|at| self.cluster.nodes()[*at].name.as_str()).collect();
        Ok(format!("{} ({})", strike.as_str(), names.join(" ")))
    }

    /// The moments of strikes are part of what is tried; nothing waits for them.
    async fn pause(&mut self, range_ms: RangeInclusive<u64>) {
        tokio::time::sleep(Duration::from_millis(self.rng.within(range_ms))).await;
    }

    /// Waits until no request without an answer can take effect any more and no lease is left: then no
    /// store may hold anything but what pins need.
    async fn last_rest(&mut self) -> Result<()> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let pins =
                rest(&self.cluster, REST_WITHIN).await.map_err(|missing| anyhow!(missing))?;
            let seen =
                verify(&self.cluster, &self.world.ledger, &pins, usize::MAX, &mut self.rng).await;
            let seen = seen.map_err(plain)?;
            let (unknown, losses) = self.left_open();
            if (seen.leases == 0 && unknown == 0) || losses > 0 {
                println!("last rest: {} pins; {}", pins.len(), describe(&seen));
                return Ok(());
            }
            if Instant::now() >= until {
                let left = format!("{} leases and {unknown} unknown pins are left", seen.leases);
                return Err(anyhow!("not settled within {} s: {left}", SETTLED_WITHIN.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many pins nobody knows, and how many losses there are.
    fn left_open(&self) -> (usize, usize) {
        let ledger = self.world.ledger.open();
        let items = ledger.items.values();
        let unknown = items.filter(|item| matches!(item.known, Known::Unknown(_))).count();
        (unknown, ledger.losses.len())
    }

    async fn finish(mut self, rounds: u64, took: Duration) -> Result<bool> {
        if self.report(rounds, took) == 0 {
            self.cluster.discard().await;
            return Ok(true);
        }
        println!("the folders are kept in {}", self.cluster.keep().display());
        Ok(false)
    }

    /// Prints what happened in all; returns how much was lost.
    fn report(&self, rounds: u64, took: Duration) -> usize {
        let ledger = self.world.ledger.open();
        for loss in &ledger.losses {
            println!("LOST: {loss}");
        }
        let losses = ledger.losses.len();
        println!(
            "seed {}: {rounds} rounds, {} kills, {} requests answered, {} not, {} MB read back, \
             {losses} losses, {} s",
            self.plan.seed,
            self.kills,
            ledger.answered,
            ledger.unanswered,
            self.bytes / 1_000_000,
            took.as_secs()
        );
        losses
    }
}

fn describe(seen: &Seen) -> String {
    let Seen { files, bytes, blocks, leases } = seen;
    format!("{files} files, {:.1} MB read; {blocks} blocks, {leases} leases", *bytes as f64 / 1e6)
}

/// An error of the command line as one line.
pub fn plain(error: ipfs_kit::cli::error::CliError) -> anyhow::Error {
    anyhow!("{}", error.render(ipfs_kit::cli::output::Format::Table).trim().replace('\n', " "))
}
