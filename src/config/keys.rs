//! The one table of settings: name, form, default and help.
//!
//! The environment variable of a key is `IPFS_KIT_` and the key in upper case with `_` for each dot:
//! `role` is `IPFS_KIT_ROLE`, `cluster.repair_grace` is `IPFS_KIT_CLUSTER_REPAIR_GRACE`. A list is
//! written with commas.

use std::time::Duration;

use ipfs_kit_core::limits::{ADDRS_MAX, NODE_NAME_LEN_BYTES_MAX, REPLICAS_MAX};
use serde_json::Value;

use super::quantity::count_or_auto::AUTO;
use super::quantity::{format_duration, format_size, parse_duration, parse_size};
use super::{ApiAddress, GatewayUrl, HostPort, LogFilter};

/// What every environment variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "IPFS_KIT_";

/// Longest text value; the longest meaningful one is a path.
const TEXT_LEN_BYTES_MAX: usize = 4096;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND_MS: u64 = 1000;
const HOUR_MS: u64 = 3600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Dotted path, as in the file.
    pub path: &'static str,
    /// What a value looks like, and between which bounds.
    pub form: Form,
    /// The weakest layer.
    pub default: DefaultValue,
    /// One sentence for help and the initial file.
    pub help: &'static str,
}

/// The default of a setting.
#[derive(Debug)]
pub enum DefaultValue {
    /// This text, read like an environment variable.
    Text(&'static str),
    /// The machine's host name.
    HostName,
    /// `.ipfs-kit` in the user's home.
    HomeFolder,
}

/// What a value looks like. Every form reads text (flag, environment, default) and JSON values (file).
#[derive(Debug)]
pub enum Form {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A name of letters, digits, dots, underscores and hyphens.
    Name(Emptiness),
    /// A folder; relative ones are resolved by the loader.
    Folder,
    /// A list of `host:port`.
    Addresses(AddressUse),
    /// `host:port` or `unix:PATH`.
    Api,
    /// A list of URLs of gateways.
    Gateways,
    /// A level, then `module=level` for modules.
    LogFilter,
    /// A size between two bounds, in bytes.
    Size(u64, u64),
    /// A duration between two bounds, in milliseconds.
    Duration(u64, u64),
    /// A whole number between two bounds.
    Count(u64, u64),
    /// A whole number between two bounds, or `auto`.
    CountOrAuto(u64, u64),
}

/// Whether a name may be left empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptiness {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// What the addresses of a list are for; it decides which ones make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressUse {
    /// Bound on this machine: wildcards and port 0 are fine.
    Listen,
    /// Told to others: it must lead somewhere.
    Advertise,
}

/// Every setting, in the order of help and `config show`.
pub static KEYS: &[Key] = &[
    key(
        "role",
        Form::Choice(&["leecher", "worker", "master"]),
        "leecher",
        "What the node is when it first joins a cluster; afterwards the cluster decides.",
    ),
    Key {
        path: "name",
        form: Form::Name(Emptiness::Refused),
        default: DefaultValue::HostName,
        help: "The node's name for people.",
    },
    Key {
        path: "folder",
        form: Form::Folder,
        default: DefaultValue::HomeFolder,
        help: "Where the node keeps its key, token, log, blocks and state.",
    },
    key(
        "listen",
        Form::Addresses(AddressUse::Listen),
        "0.0.0.0:4701,[::]:4701",
        "Where other members reach this node, as bound on this machine.",
    ),
    key(
        "advertise",
        Form::Addresses(AddressUse::Advertise),
        "",
        "Where other members reach this node, as seen from outside; empty means what it listens on.",
    ),
    key(
        "api.listen",
        Form::Api,
        "127.0.0.1:4702",
        "The local API that client commands use: a loopback address, or unix:PATH.",
    ),
    key(
        "api.expose",
        Form::Switch,
        "false",
        "Whether api.listen may lead out of this machine; the token is all that protects it then.",
    ),
    key(
        "api.open_metrics",
        Form::Switch,
        "false",
        "Whether /metrics may be read without the token by whoever reaches api.listen.",
    ),
    key(
        "api.body_idle",
        Form::Duration(SECOND_MS, DAY_MS),
        "5m",
        "How long no byte of an upload may come before it is given up.",
    ),
    key(
        "storage.max",
        Form::Size(MIB, 1024 * TIB),
        "100GiB",
        "Most bytes of blocks that this node keeps.",
    ),
    key(
        "storage.reserve",
        Form::Size(0, 1024 * TIB),
        "1GiB",
        "Bytes of the file system that stay free whatever storage.max says.",
    ),
    key(
        "transfer.max",
        Form::Size(0, TIB),
        "0B",
        "Most bytes a second that this node fetches in order to hold pins; 0B means no limit.",
    ),
    key(
        "transfer.repair_max",
        Form::Size(0, TIB),
        "0B",
        "The same for pins that another holder has already, as in repair; 0B means no limit.",
    ),
    key(
        "cluster.heartbeat",
        Form::Duration(50, HOUR_MS),
        "1s",
        "How often a member renews its session with the masters.",
    ),
    key(
        "cluster.lease",
        Form::Duration(200, DAY_MS),
        "10s",
        "How long a session lives without renewal; more than twice cluster.heartbeat.",
    ),
    key(
        "cluster.repair_grace",
        Form::Duration(0, 30 * DAY_MS),
        "1m",
        "How long a lost member may stay away before its copies are made anew elsewhere.",
    ),
    key(
        "raft.tick",
        Form::Duration(5, 10 * SECOND_MS),
        "50ms",
        "One tick of consensus; the other raft settings count in it.",
    ),
    key(
        "raft.election_ticks",
        Form::Count(2, 1000),
        "20",
        "Ticks without a leader before an election; at least twice raft.heartbeat_ticks.",
    ),
    key("raft.heartbeat_ticks", Form::Count(1, 500), "4", "Ticks between a leader's heartbeats."),
    key(
        "gossip.enabled",
        Form::Switch,
        "true",
        "Whether news travels by gossip first; without it the feed alone carries everything, slower.",
    ),
    key(
        "pins.replicas_min",
        Form::Count(1, REPLICAS_MAX as u64),
        "2",
        "Fewest copies of a pin that does not say; an add waits for this many.",
    ),
    key(
        "pins.replicas_max",
        Form::Count(1, REPLICAS_MAX as u64),
        "3",
        "Copies that a pin aims at when it does not say; more are trimmed.",
    ),
    key(
        "pins.masters_hold",
        Form::Choice(&["auto", "always", "never"]),
        "auto",
        "Whether this node holds pins while it is a master: auto means where workers are too few.",
    ),
    key(
        "zone",
        Form::Name(Emptiness::Allowed),
        "",
        "Failure domain, such as a rack; copies go to distinct zones where possible.",
    ),
    key(
        "weight",
        Form::CountOrAuto(1, 1_000_000),
        AUTO,
        "Share of the pins that this node is given; auto means one per GiB of storage.max.",
    ),
    key(
        "gateways",
        Form::Gateways,
        "",
        "Trustless gateways, best first, to ask for content that no member has; all is verified.",
    ),
    key(
        "cache.max",
        Form::Size(0, TIB),
        "256MiB",
        "Memory for blocks that were read lately; 0B switches the cache off.",
    ),
    key(
        "import.profile",
        Form::Choice(&["unixfs-v1-2025", "unixfs-v0-2015"]),
        "unixfs-v1-2025",
        "How files become blocks; the same profile gives the same CID everywhere.",
    ),
    key(
        "import.hash_threads",
        Form::CountOrAuto(1, 256),
        AUTO,
        "Threads that hash what is added; auto means one per processor.",
    ),
    key(
        "log.level",
        Form::LogFilter,
        "info",
        "Least severe level that the node's log holds, for everything and then for single modules.",
    ),
    key("log.format", Form::Choice(&["text", "json"]), "text", "Form of a line of the node's log."),
];

const fn key(path: &'static str, form: Form, default: &'static str, help: &'static str) -> Key {
    Key { path, form, default: DefaultValue::Text(default), help }
}

/// The setting of that path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether settings lie below that path (`raft`, `storage`, …).
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

impl Key {
    /// The environment variable that sets it.
    pub fn environment_name(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.path.to_ascii_uppercase().replace('.', "_"))
    }
}

impl Form {
    /// Reads a value from text. The result is canonical: equal values have equal JSON.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Self::Switch => match text {
                "true" => self.read(&Value::Bool(true)),
                "false" => self.read(&Value::Bool(false)),
                _ => Err(self.mismatch(&Value::from(text))),
            },
            Self::Count(..) | Self::CountOrAuto(..) => {
                let value = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
                self.read(&value)
            }
            Self::Addresses(_) | Self::Gateways => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                self.read(&items.map(Value::from).collect())
            }
            _ => self.read(&Value::from(text)),
        }
    }

    /// Reads a value from JSON. The result is canonical: equal values have equal JSON.
    pub fn read(&self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Choice(words), Value::String(text)) if words.contains(&text.as_str()) => {
                Ok(value.clone())
            }
            (Self::Switch, Value::Bool(_)) => Ok(value.clone()),
            (Self::Name(emptiness), Value::String(text)) => read_name(text, *emptiness),
            (Self::Folder, Value::String(text)) => read_folder(text),
            (Self::Addresses(purpose), Value::Array(items)) => read_addresses(items, *purpose),
            (Self::Gateways, Value::Array(items)) => read_gateways(items),
            (Self::Api, Value::String(text)) => {
                let address: ApiAddress = text.parse().map_err(sentence)?;
                Ok(Value::from(address.to_string()))
            }
            (Self::LogFilter, Value::String(text)) => {
                let filter: LogFilter = text.parse().map_err(sentence)?;
                Ok(Value::from(filter.to_string()))
            }
            (Self::Size(min, max), Value::String(text)) => {
                let bytes = parse_size(text).map_err(sentence)?;
                self.bounded(bytes, *min, *max).map(|bytes| Value::from(format_size(bytes)))
            }
            (Self::Duration(min, max), Value::String(text)) => {
                let millis = parse_duration(text).map_err(sentence)?.as_millis();
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                let millis = self.bounded(millis, *min, *max)?;
                Ok(Value::from(format_duration(Duration::from_millis(millis))))
            }
            (Self::Count(min, max) | Self::CountOrAuto(min, max), Value::Number(number)) => {
                let count = number.as_u64().ok_or_else(|| self.mismatch(value))?;
                self.bounded(count, *min, *max).map(Value::from)
            }
            (Self::CountOrAuto(..), Value::String(text)) if text == AUTO => Ok(value.clone()),
            _ => Err(self.mismatch(value)),
        }
    }

    /// What a value looks like, in words.
    pub fn describe(&self) -> String {
        let from_to = |min: String, max: String| format!("from {min} to {max}");
        let millis = |ms: u64| format_duration(Duration::from_millis(ms));
        match self {
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".to_owned(),
            Self::Name(_) => format!(
                "a name of at most {NODE_NAME_LEN_BYTES_MAX} letters, digits, '.', '_' and '-'"
            ),
            Self::Folder => "a folder".to_owned(),
            Self::Addresses(_) => "a list of host:port".to_owned(),
            Self::Gateways => "a list of http or https URLs".to_owned(),
            Self::Api => "host:port or unix:PATH".to_owned(),
            Self::LogFilter => {
                "off, error, warn, info, debug or trace, then MODULE=LEVEL with commas, such as \
                 info,net=debug"
                    .to_owned()
            }
            Self::Size(min, max) => {
                format!("a size {}", from_to(format_size(*min), format_size(*max)))
            }
            Self::Duration(min, max) => {
                format!("a duration {}", from_to(millis(*min), millis(*max)))
            }
            Self::Count(min, max) => {
                format!("a number {}", from_to(min.to_string(), max.to_string()))
            }
            Self::CountOrAuto(min, max) => {
                format!("{AUTO}, or a number {}", from_to(min.to_string(), max.to_string()))
            }
        }
    }

    fn bounded(&self, number: u64, min: u64, max: u64) -> Result<u64, String> {
        if (min..=max).contains(&number) {
            Ok(number)
        } else {
            Err(format!("out of range; expected {}", self.describe()))
        }
    }

    fn mismatch(&self, value: &Value) -> String {
        let found = match value {
            Value::Null => "nothing".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            other => other.to_string(),
        };
        let hint = match (self, value) {
            (Self::Name(_), Value::Number(_) | Value::Bool(_)) => " (put it in quotes)",
            (Self::Size(..) | Self::Duration(..), Value::Number(_)) => " (a unit is missing)",
            (Self::Addresses(_) | Self::Gateways, Value::String(_)) => " (write it as a list)",
            _ => "",
        };
        format!("expected {}, found {found}{hint}", self.describe())
    }
}

fn sentence(error: impl std::error::Error) -> String {
    error.to_string()
}

fn read_name(text: &str, emptiness: Emptiness) -> Result<Value, String> {
    if text.is_empty() && emptiness == Emptiness::Refused {
        return Err("it must not be empty".to_owned());
    }
    if text.len() > NODE_NAME_LEN_BYTES_MAX {
        return Err(format!("longer than {NODE_NAME_LEN_BYTES_MAX} bytes"));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        Some(c) => Err(format!("{c:?} is not allowed; use letters, digits, '.', '_' and '-'")),
        None => Ok(Value::from(text)),
    }
}

fn read_folder(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("the path is no UTF-8".to_owned());
    }
    if text.len() > TEXT_LEN_BYTES_MAX || text.contains('\0') {
        return Err("no path can look like this".to_owned());
    }
    Ok(Value::from(text))
}

fn read_addresses(items: &[Value], purpose: AddressUse) -> Result<Value, String> {
    let addresses: Vec<HostPort> = read_list(items)?;
    let useless = |address: &&HostPort| address.is_wildcard() || address.port == 0;
    if purpose == AddressUse::Advertise
        && let Some(address) = addresses.iter().find(useless)
    {
        return Err(format!("nobody can reach {address}; name an address and a port"));
    }
    Ok(addresses.iter().map(|address| Value::from(address.to_string())).collect())
}

fn read_gateways(items: &[Value]) -> Result<Value, String> {
    let urls: Vec<GatewayUrl> = read_list(items)?;
    Ok(urls.iter().map(|url| Value::from(url.to_string())).collect())
}

/// Distinct addresses, not too many.
fn read_list<T>(items: &[Value]) -> Result<Vec<T>, String>
where
    T: std::str::FromStr<Err: std::error::Error> + PartialEq + std::fmt::Display,
{
    if items.len() > ADDRS_MAX {
        return Err(format!("more than {ADDRS_MAX} addresses"));
    }
    let mut list: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        let text =
            item.as_str().ok_or_else(|| format!("{item} is no address; put it in quotes"))?;
        let address: T = text.parse().map_err(sentence)?;
        if list.contains(&address) {
            return Err(format!("{address} stands there twice"));
        }
        list.push(address);
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
