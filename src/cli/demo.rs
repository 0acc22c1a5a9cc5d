//! `demo`: a whole cluster on this machine is built, loaded, broken and healed, and every byte compared.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipfs_kit_actors::api::{Ack, AddEvent, AddOptions, Added};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::ops::{
    CidRequest, NodeList, PinAdd, PinAddRequest, PinInfo, PinLs, PinLsRequest, PinPage, PinStatus,
    PinStatusKind,
};
use serde::Serialize;
use tokio::time::Instant;

use super::args::DemoArgs;
use super::client::Client;
use super::error::{CliError, Done, Halt};
use super::local_cluster::{LocalCluster, SHAPE, Timing};
use super::output::Output;
use super::up::StopSignals;
use super::walk::{Hidden, Survey, Walk};

mod compare;

/// Pins whose commit is timed.
const COMMITS_TIMED: usize = 21;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long the cluster may take for any one step.
const STEP_WITHIN: Duration = Duration::from_secs(300);

/// What a demo found; the last object with `--json`.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    ok: bool,
    files: u64,
    bytes: u64,
    root: String,
    import_mb_s: f64,
    commit_ms_p50: f64,
    detect_ms: u64,
    failover_ms: u64,
    repair_ms: u64,
    rejoin_ms: u64,
    verified_files: u64,
    verified_bytes: u64,
    replicas_ok: bool,
    deltas_by_gossip: u64,
    deltas_by_feed: u64,
    outcomes_by_gossip: u64,
    outcomes_by_heartbeat: u64,
    total_s: f64,
}

/// Tells the story as it goes: on standard output, or on standard error where data goes to the former.
struct Story {
    begun: Instant,
    json: bool,
}

impl Story {
    fn say(&self, text: &str) {
        let line = format!("{:>7.2} s  {text}\n", self.begun.elapsed().as_secs_f64());
        // Nobody reads it any more: the outcome still counts.
        let _ = if self.json {
            std::io::stderr().write_all(line.as_bytes())
        } else {
            std::io::stdout().write_all(line.as_bytes())
        };
    }
}

/// Runs the command.
pub async fn run(args: &DemoArgs, output: &mut Output<impl Write>) -> Result<Done, Halt> {
    let story = Story { begun: Instant::now(), json: args.json };
    let (walk, source) = source_of(args)?;
    let mut stop = StopSignals::new()?;
    let mut cluster = LocalCluster::new()?;
    if let Ok(value) = std::env::var("IPFS_KIT_GOSSIP_ENABLED") {
        cluster.set("gossip.enabled", &value);
    }
    let told = tokio::select! {
        biased;
        () = stop.received() => None,
        told = tell(&story, &mut cluster, walk, &source) => Some(told),
    };
    match told {
        None => {
            cluster.discard().await;
            story.say("interrupted; every process and folder is gone");
            Err(CliError::new("E_CANCELLED", "the demo was interrupted").into())
        }
        Some(Ok(report)) if report.ok => {
            cluster.discard().await;
            finish(&report, args.json, output)?;
            Ok(Done::Fully)
        }
        Some(Ok(report)) => {
            let kept = cluster.keep();
            finish(&report, args.json, output)?;
            Err(CliError::new("E_VERIFY", "not everything came back as it was")
                .hint(format!("the folders are kept in {}", kept.display()))
                .into())
        }
        Some(Err(error)) => {
            let kept = cluster.keep();
            story.say(&format!("failed; the folders are kept in {}", kept.display()));
            if args.json {
                finish(&Report::default(), true, output)?;
            }
            Err(error.into())
        }
    }
}

fn source_of(args: &DemoArgs) -> Result<(Walk, PathBuf), CliError> {
    match &args.path {
        Some(path) => Ok((Walk::new(std::slice::from_ref(path), Hidden::Take)?, path.clone())),
        None => {
            let here = PathBuf::from(".");
            let walk = Walk::new(std::slice::from_ref(&here), Hidden::Skip)?;
            Ok((walk.without("target"), here))
        }
    }
}

async fn tell(
    story: &Story,
    cluster: &mut LocalCluster,
    walk: Walk,
    source: &Path,
) -> Result<Report, CliError> {
    let mut report = Report::default();
    cluster.start(&SHAPE, Timing::Brisk, &mut |line| story.say(&line)).await?;
    let (root, survey) = add(story, cluster, walk, &mut report).await?;
    time_commits(story, cluster, &root, &mut report).await?;
    let worker = lose_a_holder(story, cluster, &root, &mut report).await?;
    let (master, note) = lose_the_leader(story, cluster, &mut report).await?;
    rejoin(story, cluster, &[worker, master], &mut report).await?;
    read_back(story, cluster, source, (&root, &survey), &note, &mut report).await?;
    count_arrivals(story, cluster, &mut report).await;
    report.ok = report.replicas_ok
        && report.verified_files == report.files + 1
        && report.verified_bytes == report.bytes + note.bytes.len() as u64;
    report.total_s = round(story.begun.elapsed().as_secs_f64());
    Ok(report)
}

/// Step 2: everything below the path goes in through a master and is pinned twice.
async fn add(
    story: &Story,
    cluster: &LocalCluster,
    walk: Walk,
    report: &mut Report,
) -> Result<(Cid, Survey), CliError> {
    let survey = {
        let walk = walk.clone();
        blocking(move || walk.survey()).await??
    };
    for (skipped, what) in [
        (&survey.hidden, "hidden entries are skipped"),
        (&survey.special, "sockets, pipes or devices are skipped"),
        (&survey.excluded, "build folder is skipped"),
    ] {
        if let Some(line) = skipped.describe(what) {
            story.say(&line);
        }
    }
    story.say(&format!(
        "adding {} files, {} MB, through master-2",
        survey.files,
        survey.bytes / 1_000_000
    ));
    let client = cluster.client(cluster.find("master-2").unwrap_or(0))?;
    let options = AddOptions {
        name: walk.default_name(),
        replicas_min: Some(2),
        replicas_max: Some(2),
        ack: Ack::Replicated,
        ..AddOptions::default()
    };
    let begun = Instant::now();
    let mut imported = None;
    let (added, sent) = client
        .add(
            &options,
            move |out| walk.write_tar(out, &mut |_| {}),
            |event| {
                if matches!(event, AddEvent::Imported { .. }) {
                    imported = Some(begun.elapsed());
                }
            },
        )
        .await?;
    let took = imported.unwrap_or_else(|| begun.elapsed());
    report.files = added.files;
    report.bytes = added.bytes;
    report.root = added.root.to_string();
    report.import_mb_s = round(added.bytes as f64 / 1e6 / took.as_secs_f64().max(1e-6));
    story.say(&format!(
        "imported in {} ms ({} MB/s); {} durable copies after {} ms; root {}",
        took.as_millis(),
        report.import_mb_s,
        added.copies,
        begun.elapsed().as_millis(),
        added.root
    ));
    Ok((added.root, sent))
}

/// How long a commit takes: the same pin again, under other names.
async fn time_commits(
    story: &Story,
    cluster: &LocalCluster,
    root: &Cid,
    report: &mut Report,
) -> Result<(), CliError> {
    let leader = leader_of(cluster).await?;
    let client = cluster.client(leader)?;
    let pin = client.run::<PinStatus>(&CidRequest { cid: root.clone() }).await?;
    let mut times = Vec::new();
    for at in 0..COMMITS_TIMED {
        // The last one restores the name.
        let name =
            if at + 1 == COMMITS_TIMED { pin.name.clone() } else { format!("{} {at}", pin.name) };
        let begun = Instant::now();
        client.run::<PinAdd>(&again(&pin, name)).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    report.commit_ms_p50 = round(times[times.len() / 2].as_secs_f64() * 1e3);
    story.say(&format!(
        "a pin is committed in {} ms (median of {COMMITS_TIMED})",
        report.commit_ms_p50
    ));
    Ok(())
}

fn again(pin: &PinInfo, name: String) -> PinAddRequest {
    PinAddRequest {
        name,
        replicas_min: Some(pin.replicas_min),
        replicas_max: Some(pin.replicas_max),
        metadata: pin.metadata.clone(),
        size_bytes: pin.size_bytes,
        kind: pin.kind,
        ..PinAddRequest::of(pin.cid.clone())
    }
}

/// Step 3: a worker that holds a copy is killed; the cluster notices and makes another copy.
async fn lose_a_holder(
    story: &Story,
    cluster: &mut LocalCluster,
    root: &Cid,
    report: &mut Report,
) -> Result<usize, CliError> {
    let pin = cluster.any_master()?.run::<PinStatus>(&CidRequest { cid: root.clone() }).await?;
    let holder = pin
        .replicas
        .iter()
        .find_map(|replica| {
            cluster.find(&replica.name).filter(|_| replica.name.starts_with("worker"))
        })
        .ok_or_else(|| CliError::new("E_VERIFY", "no worker holds the pin"))?;
    let name = cluster.nodes()[holder].name.clone();
    story.say(&format!("kill -9 {name}, which holds a copy"));
    let begun = Instant::now();
    cluster.kill(holder).await?;
    cluster
        .reach("the dead worker is noticed", |list| liveness(list, &name) == Some(Liveness::Lost))
        .await?;
    report.detect_ms = begun.elapsed().as_millis() as u64;
    story.say(&format!("noticed after {} ms", report.detect_ms));
    wait_pin(cluster, root, "two live copies again", |pin| pin.replicas_live >= 2).await?;
    report.repair_ms = begun.elapsed().as_millis() as u64;
    story.say(&format!("two live copies again after {} ms", report.repair_ms));
    Ok(holder)
}

/// What is added after the leader's death.
struct Note {
    root: Cid,
    bytes: Vec<u8>,
}

/// Step 4: the leader is killed; another one takes over, and something more is pinned through it.
async fn lose_the_leader(
    story: &Story,
    cluster: &mut LocalCluster,
    report: &mut Report,
) -> Result<(usize, Note), CliError> {
    let leader = leader_of(cluster).await?;
    let name = cluster.nodes()[leader].name.clone();
    story.say(&format!("kill -9 {name}, the leader"));
    let begun = Instant::now();
    cluster.kill(leader).await?;
    let bytes = format!("written after {name} died\n").into_bytes();
    let added = add_note(cluster, bytes.clone()).await?;
    report.failover_ms = begun.elapsed().as_millis() as u64;
    let next = leader_of(cluster).await?;
    let next = &cluster.nodes()[next].name;
    story.say(&format!(
        "{next} leads; something more is pinned with {} copies, {} ms after the kill",
        added.copies, report.failover_ms
    ));
    Ok((leader, Note { root: added.root, bytes }))
}

async fn add_note(cluster: &LocalCluster, bytes: Vec<u8>) -> Result<Added, CliError> {
    let until = Instant::now() + STEP_WITHIN;
    loop {
        let bytes = bytes.clone();
        let options = AddOptions {
            name: "note".into(),
            replicas_min: Some(2),
            replicas_max: Some(2),
            ack: Ack::Replicated,
            ..AddOptions::default()
        };
        let write = move |out: &mut crate::http::pipe::BlockingWriter| {
            let size_bytes = bytes.len() as u64;
            let header = crate::http::tarball::entry_header(
                &[] as &[&[u8]],
                &crate::http::tarball::EntryKind::File { size_bytes },
            );
            let parts: [&[u8]; 4] = [
                &header,
                &bytes,
                crate::http::tarball::padding(size_bytes),
                &crate::http::tarball::END,
            ];
            parts.iter().try_for_each(|part| out.write_all(part)).map_err(|error| {
                CliError::new("E_UPLOAD", "the node stopped taking the upload").because(&error)
            })
        };
        match cluster.any_master()?.add(&options, write, |_| {}).await {
            Ok((added, ())) => return Ok(added),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Step 5: what was killed comes back, catches up, and surplus copies go.
async fn rejoin(
    story: &Story,
    cluster: &mut LocalCluster,
    killed: &[usize],
    report: &mut Report,
) -> Result<(), CliError> {
    let begun = Instant::now();
    for at in killed {
        cluster.spawn(*at)?;
    }
    for at in killed {
        cluster.wait_ready(*at).await?;
    }
    let count = cluster.nodes().len();
    cluster
        .reach("everybody is back", |list| {
            list.items.iter().filter(|n| n.liveness == Liveness::Alive).count() == count
        })
        .await?;
    story.say(&format!("everybody is back after {} ms", begun.elapsed().as_millis()));
    let until = Instant::now() + STEP_WITHIN;
    loop {
        let (pins, level) = (pins(cluster).await?, is_level(cluster).await?);
        let trimmed = pins.items.iter().all(is_exact);
        if trimmed && level {
            break;
        }
        if Instant::now() >= until {
            let untidy = pins.items.iter().filter(|pin| !is_exact(pin)).count();
            let message = format!("{untidy} pins have no exact number of copies, or a node lags");
            return Err(CliError::new("E_TIMEOUT", message));
        }
        tokio::time::sleep(LOOK).await;
    }
    report.rejoin_ms = begun.elapsed().as_millis() as u64;
    report.replicas_ok = true;
    story.say(&format!(
        "caught up, and every pin has exactly its copies, after {} ms",
        report.rejoin_ms
    ));
    Ok(())
}

fn is_exact(pin: &PinInfo) -> bool {
    pin.status == PinStatusKind::Pinned && pin.replicas.len() == usize::from(pin.replicas_max)
}

/// Whether every node stands where the leader stands.
async fn is_level(cluster: &LocalCluster) -> Result<bool, CliError> {
    let mut places = Vec::new();
    for at in cluster.running() {
        let view = cluster.status(at).await?.view;
        places.push(view.map(|view| (view.index, view.hash)));
    }
    Ok(places.windows(2).all(|pair| pair[0] == pair[1]))
}

/// Step 6: the leecher reads everything over the network, and every byte is compared.
async fn read_back(
    story: &Story,
    cluster: &LocalCluster,
    source: &Path,
    (root, survey): (&Cid, &Survey),
    note: &Note,
    report: &mut Report,
) -> Result<(), CliError> {
    let leecher = cluster.find("leecher-1").unwrap_or(0);
    let client = cluster.client(leecher)?;
    let begun = Instant::now();
    let verified = compare::with_source(&client, root, source).await?;
    report.verified_files = verified.files;
    report.verified_bytes = verified.bytes;
    for path in &verified.differing {
        story.say(&format!("{path} is not what came back; was it changed meanwhile?"));
    }
    let entries = verified.files + verified.directories + verified.symlinks;
    let expected = survey.files + survey.directories + survey.symlinks;
    if entries != expected {
        story.say(&format!("{entries} entries came back, {expected} were added"));
        report.verified_files = 0;
    }
    if read_all(&client, &note.root).await? == note.bytes {
        report.verified_files += 1;
        report.verified_bytes += note.bytes.len() as u64;
    }
    story.say(&format!(
        "the leecher read {} files, {} MB, and compared every byte, in {} ms",
        report.verified_files,
        report.verified_bytes / 1_000_000,
        begun.elapsed().as_millis()
    ));
    Ok(())
}

async fn read_all(client: &Client, root: &Cid) -> Result<Vec<u8>, CliError> {
    let mut download = client.cat(&root.to_string(), Default::default()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// How much of the news gossip brought first.
async fn count_arrivals(story: &Story, cluster: &LocalCluster, report: &mut Report) {
    for at in cluster.running() {
        let Ok(status) = cluster.status(at).await else { continue };
        let Some(view) = status.view else { continue };
        report.deltas_by_gossip += view.deltas_by_gossip;
        report.deltas_by_feed += view.deltas_by_feed;
        report.outcomes_by_gossip += view.outcomes_by_gossip;
        report.outcomes_by_heartbeat += view.outcomes_by_heartbeat;
    }
    story.say(&format!(
        "by gossip first: {} of {} deltas, {} of {} outcomes",
        report.deltas_by_gossip,
        report.deltas_by_gossip + report.deltas_by_feed,
        report.outcomes_by_gossip,
        report.outcomes_by_gossip + report.outcomes_by_heartbeat
    ));
}

async fn leader_of(cluster: &LocalCluster) -> Result<usize, CliError> {
    let until = Instant::now() + STEP_WITHIN;
    loop {
        let list = cluster.members().await?;
        let leader = list.items.iter().find(|node| node.leader).and_then(|n| cluster.find(&n.name));
        match leader.filter(|at| cluster.running().any(|running| running == *at)) {
            Some(leader) => return Ok(leader),
            None if Instant::now() >= until => {
                return Err(CliError::new("E_NO_QUORUM", "nobody leads"));
            }
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

fn liveness(list: &NodeList, name: &str) -> Option<Liveness> {
    list.items.iter().find(|node| node.name == name).map(|node| node.liveness)
}

async fn pins(cluster: &LocalCluster) -> Result<PinPage, CliError> {
    cluster.any_master()?.run::<PinLs>(&PinLsRequest::default()).await
}

async fn wait_pin(
    cluster: &LocalCluster,
    cid: &Cid,
    what: &str,
    is_so: impl Fn(&PinInfo) -> bool,
) -> Result<(), CliError> {
    let until = Instant::now() + STEP_WITHIN;
    loop {
        let asked = cluster.any_master()?.run::<PinStatus>(&CidRequest { cid: cid.clone() }).await;
        if matches!(&asked, Ok(pin) if is_so(pin)) {
            return Ok(());
        }
        if Instant::now() >= until {
            let state =
                asked.map(|pin| format!("{pin:?}")).unwrap_or_else(|error| format!("{error:?}"));
            return Err(CliError::new("E_TIMEOUT", format!("waited in vain: {what} ({state})")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::new("E_INTERNAL", "a task of the demo stopped").because(&error))
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn finish(report: &Report, json: bool, output: &mut Output<impl Write>) -> Result<(), Halt> {
    if json {
        let line = serde_json::to_string(report).map_err(|error| {
            CliError::new("E_INTERNAL", "can't write the report").because(&error)
        })?;
        output.prose(&format!("{line}\n"))?;
    } else {
        output.prose(&table(report))?;
    }
    output.flush()?;
    Ok(())
}

fn table(report: &Report) -> String {
    let rows = [
        ("files", report.files.to_string()),
        ("bytes", report.bytes.to_string()),
        ("root", report.root.clone()),
        ("import", format!("{} MB/s", report.import_mb_s)),
        ("commit, median", format!("{} ms", report.commit_ms_p50)),
        ("dead worker noticed", format!("{} ms", report.detect_ms)),
        ("copies repaired", format!("{} ms", report.repair_ms)),
        ("failover to next pin", format!("{} ms", report.failover_ms)),
        ("rejoined and trimmed", format!("{} ms", report.rejoin_ms)),
        ("verified files", report.verified_files.to_string()),
        ("verified bytes", report.verified_bytes.to_string()),
        ("every pin has its copies", if report.replicas_ok { "yes" } else { "no" }.into()),
        ("total", format!("{} s", report.total_s)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        text.push_str(&format!("{name:<26}{value}\n"));
    }
    text
}
