//! The configuration file: found, bounded, and parsed with the line of every key.
//!
//! JSON is read by the YAML parser too, since it is YAML's flow form; that way both have lines, and
//! keys given twice are refused in both.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::ConfigError;

/// Names that are looked for in the node's folder.
pub(super) const NAMES: [&str; 3] = ["config.yaml", "config.yml", "config.json"];
/// Far more than all keys with long comments.
const FILE_LEN_BYTES_MAX: u64 = 256 * 1024;
/// Deeper than any key; what is deeper still is an attack or an accident.
const DEPTH_MAX: usize = 16;
/// Events of the YAML parser: keys, values, starts and ends.
const EVENTS_MAX: usize = 20_000;

/// A value with the line it stands on, and the lines of everything in it.
#[derive(Debug)]
pub(super) struct Node {
    pub line: u64,
    pub content: Content,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// In the file's order.
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// The value without its lines.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::to_value).collect(),
            Content::Mapping(pairs) => {
                pairs.iter().map(|(key, node)| (key.clone(), node.to_value())).collect()
            }
        }
    }
}

/// The configuration file in `folder`, if there is one.
pub(super) fn find(folder: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let mut found = None;
    for name in NAMES {
        let path = folder.join(name);
        match path.symlink_metadata() {
            Ok(_) => match found {
                None => found = Some(path),
                Some(first) => return Err(ConfigError::Ambiguous { first, second: path }),
            },
            Err(error) if is_absent(&error) => {}
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        }
    }
    Ok(found)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads and parses a configuration file.
pub(super) fn read(path: &Path) -> Result<Node, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(FILE_LEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_LEN_BYTES_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            len_bytes_max: FILE_LEN_BYTES_MAX,
        });
    }
    parse(&text).map_err(|error| {
        let location = error.location();
        ConfigError::Syntax {
            path: path.to_owned(),
            line: location.map_or(0, |location| location.line()),
            column: location.map_or(0, |location| location.column()),
            message: plain_message(&error),
        }
    })
}

/// Parses YAML or JSON. A document without content is an empty mapping.
pub(super) fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    let budget = serde_saphyr::budget! {
        max_depth: DEPTH_MAX,
        flow_nesting_limit: DEPTH_MAX,
        max_events: EVENTS_MAX,
    };
    let options = serde_saphyr::options! { budget: budget, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
}

/// The parser's message without the place, which we print in our own form.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    first.split(" at line ").next().unwrap_or(first).trim_end_matches([',', ' ']).to_owned()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Content, A::Error> {
        let mut mapping = Vec::new();
        while let Some(key) = pairs.next_key::<Spanned<String>>()? {
            let mut node: Node = pairs.next_value()?;
            // A problem is looked for where the key stands; a nested value may begin lines below.
            node.line = key.referenced.line();
            mapping.push((key.value, node));
        }
        Ok(Content::Mapping(mapping))
    }
}

#[cfg(test)]
mod tests;
