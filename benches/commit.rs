//! Pins per second through three masters, reads of them, and what a million of them costs.
//!
//! The pins are of CIDs that nobody has, and two workers that have joined and are switched off are asked
//! to hold them: so nothing but agreement is measured.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::limits;
use crate::load::{Ask, Load};
use crate::program::{Node, Program, leader_and_other, wait};

/// Of every figure the best of so many runs: other work on the machine only ever takes away.
const RUNS: u64 = 3;
const BULK: u64 = 1_000_000;
/// What a client that does not wait has under way; the node takes in less.
const UNBOUNDED: u64 = 16_384;
const MB: f64 = 1e6;

/// Three masters, and the places of two workers.
struct Cluster<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Cluster<'a> {
    fn start(program: &'a Program, place: &Path) -> Result<Self> {
        let nodes = program.masters(place)?;
        for name in ["w1", "w2"] {
            let token = nodes[0].run(&["-q", "cluster", "token", "create"])?;
            let join = ["--name", name, "--listen", "127.0.0.1:0", "--join", token.trim()];
            // Switched off when dropped.
            program.node(&place.join(name), &join)?;
        }
        Ok(Self { nodes })
    }

    fn load(&self, ask: Ask, seed: u64, count: u64, outstanding: u64) -> Result<f64> {
        let (leader, _) = leader_and_other(&self.nodes)?;
        let folder = &self.nodes[leader].folder;
        let address = std::fs::read_to_string(folder.join("api.addr"))?.trim().to_owned();
        let token = folder.join("api.token");
        Load { address, token, ask, count, outstanding, seed }.in_process()
    }

    fn best(&self, ask: Ask, seed: u64, count: u64, outstanding: u64) -> Result<f64> {
        let runs = (0..RUNS).map(|run| {
            // Looking works at the same pins each time.
            let seed = if ask == Ask::Add { seed + run } else { seed };
            self.load(ask, seed, count, outstanding)
        });
        runs.collect::<Result<Vec<f64>>>().map(|runs| runs.into_iter().fold(0.0, f64::max))
    }
}

fn patient(program: &Program) -> Program {
    // Nobody takes the workers for lost while they are counted on.
    program.with("IPFS_KIT_CLUSTER_REPAIR_GRACE", "1h")
}

fn rate(name: &str, value: f64, least: f64) -> Figure {
    Figure { name: name.into(), value, unit: "/s", limit: None, goals: vec![Goal::AtLeast(least)] }
}

/// Pins per second with 1, 64 and 1,024 of them outstanding, and a million at once.
pub fn commit(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let program = patient(program);
    let cluster = Cluster::start(&program, place.path())?;
    let mut one = (0.0, f64::INFINITY);
    let mut bare = 0.0;
    for run in 0..RUNS {
        let sync = limits::sync_p50(place.path())?;
        let value = cluster.load(Ask::Add, 100 + run, scale.of(5_000), 1)?;
        let limit = 1.0 / (sync + limits::round_trip_p50()?).as_secs_f64();
        if value / limit > one.0 / one.1 {
            one = (value, limit);
            bare = 1.0 / limits::replicated::commit_p50(place.path())?.as_secs_f64();
        }
    }
    let mut figures = vec![Figure {
        name: "commit_1".into(),
        value: one.0,
        unit: "/s",
        limit: Some(one.1),
        goals: vec![Goal::Ratio(0.4)],
    }];
    // The three masters share the disk and the cores, which the limit above leaves out: what is left to gain.
    figures.push(Figure {
        name: "commit_1_replicated".into(),
        value: one.0,
        unit: "/s",
        limit: Some(bare),
        goals: Vec::new(),
    });
    let some = cluster.best(Ask::Add, 200, scale.of(50_000), 64)?;
    figures.push(Figure { goals: Vec::new(), ..rate("commit_64", some, 0.0) });
    let many = cluster.best(Ask::Add, 300, scale.of(200_000), 1024)?;
    figures.push(rate("commit_1024", many, 20_000.0));
    drop(cluster);
    figures.push(rate("commit_bulk", bulk(&program, scale)?, 100_000.0));
    Ok(figures)
}

/// A million pins for a new cluster, which is when so many come at once.
fn bulk(program: &Program, scale: &Scale) -> Result<f64> {
    let mut best: f64 = 0.0;
    for run in 0..RUNS {
        let place = tempfile::tempdir()?;
        let cluster = Cluster::start(program, place.path())?;
        best = best.max(cluster.load(Ask::Add, 400 + run, scale.of(BULK), UNBOUNDED)?);
    }
    Ok(best)
}

/// Linearizable reads per second.
pub fn read_index(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let program = patient(program);
    let cluster = Cluster::start(&program, place.path())?;
    let count = scale.of(300_000);
    cluster.load(Ask::Add, 1, count, UNBOUNDED)?;
    let one = cluster.best(Ask::Status, 1, scale.of(5_000), 1)?;
    let many = cluster.best(Ask::Status, 1, count, 1024)?;
    let one = Figure { goals: Vec::new(), ..rate("read_index_1", one, 0.0) };
    Ok(vec![one, rate("read_index", many, 50_000.0)])
}

/// The memory of a master with a million pins, and how long it takes to serve again after a kill.
pub fn restart(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let program = patient(program);
    let mut cluster = Cluster::start(&program, place.path())?;
    cluster.load(Ask::Add, 1, scale.of(BULK), UNBOUNDED)?;
    let nodes = &mut cluster.nodes;
    let bytes = nodes.iter().map(Node::resident_bytes).collect::<Result<Vec<u64>>>()?;
    let most = bytes.into_iter().max().unwrap_or_default();
    let (leader, other) = leader_and_other(nodes)?;
    let index = nodes[leader].json(&["status"])?["view"]["index"].as_u64();
    let index = index.context("a leader has a log")?;
    let folder = nodes[other].folder.clone();
    nodes[other].kill()?;
    let begun = Instant::now();
    nodes[other] = program.up(&folder)?;
    wait("it serves", || {
        // Listing waits for everything that was acknowledged before, and reads this master's own state.
        let listed = nodes[other].json(&["call", "pin.ls", r#"{"limit":1}"#]);
        let status = nodes[other].json(&["status"])?;
        Ok(listed.is_ok() && status["view"]["index"].as_u64() >= Some(index))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let figure = |name: &str, value, unit, most| Figure {
        name: name.into(),
        value,
        unit,
        limit: None,
        goals: vec![Goal::AtMost(most)],
    };
    Ok(vec![
        figure("memory_million_pins", most as f64 / MB, "MB", 400.0),
        figure("restart", seconds, "s", 10.0),
    ])
}
