//! `status`, `actors`, `index find`: looking at a node.

use std::io::Write;

use ipfs_kit_actors::supervision::Snapshot;
use ipfs_kit_core::ops::{Actors, IndexFind, IndexFindRequest, Nothing, Status};
use serde_json::Value;

use super::args::IndexCommand;
use super::error::{CliError, Done, VerbResult};
use super::output::{Column, Format, Show, identifier};
use super::session::{Session, to_value};
use crate::config::quantity::display_size;

/// Entries asked for at once while listing.
const PAGE_ENTRIES: usize = 500;

static STATUS: &[Column] = &[
    Column::text("NAME", "/name"),
    Column::text("VERSION", "/version"),
    Column::text("ROLE", "/role"),
    Column::text("PEER", "/peer"),
    Column::text("ADDRESSES", "/addrs"),
    Column::shown("UPTIME", "/uptime_ms", Show::Millis),
    Column::shown("STORED", "/usage", Show::Custom(stored)),
    Column::shown("CLUSTER", "/cluster", Show::Custom(cluster)),
    Column::shown("LEADER", "/view/leader", Show::Custom(leader)),
    Column::shown("MEMBERS", "/view", Show::Custom(members)),
    Column::text("PINS", "/view/pins"),
    Column::shown("STATE", "/view", Show::Custom(state)),
    Column::shown("NEWS", "/view", Show::Custom(news)),
    Column::text("WARNINGS", "/warnings"),
];

static INDEX: &[Column] = &[
    Column::text("NAME", "/name"),
    Column::text("TYPE", "/kind"),
    Column::shown("SIZE", "/size_bytes", Show::Size),
    Column::shown("ADDED", "/created_ms", Show::Time),
    Column::text("CID", "/cid"),
];

fn stored(row: &Value) -> String {
    let number = |name: &str| row["usage"][name].as_u64().unwrap_or(0);
    let (used, max) = (display_size(number("used_bytes")), display_size(number("max_bytes")));
    format!("{used} of {max} in {} blocks", number("blocks"))
}

fn cluster(row: &Value) -> String {
    match (&row["cluster"], row["node"].as_u64()) {
        (Value::Null, _) => "none".to_owned(),
        (cluster, Some(node)) => format!("{} as n{node}", identifier(cluster)),
        (cluster, None) => identifier(cluster),
    }
}

/// A figure of the view, or nothing without a cluster.
fn viewed(row: &Value, describe: impl FnOnce(&Value) -> String) -> String {
    let view = &row["view"];
    if view.is_null() { "-".to_owned() } else { describe(view) }
}

fn leader(row: &Value) -> String {
    viewed(row, |view| match view["leader"].as_u64() {
        Some(node) => format!("n{node} in term {}", view["term"]),
        None => "none known".to_owned(),
    })
}

fn members(row: &Value) -> String {
    viewed(row, |view| format!("{} alive, {} lost", view["alive"], view["lost"]))
}

fn state(row: &Value) -> String {
    viewed(row, |view| {
        format!("index {}, hash {}", view["index"], view["hash"].as_str().unwrap_or("-"))
    })
}

fn news(row: &Value) -> String {
    viewed(row, |view| {
        format!("{} by gossip first, {} fetched", view["deltas_by_gossip"], view["deltas_by_feed"])
    })
}

/// Runs `status`.
pub async fn status<W: Write>(session: &mut Session<W>) -> VerbResult {
    let status = session.client.run::<Status>(&Nothing {}).await?;
    session.print(&status, STATUS, "/role")?;
    Ok(Done::Fully)
}

/// Runs `actors`.
pub async fn actors<W: Write>(session: &mut Session<W>) -> VerbResult {
    let tree = session.client.run::<Actors>(&Nothing {}).await?;
    if session.out.format() == Format::Table {
        let snapshot: Snapshot = serde_json::from_value(tree).map_err(|error| {
            CliError::new("E_PROTOCOL", "the node's supervision tree was not understood")
                .because(&error)
                .hint("ipfs-kit actors --output json shows it as it came")
        })?;
        session.out.prose(&snapshot.render())?;
    } else {
        session.out.record(&tree, &[])?;
    }
    Ok(Done::Fully)
}

/// Runs `index …`.
pub async fn index<W: Write>(session: &mut Session<W>, command: IndexCommand) -> VerbResult {
    let IndexCommand::Find { name } = command;
    let mut request = IndexFindRequest { name, after: None, limit: Some(PAGE_ENTRIES) };
    let mut page = session.client.run::<IndexFind>(&request).await?;
    let mut rows = session.out.rows(INDEX);
    loop {
        for entry in &page.items {
            rows.push(&to_value(entry)?)?;
        }
        let Some(next) = page.next else { break };
        request.after = Some(next);
        page = session.client.run::<IndexFind>(&request).await?;
    }
    rows.finish()?;
    Ok(Done::Fully)
}
