//! `init`: a new node's folder, keys and configuration.

use std::io::Write;

use ipfs_kit_core::id::PeerKey;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::token::JoinToken;
use serde_json::json;

use super::args::{Globals, InitArgs};
use super::engine_error::engine_error;
use super::error::{CliError, Done, Halt};
use super::output::{Format, Output};
use crate::config::{self, Loaded, Settings};
use crate::engine;
use crate::engine::init::{self, Place};

/// A node that was made.
pub struct Made {
    /// Its settings.
    pub settings: Settings,
    /// Its identity.
    pub key: PeerKey,
    /// How it gets its place.
    pub place: Place,
}

/// Makes a node from settings and, if it joins, a token's text.
pub fn make(loaded: &Loaded, join: Option<&str>) -> Result<Made, CliError> {
    let settings = loaded.settings.clone();
    let place = match (join, settings.role) {
        (Some(text), role) => Place::Join(Box::new(check_token(text, role)?)),
        (None, Role::Master) => Place::Found,
        (None, Role::Leecher) => Place::Alone,
        (None, Role::Worker) => {
            return Err(CliError::new("E_USAGE", "a worker belongs to a cluster")
                .hint("ask a master for a token: ipfs-kit cluster token create --role worker"));
        }
    };
    let file = config::initial_file(loaded);
    let key = init::init(&settings, &place, &file).map_err(|error| engine_error(&error))?;
    Ok(Made { settings, key, place })
}

fn check_token(text: &str, role: Role) -> Result<JoinToken, CliError> {
    let token = JoinToken::from_text(text).map_err(|error| {
        CliError::new("E_TOKEN", "the join token can't be read")
            .because(&error)
            .hint("copy the whole line that ipfs-kit cluster token create printed")
    })?;
    if role > token.role_cap {
        let message = format!("the token admits no {role}; its highest role is {}", token.role_cap);
        return Err(CliError::new("E_TOKEN", message)
            .hint(format!("ipfs-kit cluster token create --role {role} makes one that does")));
    }
    Ok(token)
}

/// Runs the command.
pub fn run(
    globals: &Globals,
    args: &InitArgs,
    output: &mut Output<impl Write>,
) -> Result<Done, Halt> {
    let mut flags = args.flags();
    flags.extend(globals.api_flag());
    // A token says which role is meant when nobody else does.
    if let (None, Some(text)) = (args.role, &args.join) {
        let role = check_token(text, Role::Leecher)?.role_cap;
        flags.push(config::Flag { path: "role", name: "--join", value: role.to_string() });
    }
    let sources = globals.sources(flags);
    let mut loaded = config::load(&sources).map_err(CliError::from)?;
    // The configuration that an interrupted `init` left is nobody's wish.
    if init::discard_unfinished(&loaded.settings.folder).map_err(|error| engine_error(&error))? {
        loaded = config::load(&sources).map_err(CliError::from)?;
    }
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let made = make(&loaded, args.join.as_deref())?;
    let addrs = engine::advertised(&made.settings.listen, &made.settings.advertise);
    if output.format() == Format::Table {
        output.prose(&summary(&made, &addrs))?;
    } else {
        let value = json!({
            "folder": made.settings.folder,
            "role": made.settings.role,
            "name": made.settings.name,
            "peer": made.key.to_string(),
            "addrs": addrs,
        });
        output.record(&value, &[])?;
    }
    Ok(Done::Fully)
}

fn summary(made: &Made, addrs: &[String]) -> String {
    let settings = &made.settings;
    let folder = settings.folder.display();
    let what = match made.place {
        Place::Alone => "a node of its own",
        Place::Found => "the first master of a new cluster",
        Place::Join(_) => "a node that joins its cluster at the first start",
    };
    let mut text = format!("{} is {what}, peer id {}\n", settings.name, made.key);
    text.push_str(&format!("folder: {folder}\n"));
    if !matches!(made.place, Place::Alone) {
        let ports: Vec<String> = settings.listen.iter().map(|l| l.port.to_string()).collect();
        let mut ports = ports;
        ports.dedup();
        text.push_str(&format!("open to other machines: TCP port {}\n", ports.join(", ")));
        if !addrs.is_empty() {
            text.push_str(&format!("others will reach it at: {}\n", addrs.join(", ")));
        }
    }
    text.push_str(&format!("next: ipfs-kit --folder {folder} up\n"));
    if matches!(made.place, Place::Found) {
        text.push_str(&format!(
            "then: ipfs-kit --folder {folder} cluster token create --role worker\n"
        ));
    }
    text
}
