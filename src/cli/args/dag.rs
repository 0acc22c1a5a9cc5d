//! `dag …`: verbs below files.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ipfs_kit_core::id::Cid;

use super::{AckArg, Replicas, duration};

/// `dag …`
#[derive(Debug, Subcommand)]
pub enum DagCommand {
    /// Write a DAG as CARv1 to standard output or a file
    Export(DagExportArgs),
    /// Take in CARs (version 1 or 2) and pin their roots
    Import(DagImportArgs),
}

/// Arguments of `dag export`.
#[derive(Clone, Debug, Args)]
pub struct DagExportArgs {
    /// The root
    #[arg(value_name = "CID")]
    pub cid: Cid,
    /// Where to; must not exist yet [default: standard output]
    #[arg(short = 'o', long = "to", value_name = "FILE")]
    pub dest: Option<PathBuf>,
}

/// Arguments of `dag import`.
#[derive(Clone, Debug, Args)]
pub struct DagImportArgs {
    /// CAR files; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// Pin the roots; with false the next collection takes what nothing else keeps
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub pin_roots: bool,
    /// The pins' name
    #[arg(long, default_value = "")]
    pub name: String,
    /// Copies: N, or MIN-MAX [default: the cluster's]
    #[arg(long, value_name = "N|MIN-MAX")]
    pub replicas: Option<Replicas>,
    /// When to return: with all copies needed, or as soon as this node has the blocks
    #[arg(long, value_enum, default_value_t)]
    pub ack: AckArg,
    /// End the pins by themselves after this long, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expire: Option<Duration>,
}
