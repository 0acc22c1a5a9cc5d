//! `pin add`, `rm`, `ls`, `status`: what the cluster keeps.

use std::io::Write;
use std::time::Duration;

use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{
    CidRequest, PinAdd, PinAddRequest, PinInfo, PinLs, PinLsRequest, PinRm, PinStatus,
    PinStatusKind,
};
use serde_json::Value;

use super::args::{PinAddArgs, PinCommand, PinLsArgs, WaitArgs, WaitFor};
use super::error::{CliError, Done, VerbResult};
use super::output::{Column, Show, display_time, text};
use super::session::{Session, to_value};

/// Time between two looks at a pin that is waited for.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Pins asked for at once while listing.
const PAGE_PINS: usize = 500;

static LIST: &[Column] = &[
    Column::text("CID", "/cid"),
    Column::text("STATUS", "/status"),
    Column::shown("COPIES", "/replicas_live", Show::Custom(copies)),
    Column::shown("SIZE", "/size_bytes", Show::Size),
    Column::text("NAME", "/name"),
];

static FIELDS: &[Column] = &[
    Column::text("CID", "/cid"),
    Column::text("NAME", "/name"),
    Column::text("STATUS", "/status"),
    Column::shown("COPIES", "/replicas_live", Show::Custom(copies)),
    Column::text("TYPE", "/kind"),
    Column::shown("SIZE", "/size_bytes", Show::Size),
    Column::shown("CREATED", "/created_ms", Show::Custom(created)),
    Column::shown("EXPIRES", "/expires_ms", Show::Time),
    Column::shown("HOLDERS", "/replicas", Show::Custom(holders)),
];

static REMOVED: &[Column] = &[Column::text("CID", "/cid"), Column::text("INDEX", "/index")];

/// `2 of 2-3`: live copies, then what was asked for.
fn copies(row: &Value) -> String {
    let (live, min, max) = (&row["replicas_live"], &row["replicas_min"], &row["replicas_max"]);
    if min == max { format!("{live} of {max}") } else { format!("{live} of {min}-{max}") }
}

/// A node without a cluster writes no times down.
fn created(row: &Value) -> String {
    match row["created_ms"].as_u64() {
        Some(0) | None => "-".to_owned(),
        Some(ms) => display_time(ms),
    }
}

/// `a (pinned), b (failed: why)`.
fn holders(row: &Value) -> String {
    let replicas = row["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let each = replicas.iter().map(|replica| {
        let id = format!("n{}", replica["node"]);
        let name = match replica["name"].as_str() {
            Some(name) if !name.is_empty() => text(&replica["name"]),
            _ => id,
        };
        let state = match &replica["state"] {
            Value::Object(state) => state
                .iter()
                .map(|(state, details)| format!("{state}: {}", text(&details["reason"])))
                .collect(),
            state => text(state),
        };
        match replica["liveness"].as_str() {
            Some("alive") => format!("{name} ({state})"),
            liveness => format!("{name} ({state}, {})", liveness.unwrap_or("gone")),
        }
    });
    let all = each.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "-".to_owned() } else { all }
}

/// Runs `pin …`.
pub async fn run<W: Write>(session: &mut Session<W>, command: PinCommand) -> VerbResult {
    match command {
        PinCommand::Add(args) => add(session, args).await,
        PinCommand::Rm(args) => rm(session, args.cids).await,
        PinCommand::Ls(args) => ls(session, args).await,
        PinCommand::Status(args) => {
            let request = CidRequest { cid: args.cid };
            let info = session.client.run::<PinStatus>(&request).await?;
            settle(session, info, args.wait).await
        }
    }
}

async fn add<W: Write>(session: &mut Session<W>, args: PinAddArgs) -> VerbResult {
    let request = PinAddRequest {
        cid: args.cid,
        name: args.name,
        replicas_min: args.replicas.map(|replicas| replicas.min),
        replicas_max: args.replicas.map(|replicas| replicas.max),
        expires_in_ms: args.expire.map(super::millis),
        metadata: args.metadata.into_iter().collect(),
        size_bytes: None,
        kind: Default::default(),
        origin: None,
    };
    let info = session.client.run::<PinAdd>(&request).await?;
    settle(session, info, args.wait).await
}

/// Ends each pin. What is not pinned keeps none of the others, and is the error in the end; at any other
/// failure the rest is left as it is.
async fn rm<W: Write>(session: &mut Session<W>, cids: Vec<Cid>) -> VerbResult {
    if let [cid] = &cids[..] {
        let removed = session.client.run::<PinRm>(&CidRequest { cid: cid.clone() }).await?;
        session.print(&removed, REMOVED, "/cid")?;
        return Ok(Done::Fully);
    }
    let mut failed = None;
    let mut rows = session.out.rows(REMOVED);
    for cid in cids {
        match session.client.run::<PinRm>(&CidRequest { cid }).await {
            Ok(removed) => rows.push(&to_value(&removed)?)?,
            Err(error) => {
                let goes_on = error.code() == "E_NOT_FOUND";
                failed.get_or_insert(error);
                if !goes_on {
                    break;
                }
            }
        }
    }
    rows.finish()?;
    failed.map_or(Ok(Done::Fully), |error| Err(error.into()))
}

async fn ls<W: Write>(session: &mut Session<W>, args: PinLsArgs) -> VerbResult {
    let status = args.status.map(Into::into);
    let mut request = PinLsRequest { after: None, limit: Some(PAGE_PINS), name: args.name, status };
    // The first page comes before the first byte, so that a failure leaves no half table.
    let mut page = session.client.run::<PinLs>(&request).await?;
    let mut rows = session.out.rows(LIST);
    loop {
        for pin in &page.items {
            rows.push(&to_value(pin)?)?;
        }
        let Some(next) = page.next else { break };
        request.after = Some(next);
        page = session.client.run::<PinLs>(&request).await?;
    }
    rows.finish()?;
    Ok(Done::Fully)
}

/// Prints a pin, after waiting for its copies where that was asked for.
async fn settle<W: Write>(
    session: &mut Session<W>,
    mut info: PinInfo,
    wait: WaitArgs,
) -> VerbResult {
    let mut done = Done::Fully;
    if let Some(target) = wait.wait {
        (info, done) = wait_for(session, info, target).await?;
    }
    session.print(&info, FIELDS, "/status")?;
    if done == Done::Degraded {
        let cid = &info.cid;
        session.say(&format!("every holder of {cid} has given up; the reasons stand above"));
    }
    Ok(done)
}

async fn wait_for<W: Write>(
    session: &Session<W>,
    mut info: PinInfo,
    target: WaitFor,
) -> Result<(PinInfo, Done), CliError> {
    let mut progress = session.progress(waiting(&info), None);
    let mut shown = info.replicas_live;
    loop {
        if reached(info.status, target) {
            return Ok((info, Done::Fully));
        }
        if info.status == PinStatusKind::Failed {
            return Ok((info, Done::Degraded));
        }
        tokio::time::sleep(POLL_EVERY).await;
        info = ask_again(session, info).await?;
        if info.replicas_live != shown {
            shown = info.replicas_live;
            progress.stage(waiting(&info));
        }
    }
}

/// Asks for a pin's state; an election or a restart of the node is waited out.
async fn ask_again<W: Write>(session: &Session<W>, info: PinInfo) -> Result<PinInfo, CliError> {
    let cid: Cid = info.cid.clone();
    match session.client.run::<PinStatus>(&CidRequest { cid }).await {
        Err(error) if error.is_retryable() && error.code() != "E_NO_NODE" => {
            session.detail(&format!("asking again: {}", error.code()));
            Ok(info)
        }
        result => result,
    }
}

fn waiting(info: &PinInfo) -> String {
    let needed = info.replicas_min;
    format!("{} of {needed}-{} copies", info.replicas_live, info.replicas_max)
}

fn reached(status: PinStatusKind, target: WaitFor) -> bool {
    match target {
        WaitFor::Min => matches!(
            status,
            PinStatusKind::Pinned | PinStatusKind::Partial | PinStatusKind::Surplus
        ),
        WaitFor::Max => status == PinStatusKind::Pinned,
    }
}

#[cfg(test)]
mod tests;
