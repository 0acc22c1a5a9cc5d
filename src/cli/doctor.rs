//! `doctor`: looks for what keeps a node from working, here and between the members, and says what to do.
//!
//! It changes nothing but one small file that it writes, syncs and removes, to see what a sync costs. The
//! verdicts are pure functions in [`judge`].

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ipfs_kit_core::ops::{self, Nothing};

use super::args::Globals;
use super::client::Client;
use super::error::{CliError, Done, Halt};
use super::output::{Column, Output};
use super::session::to_value;
use crate::adapters::process;
use crate::config::{self, ApiAddress, Loaded};
use crate::engine::secrets;
use judge::{Finding, Node};

mod judge;

/// How long the node may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// How long the look at all members may take.
const REACH_WITHIN: Duration = Duration::from_secs(180);
/// Writes and syncs of the probe.
const SYNCS: usize = 16;
const PROBE_LEN_BYTES: usize = 4096;

static COLUMNS: &[Column] = &[
    Column::text("STATUS", "/status"),
    Column::text("CHECK", "/check"),
    Column::text("FINDING", "/finding"),
    Column::text("WHAT TO DO", "/hint"),
];

/// Runs the command. Fails if a check failed; warnings alone are a success.
pub async fn run<W: Write>(globals: &Globals, out: &mut Output<W>) -> Result<Done, Halt> {
    let loaded = config::load(&globals.sources(Vec::new())).map_err(CliError::from)?;
    let mut findings = vec![judge::config(&loaded)];
    let folder = &loaded.settings.folder;
    if !folder.join("version").exists() {
        findings.push(judge::no_folder(folder));
        return report(&findings, out);
    }
    findings.push(judge::secrets(&secrets::exposed(folder)));
    let node = look_at_node(globals, &loaded).await;
    findings.push(judge::node(&node));
    findings.push(judge::files(files_max(folder, &node)));
    if let Ok(space) = rustix::fs::statvfs(folder) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        findings.push(judge::space(free, loaded.settings.storage.reserve_bytes));
    }
    let probed = folder.clone();
    let syncs = tokio::task::spawn_blocking(move || sync_times(&probed)).await;
    let syncs = syncs.unwrap_or_else(|error| Err(io::Error::other(error)));
    findings.push(judge::syncs(&syncs));
    match &node {
        Node::Runs { client, health, in_cluster } => {
            findings.extend(judge::health(health));
            if *in_cluster {
                findings.extend(look_at_members(client).await);
            }
        }
        Node::Absent | Node::Silent(_) => findings.extend(ports(&loaded)),
    }
    report(&findings, out)
}

async fn look_at_node(globals: &Globals, loaded: &Loaded) -> Node {
    let client = match Client::of(globals, loaded) {
        Ok(client) => client,
        Err(error) if error.code() == "E_NO_NODE" => return Node::Absent,
        Err(error) => return Node::Silent(error),
    };
    let look = async {
        let health = client.run::<ops::Health>(&Nothing {}).await?;
        let status = client.run::<ops::Status>(&Nothing {}).await?;
        Ok::<_, CliError>((health, status.cluster.is_some()))
    };
    match tokio::time::timeout(STATUS_WITHIN, look).await {
        Ok(Ok((health, in_cluster))) => Node::Runs { client, health, in_cluster },
        Ok(Err(error)) if error.code() == "E_NO_NODE" => Node::Absent,
        Ok(Err(error)) => Node::Silent(error),
        Err(_) => Node::Silent(CliError::new("E_TIMEOUT", "the node does not answer")),
    }
}

/// Asks the node how it and every other member reach each other.
async fn look_at_members(client: &Client) -> Vec<Finding> {
    let look = client.run::<ops::NodeReach>(&Nothing {});
    match tokio::time::timeout(REACH_WITHIN, look).await {
        Ok(Ok(list)) => judge::members(&list),
        Ok(Err(error)) => vec![judge::members_unknown(&error.summary())],
        Err(_) => vec![judge::members_unknown("no answer in time")],
    }
}

/// The limit of the running node's process, else of this one.
fn files_max(folder: &Path, node: &Node) -> Option<u64> {
    let own = process::files_max();
    if !matches!(node, Node::Runs { .. }) {
        return own;
    }
    let pid = fs::read_to_string(folder.join("lock")).ok();
    let pid = pid.and_then(|text| text.trim().parse::<u32>().ok());
    let limits = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    limits.map_or(own, |text| judge::open_files_limit(&text))
}

/// Whether what a node would listen on is free.
fn ports(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut addresses: Vec<String> =
        settings.listen.iter().filter(|a| a.port != 0).map(ToString::to_string).collect();
    if let ApiAddress::Tcp(address) = &settings.api.listen {
        addresses.push(address.to_string());
    }
    let mut bound = Vec::new();
    let mut findings = Vec::new();
    for address in addresses {
        match TcpListener::bind(&address) {
            Ok(listener) => {
                bound.push(listener);
                findings.push(judge::port(&address, None));
            }
            // `[::]` covers IPv4 too on most systems; then the second bind meets the first.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !bound.is_empty() => {}
            Err(error) => findings.push(judge::port(&address, Some(&error))),
        }
    }
    findings
}

/// What one small durable write costs, several times.
#[expect(clippy::disallowed_methods, reason = "measures this machine's disk; nothing is simulated")]
fn sync_times(folder: &Path) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::Builder::new().prefix(".doctor-").tempfile_in(folder)?;
    let block = [0x5a; PROBE_LEN_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.as_file().sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn report<W: Write>(findings: &[Finding], out: &mut Output<W>) -> Result<Done, Halt> {
    let mut rows = out.rows(COLUMNS);
    for finding in findings {
        rows.push(&to_value(finding)?)?;
    }
    rows.finish()?;
    let failed = findings.iter().filter(|finding| finding.status == judge::Status::Fail).count();
    if failed == 0 {
        return Ok(Done::Fully);
    }
    let what = format!("{failed} of {} checks failed", findings.len());
    Err(CliError::new("E_UNHEALTHY", what).hint("each failed check says above what to do").into())
}

#[cfg(test)]
mod tests;
