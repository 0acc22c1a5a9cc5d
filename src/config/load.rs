//! Layers to settings: flag over environment over file over default, with the origin of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::{self, Content, Node};
use super::keys::{DefaultValue, ENVIRONMENT_PREFIX, Form, KEYS, Key, find, is_section};
use super::{ConfigError, Problem, Settings, suggest, validate};

/// The environment variable that names the configuration file, like `--config`.
pub const FILE_VARIABLE: &str = "IPFS_KIT_CONFIG";

/// Variables of the client that are no settings of a node.
const CLIENT_VARIABLES: [&str; 5] =
    [FILE_VARIABLE, "IPFS_KIT_API", "IPFS_KIT_TOKEN_FILE", "IPFS_KIT_OUTPUT", "IPFS_KIT_TIMEOUT"];

/// Where settings may come from. Plain values, so that loading is a function.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Settings given on the command line.
    pub flags: Vec<Flag>,
    /// Environment variables; those that are not ours are ignored.
    pub environment: BTreeMap<String, String>,
    /// The configuration file, if one was named; it must exist then.
    pub file: Option<PathBuf>,
    /// The user's home, for the default folder and for `~/`.
    pub home: Option<PathBuf>,
    /// What relative folders given by flag or environment are relative to.
    pub current_folder: PathBuf,
    /// The default name of the node.
    pub host_name: String,
}

/// One setting given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its key.
    pub path: &'static str,
    /// The flag as it is written, for messages: `--role`.
    pub name: &'static str,
    /// Its text.
    pub value: String,
}

impl Sources {
    /// What this process has: environment, home, host name, current folder.
    pub fn of_process(flags: Vec<Flag>, file: Option<PathBuf>) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            // What is no UTF-8 becomes a replacement character, which every form refuses.
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        Self {
            flags,
            environment,
            file,
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            current_folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file.
    File {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// A command-line flag.
    Flag {
        /// As it is written.
        name: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// Settings, and where each of them comes from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Every key in the table's order.
    pub entries: Vec<Entry>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What looks like a mistake and may be none, for standard error.
    pub warnings: Vec<String>,
}

/// One setting as it came out.
#[derive(Debug)]
pub struct Entry {
    /// The setting.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Values by key path; the last one written wins, so layers are written weakest first.
type Layers = BTreeMap<&'static str, (Value, Origin)>;

/// Merges the layers and checks everything; all problems are reported at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let mut layers = defaults(sources);

    let folder = given_folder(sources);
    let file = match file_path(sources) {
        Some(path) => Some(path),
        None => file::find(folder.as_deref().ok_or(ConfigError::NoHome)?)?,
    };
    if let Some(path) = &file {
        let root = file::read(path)?;
        read_file(path, &root, sources, &mut layers, &mut problems);
        if file_path(sources).is_none() {
            refuse_folder_elsewhere(folder.as_deref(), &layers, &mut problems);
        }
    }
    read_environment(sources, &mut layers, &mut problems);
    read_flags(sources, &mut layers, &mut problems);
    if !layers.contains_key("folder") {
        return Err(ConfigError::NoHome);
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { problems });
    }

    let settings = build(&layers);
    let origin_of = |path: &str| layers[path].1.clone();
    let problems = validate::check(&settings, origin_of);
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { problems });
    }
    let warnings = unknown_variables(&sources.environment);
    let entries = KEYS
        .iter()
        .filter_map(|key| {
            let (value, origin) = layers.remove(key.path)?;
            Some(Entry { key, value, origin })
        })
        .collect();
    Ok(Loaded { settings, entries, file, warnings })
}

fn defaults(sources: &Sources) -> Layers {
    let value_of = |key: &Key| match key.default {
        DefaultValue::Text(text) => {
            Some(key.form.read_text(text).expect("a test reads every default of the table"))
        }
        DefaultValue::HostName => Some(Value::from(host_name(&sources.host_name))),
        DefaultValue::HomeFolder => {
            Some(Value::from(sources.home.as_ref()?.join(".ipfs-kit").to_str()?))
        }
    };
    KEYS.iter().filter_map(|key| Some((key.path, (value_of(key)?, Origin::Default)))).collect()
}

/// The host name with what a node's name may not hold replaced.
fn host_name(text: &str) -> String {
    let name: String = text
        .chars()
        .take(ipfs_kit_core::limits::NODE_NAME_LEN_BYTES_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

fn file_path(sources: &Sources) -> Option<PathBuf> {
    let path = match &sources.file {
        Some(path) => path.clone(),
        None => sources.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty())?.into(),
    };
    Some(sources.current_folder.join(path))
}

/// The folder as flag, environment or default have it: where the file is looked for.
fn given_folder(sources: &Sources) -> Option<PathBuf> {
    let flag = sources.flags.iter().rev().find(|flag| flag.path == "folder");
    let key = find("folder").expect("the table has the key");
    let variable = sources.environment.get(&key.environment_name());
    let given = flag.map(|flag| &flag.value).or(variable).filter(|text| !text.is_empty());
    match given {
        Some(text) => Some(absolute(text, &sources.current_folder, sources)),
        None => sources.home.as_ref().map(|home| home.join(".ipfs-kit")),
    }
}

/// `~/` is the home; what is relative lies below `base`.
fn absolute(text: &str, base: &Path, sources: &Sources) -> PathBuf {
    match (text.strip_prefix('~'), &sources.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => base.join(text),
    }
}

fn read_file(
    path: &Path,
    root: &Node,
    sources: &Sources,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) {
    let mut leaves = Vec::new();
    let origin = |line| Origin::File { path: path.to_owned(), line };
    match &root.content {
        Content::Scalar(Value::Null) => {}
        Content::Mapping(pairs) => collect_leaves("", pairs, &mut leaves),
        _ => problems.push(Problem {
            key: "(file)".to_owned(),
            origin: origin(root.line),
            message: "expected a mapping of settings".to_owned(),
        }),
    }
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (name, node) in leaves {
        let mut refuse = |message: String| {
            problems.push(Problem { key: name.clone(), origin: origin(node.line), message });
        };
        if let Some(first) = seen.insert(name.clone(), node.line) {
            refuse(format!("already set in line {first}"));
            continue;
        }
        let Some(key) = find(&name) else {
            refuse(unknown_key(&name));
            continue;
        };
        // A key without a value, as when everything below it was commented out.
        if matches!(node.content, Content::Scalar(Value::Null)) {
            continue;
        }
        let base = path.parent().unwrap_or(Path::new("/"));
        match read_value(key, &node.to_value(), base, sources) {
            Ok(value) => {
                layers.insert(key.path, (value, origin(node.line)));
            }
            Err(message) => refuse(message),
        }
    }
}

/// Every node that stands for a setting, or for nothing we know, with its dotted path.
fn collect_leaves<'a>(
    prefix: &str,
    pairs: &'a [(String, Node)],
    leaves: &mut Vec<(String, &'a Node)>,
) {
    for (name, node) in pairs {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match &node.content {
            Content::Mapping(inner) if is_section(&path) => collect_leaves(&path, inner, leaves),
            Content::Scalar(Value::Null) if is_section(&path) => {}
            _ => leaves.push((path, node)),
        }
    }
}

/// Reads a value through its form; relative paths in it are made absolute.
fn read_value(key: &Key, value: &Value, base: &Path, sources: &Sources) -> Result<Value, String> {
    let value = key.form.read(value)?;
    let utf8 = |path: &Path| match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err("the path is no UTF-8".to_owned()),
    };
    match (&key.form, value.as_str()) {
        (Form::Folder, Some(text)) => utf8(&absolute(text, base, sources)).map(Value::from),
        (Form::Api, Some(text)) => match text.strip_prefix("unix:") {
            // Once more through its form: the whole path may be too long for a socket.
            Some(path) => {
                let path = utf8(&absolute(path, base, sources))?;
                key.form.read(&Value::from(format!("unix:{path}")))
            }
            None => Ok(value),
        },
        _ => Ok(value),
    }
}

fn unknown_key(name: &str) -> String {
    const SECRET_WORDS: [&str; 5] = ["token", "secret", "password", "private", "seed"];
    let lower = name.to_ascii_lowercase();
    if is_section(name) {
        return "expected a mapping of settings".to_owned();
    }
    if SECRET_WORDS.iter().any(|word| lower.contains(word)) {
        return "unknown key; keys and tokens are files in the node's folder, never settings"
            .to_owned();
    }
    match suggest::nearest(name, KEYS.iter().map(|key| key.path)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; `ipfs-kit help config` lists all".to_owned(),
    }
}

/// The file was found in the folder, so it can't send the node to another one.
fn refuse_folder_elsewhere(folder: Option<&Path>, layers: &Layers, problems: &mut Vec<Problem>) {
    let Some((Value::String(text), origin @ Origin::File { .. })) = layers.get("folder") else {
        return;
    };
    if folder != Some(Path::new(text)) {
        problems.push(Problem {
            key: "folder".to_owned(),
            origin: origin.clone(),
            message: "this file was found in a node's folder and names another one; \
                      remove the key, or give the file by --config"
                .to_owned(),
        });
    }
}

fn read_environment(sources: &Sources, layers: &mut Layers, problems: &mut Vec<Problem>) {
    for key in KEYS {
        let name = key.environment_name();
        let Some(text) = sources.environment.get(&name) else { continue };
        let origin = Origin::Environment { name };
        read_layer(key, text, origin, sources, layers, problems);
    }
}

fn read_flags(sources: &Sources, layers: &mut Layers, problems: &mut Vec<Problem>) {
    for flag in &sources.flags {
        let key = find(flag.path).expect("flags name keys of the table, which a test checks");
        let origin = Origin::Flag { name: flag.name };
        read_layer(key, &flag.value, origin, sources, layers, problems);
    }
}

fn read_layer(
    key: &'static Key,
    text: &str,
    origin: Origin,
    sources: &Sources,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) {
    let value = key
        .form
        .read_text(text)
        .and_then(|value| read_value(key, &value, &sources.current_folder, sources));
    match value {
        Ok(value) => {
            layers.insert(key.path, (value, origin));
        }
        Err(message) => problems.push(Problem { key: key.path.to_owned(), origin, message }),
    }
}

/// Variables with our prefix that mean nothing to us. Kubernetes adds some for a service called
/// `ipfs-kit`, so they can't be errors; those are not even worth a word.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<String> = KEYS.iter().map(Key::environment_name).collect();
    let from_kubernetes = |name: &str| {
        ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP", "_ADDR", "_PROTO"]
            .iter()
            .any(|end| name.ends_with(end))
            || name.contains("_SERVICE_PORT_")
    };
    environment
        .keys()
        .filter(|name| name.starts_with(ENVIRONMENT_PREFIX))
        .filter(|name| !known.contains(name) && !CLIENT_VARIABLES.contains(&name.as_str()))
        .filter(|name| !from_kubernetes(name))
        .map(|name| match suggest::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => {
                format!("environment variable {name} is no setting; did you mean {near}?")
            }
            None => format!("environment variable {name} is no setting"),
        })
        .collect()
}

/// The merged values as one JSON tree, read into the typed settings.
fn build(layers: &Layers) -> Settings {
    let mut tree = serde_json::Map::new();
    for (path, (value, _)) in layers {
        match path.split_once('.') {
            None => {
                tree.insert((*path).to_owned(), value.clone());
            }
            Some((section, name)) => {
                let section =
                    tree.entry(section).or_insert_with(|| Value::Object(serde_json::Map::new()));
                section
                    .as_object_mut()
                    .expect("no key of the table is a section of another")
                    .insert(name.to_owned(), value.clone());
            }
        }
    }
    serde_json::from_value(Value::Object(tree))
        .expect("every value went through its form, and a test compares table and struct")
}

#[cfg(test)]
mod tests;
