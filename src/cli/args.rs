//! The command line: verbs, arguments and flags, and nothing that acts on them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipfs_kit_actors::api::Ack;
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::PinStatusKind;

use super::output::Format;
use super::progress::Verbosity;
use crate::config::quantity::{parse_duration, parse_size};
use crate::config::{Flag, ImportProfile, Sources};

mod dag;

pub use dag::{
    BlockCommand, DagCommand, DagExportArgs, DagGetArgs, DagImportArgs, PutArgs, StoreCommand,
};

/// One program that makes a set of machines into an IPFS cluster.
#[derive(Debug, Parser)]
#[command(name = "ipfs-kit", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "More: ipfs-kit help config | exit-codes | errors")]
pub struct Cli {
    /// Flags that every command understands.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command understands.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value_t, env = "IPFS_KIT_OUTPUT")]
    pub output: Format,
    /// The node's folder [default: ~/.ipfs-kit]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub folder: Option<OsString>,
    /// The configuration file [default: config.yaml in the folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The local API: host:port or unix:PATH [env: IPFS_KIT_API, for commands that talk to a node]
    /// [default: what the running node wrote into its folder]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub api: Option<String>,
    /// The file that holds the API's token [default: api.token in the folder]
    #[arg(long, global = true, value_name = "FILE", env = "IPFS_KIT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Give up after this long, such as 30s or 5m
    #[arg(long, global = true, value_name = "DURATION", env = "IPFS_KIT_TIMEOUT", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Print errors only, besides the data
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what happens
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Do not ask for confirmation
    #[arg(short, long, global = true)]
    pub yes: bool,
}

impl Globals {
    /// How much to say on standard error.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// Where settings come from, with the flags of one command on top.
    pub fn sources(&self, mut flags: Vec<Flag>) -> Sources {
        if let Some(folder) = &self.folder {
            let value = folder.to_string_lossy().into_owned();
            flags.push(Flag { path: "folder", name: "--folder", value });
        }
        Sources::of_process(flags, self.config.clone())
    }

    /// `--api` as a setting, for the commands that run a node rather than talk to one.
    pub fn api_flag(&self) -> Option<Flag> {
        let value = self.api.clone()?;
        Some(Flag { path: "api.listen", name: "--api", value })
    }
}

/// Every verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verbs that make or run nodes on this machine.
    #[command(flatten)]
    Node(NodeCommand),
    /// Verbs that talk to a running node, or to nobody.
    #[command(flatten)]
    Client(ClientCommand),
}

/// Verbs that make or run nodes on this machine.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Make a node: folder, keys, configuration
    Init(InitArgs),
    /// Run the node
    Up(UpArgs),
    /// Run a whole cluster here, break it, and check that nothing is lost
    Demo(DemoArgs),
}

/// Verbs that talk to a running node, or to nobody.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// This node and its cluster at a glance
    Status,
    /// Add files and folders, and pin them
    Add(AddArgs),
    /// Write a file or folder to disk
    Get(GetArgs),
    /// Write a file's bytes to standard output
    Cat(CatArgs),
    /// List a folder's entries
    Ls(PathArgs),
    /// DAGs of any codec, and CARs of them
    #[command(subcommand)]
    Dag(DagCommand),
    /// Single blocks
    #[command(subcommand)]
    Block(BlockCommand),
    /// The node's block store
    #[command(subcommand)]
    Store(StoreCommand),
    /// What the cluster keeps
    #[command(subcommand)]
    Pin(PinCommand),
    /// The cluster's members
    #[command(subcommand)]
    Node(MemberCommand),
    /// The cluster itself
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// What was added, by name
    #[command(subcommand)]
    Index(IndexCommand),
    /// The node's live supervision tree
    Actors,
    /// Look for what does not work: disk, ports, limits, clocks, the way to each member and back
    Doctor,
    /// Call any operation by name with a JSON request
    Call(CallArgs),
    /// Settings and where they come from
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the versions of the program and of what it writes and speaks
    Version,
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a folder
    Man {
        /// Where to
        dir: PathBuf,
    },
    /// Help on a command or topic: config, exit-codes, errors
    Help(HelpArgs),
}

/// Arguments of `init`.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// What the node is: leecher, worker or master; a master without --join makes a new cluster
    #[arg(long)]
    pub role: Option<Role>,
    /// The node's name for people
    #[arg(long)]
    pub name: Option<String>,
    /// Where members reach this node, as bound here; several with commas
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where members reach this node, as seen from outside; several with commas
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Join the cluster that made this token
    #[arg(long, value_name = "TOKEN")]
    pub join: Option<String>,
    /// Most bytes of blocks, such as 500GiB
    #[arg(long, value_name = "SIZE")]
    pub storage_max: Option<String>,
    /// Failure domain; copies go to distinct zones where possible
    #[arg(long)]
    pub zone: Option<String>,
    /// Copies of a pin that does not say: N, or MIN-MAX
    #[arg(long, value_name = "N|MIN-MAX")]
    pub replicas: Option<Replicas>,
}

impl InitArgs {
    /// The settings that were given, for the strongest layer.
    pub fn flags(&self) -> Vec<Flag> {
        let replicas = |pick: fn(Replicas) -> u16| self.replicas.map(|r| pick(r).to_string());
        let given = [
            ("role", "--role", self.role.map(|role| role.to_string())),
            ("name", "--name", self.name.clone()),
            ("listen", "--listen", self.listen.clone()),
            ("advertise", "--advertise", self.advertise.clone()),
            ("storage.max", "--storage-max", self.storage_max.clone()),
            ("zone", "--zone", self.zone.clone()),
            ("pins.replicas_min", "--replicas", replicas(|r| r.min)),
            ("pins.replicas_max", "--replicas", replicas(|r| r.max)),
        ];
        let flags = given.into_iter();
        flags.filter_map(|(path, name, value)| Some(Flag { path, name, value: value? })).collect()
    }
}

/// Arguments of `up`.
#[derive(Clone, Debug, Default, Args)]
pub struct UpArgs {
    /// Run a small throw-away cluster instead of the node
    #[arg(long)]
    pub dev: bool,
    /// What the node is when it first joins
    #[arg(long)]
    pub role: Option<Role>,
    /// End when the parent process ends; set by `demo`
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// What to add [default: the current folder without hidden files and `target`]
    pub path: Option<PathBuf>,
    /// End with one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `add`.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Files and folders; several become entries of one new folder; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Put a single PATH into a new folder too, so that its name is kept
    #[arg(short, long, visible_alias = "wrap-with-directory")]
    pub wrap: bool,
    /// The pin's name [default: the last part of a single PATH]
    #[arg(long)]
    pub name: Option<String>,
    /// Copies: N, or MIN-MAX [default: the cluster's]
    #[arg(long, value_name = "N|MIN-MAX")]
    pub replicas: Option<Replicas>,
    /// How files become blocks [default: the node's]
    #[arg(long, value_parser = profile)]
    pub profile: Option<ImportProfile>,
    /// Cut files into blocks of this size instead of the profile's: size-BYTES
    #[arg(short, long, value_name = "size-BYTES", value_parser = chunker)]
    pub chunker: Option<String>,
    /// Only print the root's CID: nothing is stored, nothing pinned
    #[arg(short = 'n', long, conflicts_with_all = ["replicas", "ack", "expire"])]
    pub only_hash: bool,
    /// When to return: with all copies needed, or as soon as this node has the blocks
    #[arg(long, value_enum, default_value_t)]
    pub ack: AckArg,
    /// Add hidden files too
    #[arg(long)]
    pub hidden: bool,
    /// Leave out what matches, as a line of a .gitignore would; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub ignore: Vec<String>,
    /// Leave out what the lines of this file match, which has the form of a .gitignore
    #[arg(long, value_name = "FILE")]
    pub ignore_rules_path: Option<PathBuf>,
    /// End the pin by itself after this long, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expire: Option<Duration>,
}

/// When `add` returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AckArg {
    /// The minimum of copies is durable on its holders.
    #[default]
    Replicated,
    /// The blocks are durable on this node.
    Local,
}

impl From<AckArg> for Ack {
    fn from(arg: AckArg) -> Self {
        match arg {
            AckArg::Replicated => Self::Replicated,
            AckArg::Local => Self::Local,
        }
    }
}

/// Arguments of `get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// What: a CID, optionally with a path below it
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// Where to; must not exist yet [default: the last part of the path, here]
    #[arg(short = 'o', long = "to", value_name = "DEST")]
    pub dest: Option<PathBuf>,
    /// Write one TAR archive instead [default: DEST.tar; - is standard output]
    #[arg(short, long)]
    pub archive: bool,
}

/// Arguments of `cat`.
#[derive(Clone, Debug, Args)]
pub struct CatArgs {
    /// Which file: a CID, optionally with a path below it
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
    /// First byte
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = size)]
    pub offset: u64,
    /// At most this many bytes
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub length: Option<u64>,
}

/// A path in IPFS.
#[derive(Clone, Debug, Args)]
pub struct PathArgs {
    /// Which: a CID, optionally with a path below it
    #[arg(value_name = "CID[/PATH]")]
    pub path: String,
}

/// `pin …`
#[derive(Debug, Subcommand)]
pub enum PinCommand {
    /// Keep a CID and everything below it
    Add(PinAddArgs),
    /// End pins
    Rm(PinRmArgs),
    /// List pins
    Ls(PinLsArgs),
    /// One pin and its copies
    Status(PinStatusArgs),
}

/// Arguments of `pin add`.
#[derive(Clone, Debug, Args)]
pub struct PinAddArgs {
    /// The root
    pub cid: Cid,
    /// A name for people
    #[arg(long, default_value = "")]
    pub name: String,
    /// Copies: N, or MIN-MAX [default: the cluster's]
    #[arg(long, value_name = "N|MIN-MAX")]
    pub replicas: Option<Replicas>,
    /// End the pin by itself after this long, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expire: Option<Duration>,
    /// A key-value pair kept with the pin; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_value)]
    pub metadata: Vec<(String, String)>,
    /// Return when it has its copies
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `pin rm`.
#[derive(Clone, Debug, Args)]
pub struct PinRmArgs {
    /// The roots
    #[arg(required = true, value_name = "CID")]
    pub cids: Vec<Cid>,
}

/// Arguments of `pin status`.
#[derive(Clone, Debug, Args)]
pub struct PinStatusArgs {
    /// The root
    pub cid: Cid,
    /// Return when it has its copies
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Waiting for a pin's copies.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WaitArgs {
    /// Wait for copies: the minimum, or all that are aimed at
    #[arg(long, value_enum, value_name = "FOR", num_args = 0..=1, require_equals = true, default_missing_value = "min")]
    pub wait: Option<WaitFor>,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The minimum of copies.
    Min,
    /// As many copies as aimed at, and no surplus.
    Max,
}

/// Arguments of `pin ls`.
#[derive(Clone, Debug, Default, Args)]
pub struct PinLsArgs {
    /// Only pins whose name contains this
    #[arg(long)]
    pub name: Option<String>,
    /// Only pins of which this is true now
    #[arg(long, value_enum)]
    pub status: Option<PinState>,
}

/// A pin's copies in one word, as `pin ls` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PinState {
    /// As many copies as aimed at
    Pinned,
    /// At least the minimum, fewer than aimed at
    Partial,
    /// Fewer than the minimum; being copied or repaired
    Pinning,
    /// More than aimed at; being trimmed
    Surplus,
    /// Fewer than the minimum, and every holder has given up
    Failed,
}

impl From<PinState> for PinStatusKind {
    fn from(state: PinState) -> Self {
        match state {
            PinState::Pinned => Self::Pinned,
            PinState::Partial => Self::Partial,
            PinState::Pinning => Self::Pinning,
            PinState::Surplus => Self::Surplus,
            PinState::Failed => Self::Failed,
        }
    }
}

/// `node …`
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List members
    Ls,
    /// One member [default: this node]
    Show {
        /// Number (n3), name or peer id
        #[arg(default_value = "")]
        node: String,
    },
    /// Change a member's role
    Role {
        /// Number (n3), name or peer id
        node: String,
        /// Its new role
        role: Role,
    },
    /// Move a member's pins away, then let it go [default: this node]
    Leave {
        /// Number (n3), name or peer id
        #[arg(default_value = "")]
        node: String,
    },
    /// Take a lost member out for good, at once
    Rm {
        /// Number (n3), name or peer id
        node: String,
    },
}

/// `cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Join tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `cluster token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a one-time join token
    Create {
        /// The highest role it admits
        #[arg(long, default_value_t = Role::Worker)]
        role: Role,
        /// How long it lives, such as 1h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expire: Option<Duration>,
    },
    /// List tokens
    Ls,
    /// End a token
    Revoke {
        /// Its id, as `cluster token ls` shows it
        id: ipfs_kit_core::id::TokenId,
    },
}

/// `index …`
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Find what was added
    Find {
        /// Part of a name; nothing finds everything
        #[arg(default_value = "")]
        name: String,
    },
}

/// Arguments of `call`.
#[derive(Clone, Debug, Args)]
pub struct CallArgs {
    /// The operation
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// Its request as JSON, or - to read it from standard input
    #[arg(default_value = "{}")]
    pub request: String,
    /// List every operation with an example
    #[arg(long, conflicts_with_all = ["name"])]
    pub list: bool,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the path of the configuration file
    Path,
}

/// Arguments of `help`.
#[derive(Clone, Debug, Args)]
pub struct HelpArgs {
    /// A topic (config, exit-codes, errors) or a command
    pub topic: Vec<String>,
}

/// How many copies: `N`, or `MIN-MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Fewest.
    pub min: u16,
    /// Aimed at.
    pub max: u16,
}

impl std::str::FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| match part.parse::<u16>() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!(
                "{part:?} is no number of copies; write N or MIN-MAX, such as 2 or 2-3"
            )),
        };
        let (min, max) = match text.split_once('-') {
            None => (number(text)?, number(text)?),
            Some((min, max)) => (number(min)?, number(max)?),
        };
        if min > max {
            return Err(format!("{min} is more than {max}; write MIN-MAX"));
        }
        Ok(Self { min, max })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

fn profile(text: &str) -> Result<ImportProfile, String> {
    [ImportProfile::UnixfsV1_2025, ImportProfile::UnixfsV0_2015]
        .into_iter()
        .find(|profile| profile.as_str() == text)
        .ok_or_else(|| "expected unixfs-v1-2025 or unixfs-v0-2015".to_owned())
}

/// Checks it here, so that nothing is sent in vain; the node is told what was written.
fn chunker(text: &str) -> Result<String, String> {
    let known = text.parse::<ipfs_kit_content::profile::Chunker>();
    known.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests;
