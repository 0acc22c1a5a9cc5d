//! A DAG from one node to another: two processes, verified and durable at the receiver.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::limits::{self, tls};
use crate::program::{Node, Program, wait};
use crate::sample;

const LARGE_BYTES: u64 = 1 << 30;
const SMALL_BLOCKS: u64 = 50_000;
const SMALL_BYTES: u64 = 4096;
const MB: f64 = 1e6;

/// A large file, and many small blocks.
pub fn dag_transfer(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let (large, small) = (place.path().join("large"), place.path().join("small"));
    let (bytes, blocks) = (scale.of(LARGE_BYTES), scale.of(SMALL_BLOCKS));
    sample::file(&large, 3, bytes)?;
    sample::tree(&small, 4, blocks, SMALL_BYTES)?;
    // The first node is alone while it adds, so that it and nobody else holds them.
    let init = ["--role", "master", "--name", "m1", "--listen", "127.0.0.1:0"];
    let first = program.node(&place.path().join("m1"), &init)?;
    let large_root = add(&first, &large)?;
    // Both nodes are on one disk here, which takes what it gives to the other.
    let segments = first.folder.join("blocks");
    let disk_before = limits::copy_on_disk(&segments, place.path())? / MB;
    let small_root = add(&first, &small)?;
    let token = first.run(&["-q", "cluster", "token", "create"])?;
    let join = ["--name", "w1", "--listen", "127.0.0.1:0", "--join", token.trim()];
    let second = program.node(&place.path().join("w1"), &join)?;
    wait("both are alive", || {
        let list = first.json(&["node", "ls"])?;
        let alive = |list: &Vec<_>| list.iter().filter(|node| is_alive(node)).count() == 2;
        Ok(list.as_array().is_some_and(alive))
    })?;

    let megabytes = bytes as f64 / MB;
    let limit = megabytes / tls::transfer(bytes)?.as_secs_f64();
    let large_value = megabytes / copy(&first, &large_root)?;
    let disk_limit = disk_before.max(limits::copy_on_disk(&segments, place.path())? / MB);
    let small_value = blocks as f64 / copy(&first, &small_root)?;
    drop(second);
    Ok(vec![
        Figure {
            name: "dag_transfer_large".into(),
            value: large_value,
            unit: "MB/s",
            limit: Some(limit),
            goals: vec![Goal::Ratio(0.25)],
        },
        Figure {
            name: "dag_transfer_disk".into(),
            value: large_value,
            unit: "MB/s",
            limit: Some(disk_limit),
            goals: vec![Goal::Ratio(0.5)],
        },
        Figure {
            name: "dag_transfer_small".into(),
            value: small_value,
            unit: "blocks/s",
            limit: None,
            goals: vec![Goal::AtLeast(20_000.0)],
        },
    ])
}

fn is_alive(node: &serde_json::Value) -> bool {
    node["liveness"] == "alive"
}

fn add(node: &Node<'_>, path: &Path) -> Result<String> {
    let path = path.to_str().expect("temporary folders have names in UTF-8 here");
    Ok(node.run(&["-q", "add", "--replicas", "1", path])?.trim().to_owned())
}

/// How long a second copy takes, from the wish to the holder's word that it is durable; in seconds.
fn copy(node: &Node<'_>, root: &str) -> Result<f64> {
    let begun = Instant::now();
    node.run(&["pin", "add", root, "--replicas", "2", "--wait"])?;
    Ok(begun.elapsed().as_secs_f64())
}
