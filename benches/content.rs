//! Adding and reading back, by one node with its client.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::program::Program;
use crate::{limits, sample};

const LARGE_BYTES: u64 = 2 << 30;
const SMALL_FILES: u64 = 50_000;
const SMALL_BYTES: u64 = 4096;
const MB: f64 = 1e6;

/// One large file in and out.
pub fn large(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let source = place.path().join("large");
    let len_bytes = scale.of(LARGE_BYTES);
    sample::file(&source, 1, len_bytes)?;
    let megabytes = len_bytes as f64 / MB;
    let per_s = |begun: Instant| megabytes / begun.elapsed().as_secs_f64();

    let write_limit = megabytes / limits::hash_and_write(&source, place.path())?.as_secs_f64();
    let node = program.node(&place.path().join("node"), &[])?;
    let begun = Instant::now();
    let root = node.run(&["-q", "add", text(&source)])?;
    let import = per_s(begun);

    let read_limit = megabytes / limits::hash(&source)?.as_secs_f64();
    let blocks = node.folder.join("blocks");
    let disk_before = limits::hash_from_disk(&blocks)? / MB;
    let read_back = || {
        let begun = Instant::now();
        program.run_unheard(&node.folder, &["cat", root.trim()])?;
        anyhow::Ok(per_s(begun))
    };
    let from_disk = read_back()?;
    // Disks of rented machines are slowed down after a burst; the better of two counts.
    let disk_limit = disk_before.max(limits::hash_from_disk(&blocks)? / MB);
    // What is read a second time goes through the page cache, and is in it the third time, as the file of the limit
    // is.
    read_back()?;
    let read = read_back()?;
    Ok(vec![
        Figure {
            name: "import_large".into(),
            value: import,
            unit: "MB/s",
            limit: Some(write_limit),
            goals: vec![Goal::Ratio(0.5)],
        },
        Figure {
            name: "read_back".into(),
            value: read,
            unit: "MB/s",
            limit: Some(read_limit),
            goals: vec![Goal::Ratio(0.5)],
        },
        // For the first time: the bytes were written past the page cache, and so they come from the disk.
        Figure {
            name: "read_back_disk".into(),
            value: from_disk,
            unit: "MB/s",
            limit: Some(disk_limit),
            goals: vec![Goal::Ratio(0.5)],
        },
    ])
}

/// Many small files in.
pub fn small(program: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let source = place.path().join("small");
    let files = scale.of(SMALL_FILES);
    sample::tree(&source, 2, files, SMALL_BYTES)?;
    let limit = files as f64 / limits::walk_and_hash(&source)?.as_secs_f64();
    let node = program.node(&place.path().join("node"), &[])?;
    let begun = Instant::now();
    node.run(&["-q", "add", text(&source)])?;
    let value = files as f64 / begun.elapsed().as_secs_f64();
    let goals = vec![Goal::Ratio(0.25), Goal::AtLeast(25_000.0)];
    Ok(vec![Figure {
        name: "import_small".into(),
        value,
        unit: "files/s",
        limit: Some(limit),
        goals,
    }])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have names in UTF-8 here")
}
