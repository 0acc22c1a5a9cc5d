//! The soak: a cluster with many pins works for long, loses a node a minute, and neither grows nor forgets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use ipfs_kit::cli::error::CliError;
use ipfs_kit::cli::local_cluster::{Addresses, LocalCluster, SHAPE, Timing};
use ipfs_kit_actors::api::{Ack, AddOptions};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{CidRequest, PinAdd, PinAddRequest, PinRm};
use tokio::time::Instant;

use crate::content::{Content, write_small};
use crate::kill_loop::plain;
use crate::ledger::{Ending, Known, Ledger};
use crate::rest::rest;
use crate::rng::Rng;
use crate::samples::{Samples, thirds};
use crate::users::{User, World};
use crate::verify::verify;

/// Between two looks at all processes.
const SAMPLE: Duration = Duration::from_secs(5);
/// Between two kills.
const KILL: Duration = Duration::from_secs(60);
/// How long a process runs before its memory counts: one that just began has not filled its tables.
const WARM: Duration = Duration::from_secs(45);
/// Memory for blocks that were fetched.
const CACHE: &str = "4MiB";
/// Pins that one user keeps.
const KEEPS: usize = 25;
/// Pins that are asked for at once in the beginning.
const AT_ONCE: usize = 128;
/// How long all pins may take to get their copies.
const REST_WITHIN: Duration = Duration::from_secs(900);
/// Contents that are read back at the end.
const READ_MAX: usize = 2_000;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// For how long, from when all pins are there.
    pub length: Duration,
    /// Pins from the beginning.
    pub pins: u64,
    /// What is drawn follows from it.
    pub seed: u64,
    /// Users at work at once.
    pub users: u64,
}

/// Runs all of it; says whether everything held.
pub async fn run(plan: Plan) -> Result<bool> {
    let mut cluster = LocalCluster::of(plan.program.clone(), Addresses::Fixed).map_err(plain)?;
    println!("seed {}, folders in {}", plan.seed, cluster.path().display());
    let outcome = soak(&plan, &mut cluster).await;
    let held = match outcome {
        Ok(held) => held,
        Err(error) => {
            println!("LOST: {error:#}");
            false
        }
    };
    if held {
        cluster.discard().await;
    } else {
        println!("the folders are kept in {}", cluster.keep().display());
    }
    Ok(held)
}

async fn soak(plan: &Plan, cluster: &mut LocalCluster) -> Result<bool> {
    // A cache that is still filling would be taken for a leak.
    cluster.set("cache.max", CACHE);
    cluster.start(&SHAPE, Timing::Relaxed, &mut |line| println!("{line}")).await.map_err(plain)?;
    let ledger = Arc::new(Ledger::default());
    fill(plan, cluster, &ledger).await?;
    let folders = cluster.nodes().iter().map(|node| node.folder().to_owned()).collect();
    let world = World {
        seed: plan.seed,
        folders: Arc::new(folders),
        ledger: Arc::clone(&ledger),
        over: Arc::new(AtomicBool::new(false)),
        keeps: KEEPS,
    };
    let users = (0..plan.users).map(|number| User::new(&world, number, plan.users));
    let users: Vec<_> = users.map(|user| tokio::spawn(user.live())).collect();
    let mut samples = Samples::default();
    let watched = watch(plan, cluster, &mut samples).await;
    world.over.store(true, Ordering::Relaxed);
    for user in users {
        user.await.context("a user stopped")??;
    }
    let kills = watched?;
    let pins = rest(cluster, REST_WITHIN).await.map_err(|missing| anyhow!(missing))?;
    let mut rng = Rng::new(plan.seed, "reading");
    let seen = verify(cluster, &ledger, &pins, READ_MAX, &mut rng).await.map_err(plain)?;
    let ledger = ledger.open();
    println!(
        "{} pins, {} files read, {kills} kills, {} requests answered, {} not",
        pins.len(),
        seen.files,
        ledger.answered,
        ledger.unanswered
    );
    for loss in &ledger.losses {
        println!("LOST: {loss}");
    }
    Ok(report(&samples, plan.length) && ledger.losses.is_empty())
}

/// All pins of the beginning: their content comes in as one tree, whose files are then pinned one by one
/// and whose root is let go.
async fn fill(plan: &Plan, cluster: &LocalCluster, ledger: &Ledger) -> Result<()> {
    let begun = Instant::now();
    let client = cluster.any_master().map_err(plain)?;
    let (seed, count) = (plan.seed, plan.pins);
    let options = AddOptions {
        name: "small".into(),
        replicas_min: Some(2),
        replicas_max: Some(2),
        ack: Ack::Replicated,
        ..AddOptions::default()
    };
    let write = move |out: &mut _| {
        write_small(seed, count, out).map_err(|error| {
            CliError::new("E_UPLOAD", "the node stopped taking the upload").because(&error)
        })
    };
    let (tree, ()) = client.add(&options, write, |_| {}).await.map_err(plain)?;
    println!("{} files are there with 2 copies ({} s)", tree.files, begun.elapsed().as_secs());
    let pinned = stream::iter(0..count).map(|number| {
        let client = client.clone();
        async move {
            let content = Content::small(seed, number)?;
            let before = ledger.open().begin(&content);
            let request = PinAddRequest {
                replicas_min: Some(2),
                replicas_max: Some(2),
                ..PinAddRequest::of(content.cid.clone())
            };
            client.run::<PinAdd>(&request).await.map_err(plain)?;
            ledger.open().end(&content.cid, before, Ending::Answered(Known::Present));
            anyhow::Ok(())
        }
    });
    pinned.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
    println!("{count} pins are committed ({} s)", begun.elapsed().as_secs());
    let root: Cid = tree.root;
    client.run::<PinRm>(&CidRequest { cid: root }).await.map_err(plain)?;
    rest(cluster, REST_WITHIN).await.map_err(|missing| anyhow!(missing))?;
    println!("every pin has its copies ({} s)", begun.elapsed().as_secs());
    Ok(())
}

/// Takes samples and kills a node a minute, which starts again at once.
async fn watch(plan: &Plan, cluster: &mut LocalCluster, samples: &mut Samples) -> Result<u64> {
    let begun = Instant::now();
    let mut rng = Rng::new(plan.seed, "kills");
    let mut started = vec![begun; cluster.nodes().len()];
    let (mut next_kill, mut kills) = (begun + KILL / 2, 0);
    let mut next_sample = begun;
    while begun.elapsed() < plan.length {
        tokio::time::sleep_until(next_sample.min(next_kill)).await;
        let now = Instant::now();
        if now >= next_kill {
            let all: Vec<usize> = cluster.running().collect();
            let victim = *rng.pick(&all).context("no node runs")?;
            cluster.kill(victim).await.map_err(plain)?;
            cluster.spawn(victim).map_err(plain)?;
            cluster.wait_ready(victim).await.map_err(plain)?;
            started[victim] = Instant::now();
            kills += 1;
            let took = now.elapsed().as_millis();
            let name = &cluster.nodes()[victim].name;
            println!("{:>5} s: {name} killed, back after {took} ms", begun.elapsed().as_secs());
            next_kill += KILL;
        }
        if now >= next_sample {
            let warm: Vec<bool> = started.iter().map(|at| at.elapsed() >= WARM).collect();
            samples.take(cluster, begun.elapsed(), &warm).await;
            next_sample = (next_sample + SAMPLE).max(Instant::now());
        }
    }
    Ok(kills)
}

/// The table at the end; whether memory is flat and no queue grows.
fn report(samples: &Samples, length: Duration) -> bool {
    let mut held = true;
    println!("{:<44}{:>12}{:>12}{:>9}", "mean of", "2nd third", "last third", "change");
    for (role, taken) in &samples.resident {
        let Some(thirds) = thirds(taken, length) else {
            println!("{role:<44}  too short a run to judge");
            held = false;
            continue;
        };
        let verdict = if thirds.is_flat() { "flat" } else { "NOT FLAT" };
        held &= thirds.is_flat();
        println!(
            "{:<44}{:>12.1}{:>12.1}{:>8.1}%  {verdict}",
            format!("resident MB of a {role}"),
            thirds.second / 1e6,
            thirds.last / 1e6,
            thirds.change_percent()
        );
    }
    for (queue, taken) in &samples.depths {
        let Some(thirds) = thirds(taken, length) else { continue };
        let most = taken.iter().map(|sample| sample.value).fold(0.0, f64::max);
        if thirds.grows() {
            held = false;
        } else if most < 1.0 {
            continue;
        }
        let verdict = if thirds.grows() { "GROWS" } else { "steady" };
        println!(
            "{:<44}{:>12.1}{:>12.1}  most {most}  {verdict}",
            format!("waiting in {queue}"),
            thirds.second,
            thirds.last
        );
    }
    println!(
        "{} queues were watched, those in which nothing ever waited are left out; {} looks failed",
        samples.depths.len(),
        samples.unseen
    );
    held
}
