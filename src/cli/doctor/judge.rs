//! The verdicts: from what was seen to pass, warn or fail, with what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipfs_kit_core::health::NodeHealth;
use ipfs_kit_core::ops::{Dial, Reach, ReachList};
use serde::Serialize;

use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::config::Loaded;
use crate::config::quantity::display_size;
use crate::engine::EngineError;
use crate::engine::secrets::Exposure;

/// Fewer open files than this are too few for a busy node.
const FILES_WANTED: u64 = 4096;
/// Fewer than this are too few for any.
const FILES_MIN: u64 = 512;
/// Free space beyond the reserve below which a warning is due.
const SPACE_WANTED_BYTES: u64 = 1 << 30;
/// A sync that takes longer makes every commit slow.
const SYNC_SLOW: Duration = Duration::from_millis(100);
/// A sync that takes longer endangers elections.
const SYNC_TOO_SLOW: Duration = Duration::from_secs(1);
/// Clocks that differ by more make expiry and logs confusing.
const CLOCK_WARN_MS: u64 = 500;
/// Clocks that differ by more are wrong.
const CLOCK_FAIL_MS: u64 = 10_000;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Pass,
    /// It works, and may not for long.
    Warn,
    /// It does not work.
    Fail,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it ended.
    pub status: Status,
    /// What was looked at.
    pub check: String,
    /// What was seen.
    pub finding: String,
    /// What to do; empty when nothing is.
    pub hint: String,
}

/// The folder's node, as seen from here.
pub enum Node {
    /// It answers.
    Runs {
        /// The way to it.
        client: Client,
        /// What it says of itself.
        health: NodeHealth,
        /// Whether it belongs to a cluster.
        in_cluster: bool,
    },
    /// None runs.
    Absent,
    /// One may run, and does not answer.
    Silent(CliError),
}

fn pass(check: &str, finding: impl Into<String>) -> Finding {
    finding_of(Status::Pass, check, finding, "")
}

fn warn(check: &str, finding: impl Into<String>, hint: impl Into<String>) -> Finding {
    finding_of(Status::Warn, check, finding, hint)
}

fn fail(check: &str, finding: impl Into<String>, hint: impl Into<String>) -> Finding {
    finding_of(Status::Fail, check, finding, hint)
}

fn finding_of(
    status: Status,
    check: &str,
    finding: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding { status, check: check.to_owned(), finding: finding.into(), hint: hint.into() }
}

pub(super) fn config(loaded: &Loaded) -> Finding {
    let from = loaded.file.as_deref().map_or("no file", |path| path.to_str().unwrap_or("a file"));
    match loaded.warnings.first() {
        None => pass("configuration", from),
        Some(warning) => warn("configuration", warning, "ipfs-kit config show --origin"),
    }
}

pub(super) fn no_folder(folder: &Path) -> Finding {
    let finding = format!("{} holds no node", folder.display());
    fail("folder", finding, "ipfs-kit init makes one; --folder names another")
}

pub(super) fn secrets(exposed: &Result<Option<(PathBuf, Exposure)>, EngineError>) -> Finding {
    match exposed {
        Ok(None) => pass("secrets", "only their owner can read them"),
        Ok(Some((path, exposure))) => {
            let finding = format!("{}: {exposure}", path.display());
            fail("secrets", finding, format!("chmod 600 {}", path.display()))
        }
        Err(error) => {
            fail("secrets", error.to_string(), "run doctor as the node's user or as root")
        }
    }
}

pub(super) fn node(node: &Node) -> Finding {
    match node {
        Node::Runs { .. } => pass("node", "it runs and answers"),
        Node::Absent => warn("node", "none runs in the folder", "ipfs-kit up"),
        Node::Silent(error) => fail("node", error.summary(), "look into the node's log"),
    }
}

/// The node's own verdict; a reason is a failure once the node runs.
pub(super) fn health(health: &NodeHealth) -> Vec<Finding> {
    if health.ready {
        return vec![pass("readiness", "it is ready")];
    }
    let reasons = health.reasons.iter();
    reasons.map(|reason| fail("readiness", &*reason.message, &*reason.hint)).collect()
}

pub(super) fn files(limit: Option<u64>) -> Finding {
    let hint =
        format!("raise it to {FILES_WANTED} or more: ulimit -n, or LimitNOFILE= of the unit");
    match limit {
        None => pass("open files", "no limit"),
        Some(limit) if limit < FILES_MIN => fail("open files", format!("at most {limit}"), hint),
        Some(limit) if limit < FILES_WANTED => warn("open files", format!("at most {limit}"), hint),
        Some(limit) => pass("open files", format!("at most {limit}")),
    }
}

/// The soft limit in the text of `/proc/PID/limits`; `None` without one.
pub(super) fn open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

pub(super) fn space(free_bytes: u64, reserve_bytes: u64) -> Finding {
    let (free, reserve) = (display_size(free_bytes), display_size(reserve_bytes));
    let finding = format!("{free} free, of which {reserve} are kept");
    let hint = "free space there, or lower storage.reserve";
    match free_bytes.checked_sub(reserve_bytes) {
        None | Some(0) => fail("disk space", finding, hint),
        Some(left) if left < SPACE_WANTED_BYTES => warn("disk space", finding, hint),
        Some(_) => pass("disk space", finding),
    }
}

/// `times` in ascending order.
pub(super) fn syncs(times: &io::Result<Vec<Duration>>) -> Finding {
    let times = match times {
        Ok(times) => times,
        Err(error) => {
            let hint = "the folder must be writable and its disk sound; dmesg says more";
            return fail("disk sync", error.to_string(), hint);
        }
    };
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let finding = format!("median {:.2} ms, worst {:.2} ms", ms(median), ms(worst));
    let hint = "a commit takes at least this long; give the folder a faster disk";
    if median > SYNC_TOO_SLOW {
        fail("disk sync", finding, hint)
    } else if median > SYNC_SLOW || worst > SYNC_TOO_SLOW {
        warn("disk sync", finding, hint)
    } else {
        pass("disk sync", finding)
    }
}

pub(super) fn port(address: &str, error: Option<&io::Error>) -> Finding {
    match error {
        None => pass("port", format!("{address} is free")),
        Some(error) => {
            let hint = "stop what listens there, or set listen or api.listen";
            fail("port", format!("{address}: {error}"), hint)
        }
    }
}

pub(super) fn members_unknown(reason: &str) -> Finding {
    fail("members", reason, "look into the node's log")
}

pub(super) fn members(list: &ReachList) -> Vec<Finding> {
    let mut findings: Vec<Finding> = list.items.iter().flat_map(member).collect();
    if list.items.is_empty() {
        findings.push(warn(
            "members",
            "there is no other one",
            "one machine alone survives nothing",
        ));
    }
    if list.left_out > 0 {
        let finding = format!("{} more were not looked at", list.left_out);
        findings.push(warn("members", finding, "run doctor on other members too"));
    }
    findings
}

fn member(reach: &Reach) -> Vec<Finding> {
    let who = format!("{} ({}, {})", reach.node, reach.name, reach.role);
    let mut findings = vec![dials(
        &format!("to {who}"),
        &reach.there,
        "open its port in its firewall and on the way, or correct its advertise",
    )];
    if let Some(back) = &reach.back {
        let hint = "open this machine's port in its firewall and on the way, or correct advertise";
        findings.push(dials(&format!("from {who}"), back, hint));
    }
    if let Some(reason) = &reach.silent {
        let hint = "look at that machine: does its node run?";
        findings.push(fail(&format!("from {who}"), &**reason, hint));
    }
    findings.extend(clock(&who, reach));
    findings
}

/// One address that works is enough to talk; others are worth a warning.
fn dials(check: &str, dials: &[Dial], hint: &str) -> Finding {
    let failed = dials.iter().filter_map(|dial| Some((&dial.addr, dial.error.as_ref()?)));
    let failed: Vec<String> = failed.map(|(addr, error)| format!("{addr}: {error}")).collect();
    let reached: Vec<&str> =
        dials.iter().filter(|dial| dial.error.is_none()).map(|dial| &*dial.addr).collect();
    match (reached.is_empty(), failed.is_empty()) {
        (true, true) => fail(check, "no address is advertised", "set advertise there"),
        (true, false) => fail(check, failed.join("; "), hint),
        (false, false) => warn(check, failed.join("; "), hint),
        (false, true) => pass(check, format!("reached at {}", reached.join(", "))),
    }
}

/// What the round trip leaves open is given the benefit of the doubt.
fn clock(who: &str, reach: &Reach) -> Option<Finding> {
    let (ahead_ms, trip_ms) = reach.clock_ahead_ms.zip(reach.round_trip_ms)?;
    let surely_ms = ahead_ms.unsigned_abs().saturating_sub(trip_ms / 2);
    let check = format!("clock of {who}");
    let word = if ahead_ms < 0 { "behind" } else { "ahead" };
    let finding =
        format!("{} ms {word}, known to {} ms", ahead_ms.unsigned_abs(), trip_ms.div_ceil(2));
    let hint = "let a time service (NTP) set the clocks of both machines";
    Some(match surely_ms {
        _ if surely_ms > CLOCK_FAIL_MS => fail(&check, finding, hint),
        _ if surely_ms > CLOCK_WARN_MS => warn(&check, finding, hint),
        _ => pass(&check, finding),
    })
}

#[cfg(test)]
mod tests;
