//! Memory of nodes that do nothing, and of one that adds.

use std::time::Duration;

use anyhow::Result;

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::program::Program;
use crate::sample;

/// How long they do nothing before they are looked at.
const IDLE: Duration = Duration::from_secs(30);
const MB: f64 = 1e6;

const ADDED_BYTES: u64 = 4 << 30;

/// A node that adds a stream whose length it does not know.
pub fn adding(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let node = program.node(&place.path().join("node"), &[])?;
    node.run_with(&["-q", "add", "-"], |input| sample::bytes(input, 5, scale.of(ADDED_BYTES)))?;
    Ok(vec![figure("memory_adding", node.peak_bytes()?, 150.0)])
}

fn figure(name: &str, bytes: u64, most: f64) -> Figure {
    Figure {
        name: name.into(),
        value: bytes as f64 / MB,
        unit: "MB",
        limit: None,
        goals: vec![Goal::AtMost(most)],
    }
}

/// An idle master and an idle worker.
pub fn idle(program: &Program, _: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let masters = program.masters(place.path())?;
    let token = masters[0].run(&["-q", "cluster", "token", "create"])?;
    let worker = program.node(
        &place.path().join("w1"),
        &["--name", "w1", "--listen", "127.0.0.1:0", "--join", token.trim()],
    )?;
    std::thread::sleep(IDLE);
    let most = masters.iter().map(|node| node.resident_bytes()).collect::<Result<Vec<u64>>>()?;
    let master = most.into_iter().max().unwrap_or_default();
    Ok(vec![
        figure("memory_idle_worker", worker.resident_bytes()?, 40.0),
        figure("memory_idle_master", master, 60.0),
    ])
}
