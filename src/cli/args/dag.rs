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
    /// Write the value at a path to standard output
    Get(DagGetArgs),
    /// Store a value as a block, and print its CID
    Put(DagPutArgs),
    /// Count a DAG's blocks and bytes
    Stat {
        /// The root
        cid: Cid,
    },
}

/// Arguments of `dag get`.
#[derive(Clone, Debug, Args)]
pub struct DagGetArgs {
    /// A CID, with names, keys and positions below it
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// The form of the value: dag-json, dag-cbor, dag-pb or raw
    #[arg(long, value_name = "CODEC", default_value = "dag-json")]
    pub output_codec: String,
}

/// Arguments of `dag put`.
#[derive(Clone, Debug, Args)]
pub struct DagPutArgs {
    /// The block's codec: dag-cbor, dag-json, dag-pb or raw
    #[arg(long, value_name = "CODEC", default_value = "dag-cbor")]
    pub store_codec: String,
    /// The codec that the value comes in
    #[arg(long, value_name = "CODEC", default_value = "dag-json")]
    pub input_codec: String,
    /// Where from, and how it is kept
    #[command(flatten)]
    pub put: PutArgs,
}

/// `block …`
#[derive(Debug, Subcommand)]
pub enum BlockCommand {
    /// Write a block's bytes to standard output
    Get {
        /// The block
        cid: Cid,
    },
    /// Store bytes as a block, and print its CID
    Put(BlockPutArgs),
    /// A block's size
    Stat {
        /// The block
        cid: Cid,
    },
    /// Delete blocks from this node that nothing keeps
    Rm {
        /// The blocks
        #[arg(required = true, value_name = "CID")]
        cids: Vec<Cid>,
    },
}

/// Arguments of `block put`.
#[derive(Clone, Debug, Args)]
pub struct BlockPutArgs {
    /// The block's codec: raw, dag-pb, dag-cbor or dag-json
    #[arg(long, value_name = "CODEC", default_value = "raw")]
    pub cid_codec: String,
    /// Where from, and how it is kept
    #[command(flatten)]
    pub put: PutArgs,
}

/// Where a block comes from, and how it is kept.
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// A file of at most 2 MiB; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub path: PathBuf,
    /// The hash function: sha2-256, sha2-512 or blake3
    #[arg(long, visible_alias = "mhtype", value_name = "NAME", default_value = "sha2-256")]
    pub hash: String,
    /// Pin it; otherwise the next collection takes it, unless something else keeps it
    #[arg(long)]
    pub pin: bool,
}

/// `store …`
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// The store in figures
    Stat,
    /// Delete now what nothing keeps
    Gc,
    /// Read and check every block, and name those that are damaged
    Verify,
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
