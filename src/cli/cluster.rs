//! `node …` and `cluster …`: members and join tokens.

use std::io::Write;

use ipfs_kit_core::ops::{
    NodeLeave, NodeLs, NodeRequest, NodeRm, NodeRole, NodeRoleRequest, NodeShow, Nothing,
    TokenCreate, TokenCreateRequest, TokenLs, TokenRequest, TokenRevoke,
};
use serde_json::Value;

use super::args::{ClusterCommand, MemberCommand, TokenCommand};
use super::error::{Done, VerbResult};
use super::output::{Column, Show, identifier, text};
use super::session::Session;
use crate::config::quantity::display_size;

static MEMBERS: &[Column] = &[
    Column::shown("NODE", "/node", Show::Custom(node_id)),
    Column::text("NAME", "/name"),
    Column::shown("ROLE", "/role", Show::Custom(role)),
    Column::text("RAFT", "/raft"),
    Column::text("STATE", "/liveness"),
    Column::shown("HEARD", "/heard_ms_ago", Show::Millis),
    Column::text("PINS", "/pins"),
    Column::shown("USED", "/usage", Show::Custom(usage)),
    Column::text("ZONE", "/zone"),
    Column::text("ADDRESSES", "/addrs"),
];

static MEMBER: &[Column] = &[
    Column::shown("NODE", "/node", Show::Custom(node_id)),
    Column::text("NAME", "/name"),
    Column::text("PEER", "/peer"),
    Column::shown("ROLE", "/role", Show::Custom(role)),
    Column::text("RAFT", "/raft"),
    Column::text("STATE", "/liveness"),
    Column::shown("HEARD", "/heard_ms_ago", Show::Millis),
    Column::text("PINS", "/pins"),
    Column::shown("USED", "/usage", Show::Custom(usage)),
    Column::text("ZONE", "/zone"),
    Column::text("ADDRESSES", "/addrs"),
    Column::text("UNREACHABLE", "/unreachable"),
];

static REMOVED: &[Column] =
    &[Column::shown("NODE", "/node", Show::Custom(node_id)), Column::text("INDEX", "/index")];

static TOKEN_MADE: &[Column] = &[
    Column::text("TOKEN", "/token"),
    Column::shown("ID", "/id", Show::Custom(token_id)),
    Column::text("ROLE", "/role"),
    Column::shown("EXPIRES", "/expires_ms", Show::Time),
];

static TOKENS: &[Column] = &[
    Column::shown("ID", "/id", Show::Custom(token_id)),
    Column::text("ROLE", "/role"),
    Column::shown("EXPIRES", "/expires_ms", Show::Time),
    Column::shown("USED BY", "/used_by", Show::Custom(used_by)),
];

/// `n3`, as commands take it.
fn node_id(row: &Value) -> String {
    row["node"].as_u64().map_or_else(|| text(&row["node"]), |number| format!("n{number}"))
}

fn token_id(row: &Value) -> String {
    identifier(&row["id"])
}

fn used_by(row: &Value) -> String {
    row["used_by"].as_u64().map_or_else(|| "-".to_owned(), |number| format!("n{number}"))
}

fn role(row: &Value) -> String {
    let role = text(&row["role"]);
    if row["leader"] == Value::Bool(true) { format!("{role} (leader)") } else { role }
}

fn usage(row: &Value) -> String {
    match (row["usage"]["used_bytes"].as_u64(), row["usage"]["max_bytes"].as_u64()) {
        (Some(used), Some(max)) => format!("{} of {}", display_size(used), display_size(max)),
        _ => "-".to_owned(),
    }
}

/// Runs `node …`.
pub async fn members<W: Write>(session: &mut Session<W>, command: MemberCommand) -> VerbResult {
    match command {
        MemberCommand::Ls => {
            let list = session.client.run::<NodeLs>(&Nothing {}).await?;
            session.print_all(&list.items, MEMBERS)?;
        }
        MemberCommand::Show { node } => {
            let info = session.client.run::<NodeShow>(&NodeRequest { node }).await?;
            session.print(&info, MEMBER, "/liveness")?;
        }
        MemberCommand::Role { node, role } => {
            let request = NodeRoleRequest { node, role };
            let info = session.client.run::<NodeRole>(&request).await?;
            session.print(&info, MEMBER, "/role")?;
        }
        MemberCommand::Leave { node } => {
            let name = named(&node);
            session
                .confirm(&format!("{name} leaves the cluster; its pins move away first."), name)?;
            let info = session.client.run::<NodeLeave>(&NodeRequest { node }).await?;
            session.print(&info, MEMBER, "/liveness")?;
        }
        MemberCommand::Rm { node } => {
            let what = format!(
                "{node} is taken out at once and for good; copies that only it holds are lost."
            );
            session.confirm(&what, &node)?;
            let removed = session.client.run::<NodeRm>(&NodeRequest { node }).await?;
            session.print(&removed, REMOVED, "/node")?;
        }
    }
    Ok(Done::Fully)
}

fn named(node: &str) -> &str {
    if node.is_empty() { "this node" } else { node }
}

/// Runs `cluster …`.
pub async fn run<W: Write>(session: &mut Session<W>, command: ClusterCommand) -> VerbResult {
    let ClusterCommand::Token(command) = command;
    match command {
        TokenCommand::Create { role, expire } => {
            let request = TokenCreateRequest { role, expires_in_ms: expire.map(super::millis) };
            let made = session.client.run::<TokenCreate>(&request).await?;
            session.print(&made, TOKEN_MADE, "/token")?;
            session.say(&format!(
                "on the new machine: ipfs-kit init --role {role} --join TOKEN && ipfs-kit up"
            ));
        }
        TokenCommand::Ls => {
            let list = session.client.run::<TokenLs>(&Nothing {}).await?;
            session.print_all(&list.items, TOKENS)?;
        }
        TokenCommand::Revoke { id } => {
            let info = session.client.run::<TokenRevoke>(&TokenRequest { id }).await?;
            session.print(&info, TOKENS, "/id")?;
        }
    }
    Ok(Done::Fully)
}
