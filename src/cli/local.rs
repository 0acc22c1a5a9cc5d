//! Verbs that need no running node: `config`, `version`, `help`, `call --list`.

use std::io::Write;

use clap::CommandFactory;
use ipfs_kit_core::ops;
use serde_json::{Value, json};

use super::args::{Cli, ConfigCommand, Globals, HelpArgs};
use super::error::{CliError, Done, VerbResult, errors_text, exit_codes_text};
use super::output::{Column, Format, Output, Show, text};
use super::session::{to_value, warn};
use crate::config;

static SETTINGS: &[Column] = &[Column::text("KEY", "/key"), Column::text("VALUE", "/value")];

static SETTINGS_WITH_ORIGIN: &[Column] = &[
    Column::text("KEY", "/key"),
    Column::text("VALUE", "/value"),
    Column::text("ORIGIN", "/origin"),
];

static OPERATIONS: &[Column] = &[
    Column::text("NAME", "/name"),
    Column::shown("FOR", "/roles", Show::Custom(roles)),
    Column::text("RUNS ON", "/site"),
    Column::text("NEEDS", "/component"),
    Column::text("WHAT", "/summary"),
    Column::text("EXAMPLE", "/example"),
];

fn roles(row: &Value) -> String {
    match row["roles"].as_array() {
        Some(roles) if roles.len() == 3 => "everyone".to_owned(),
        _ => text(&row["roles"]),
    }
}

/// Runs `config …`.
pub fn config<W: Write>(
    globals: &Globals,
    out: &mut Output<W>,
    command: &ConfigCommand,
) -> VerbResult {
    let loaded = config::load(&globals.sources(Vec::new())).map_err(CliError::from)?;
    match command {
        ConfigCommand::Show { origin } => {
            let columns = if *origin { SETTINGS_WITH_ORIGIN } else { SETTINGS };
            let mut rows = out.rows(columns);
            for entry in &loaded.entries {
                let mut row = json!({ "key": entry.key.path, "value": entry.value });
                if *origin {
                    row["origin"] = entry.origin.to_string().into();
                }
                rows.push(&row)?;
            }
            rows.finish()?;
        }
        ConfigCommand::Path => {
            let (path, exists) = match &loaded.file {
                Some(path) => (path.clone(), true),
                None => (loaded.settings.folder.join(config::FILE_NAME), false),
            };
            if out.format() == Format::Table {
                out.prose(&format!("{}\n", path.display()))?;
            } else {
                let path = path.to_string_lossy();
                out.record(&json!({ "path": path, "exists": exists }), &[])?;
            }
        }
    }
    warn(globals, &loaded);
    Ok(Done::Fully)
}

/// Runs `version`.
pub fn version<W: Write>(out: &mut Output<W>) -> VerbResult {
    let versions = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "wire": ipfs_kit_net::WIRE_VERSION,
        "messages": ipfs_kit_core::codec::VERSION,
        "folder": ipfs_kit_store::folder::FOLDER_VERSION,
        "platform": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    match out.format() {
        Format::Table => out.prose(&format!(
            "ipfs-kit {}\nwire {}, messages {}, folder {}, {}\n",
            text(&versions["version"]),
            versions["wire"],
            versions["messages"],
            versions["folder"],
            text(&versions["platform"]),
        ))?,
        _ => out.record(&versions, &[])?,
    }
    Ok(Done::Fully)
}

/// Runs `call --list`.
pub fn operations<W: Write>(out: &mut Output<W>) -> VerbResult {
    let mut rows = out.rows(OPERATIONS);
    for info in ops::ALL {
        rows.push(&to_value(info)?)?;
    }
    rows.finish()?;
    Ok(Done::Fully)
}

/// Runs `help`.
pub fn help<W: Write>(out: &mut Output<W>, args: &HelpArgs) -> VerbResult {
    let topic = args.topic.join(" ");
    let text = match topic.as_str() {
        "config" => config::help_text(),
        "exit-codes" => exit_codes_text(),
        "errors" => errors_text(),
        _ => command_help(&args.topic)?,
    };
    out.prose(&text)?;
    Ok(Done::Fully)
}

fn command_help(path: &[String]) -> Result<String, CliError> {
    let mut command = Cli::command();
    command.build();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).ok_or_else(|| {
            CliError::new("E_USAGE", format!("there is no help on {:?}", path.join(" ")))
                .hint("ipfs-kit help lists commands; topics are config, exit-codes and errors")
        })?;
    }
    Ok(found.render_long_help().to_string())
}
