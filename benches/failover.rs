//! How long a cluster commits nothing after its leader died.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::program::{Node, Program, leader_and_other, wait};

const KILLS: u64 = 200;
/// Pinned again and again under new names: every time a commit.
const PINNED: &str = "commit";

/// Kills the leader, commits through another master, restarts, again and again.
pub fn failover(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let mut nodes = program.masters(place.path())?;
    let file = place.path().join(PINNED);
    std::fs::write(&file, PINNED)?;
    let path = file.to_str().context("the temporary folder has no name in UTF-8")?;
    let root = nodes[0].run(&["-q", "add", "--replicas", "1", path])?.trim().to_owned();
    let mut took_ms = Vec::new();
    for round in 0..scale.of(KILLS) {
        let (leader, other) = leader_and_other(&nodes)?;
        let name = format!("round {round}");
        let begun = Instant::now();
        nodes[leader].kill()?;
        nodes[other].run(&["pin", "add", &root, "--name", &name])?;
        took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let folder = nodes[leader].folder.clone();
        nodes[leader] = program.up(&folder)?;
        wait("everybody is back", || all_agree(&nodes))?;
    }
    took_ms.sort_by(f64::total_cmp);
    let figure = |name: &str, value, most_ms| Figure {
        name: name.into(),
        value,
        unit: "ms",
        limit: None,
        goals: vec![Goal::AtMost(most_ms)],
    };
    Ok(vec![
        figure("failover_p50", nearest_rank(&took_ms, 50), 800.0),
        figure("failover_p99", nearest_rank(&took_ms, 99), 2000.0),
    ])
}

/// The value at a percentile of sorted values, by nearest rank.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// Every master is alive for the others and as far in the log.
fn all_agree(nodes: &[Node<'_>]) -> Result<bool> {
    let status: Result<Vec<Value>> = nodes.iter().map(|node| node.json(&["status"])).collect();
    let views: Vec<Value> = status?.into_iter().map(|status| status["view"].clone()).collect();
    Ok(views.iter().all(|view| {
        view["alive"] == nodes.len()
            && view["index"] == views[0]["index"]
            && !view["leader"].is_null()
    }))
}
