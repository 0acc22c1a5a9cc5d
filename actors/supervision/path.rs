//! Paths: the one name of a node of the tree, in logs, tables, HTTP and tests.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name of a child.
pub const NAME_LEN_BYTES_MAX: usize = 64;

/// Where a child lives: `/node/cluster/state-sync`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActorPath(Arc<str>);

/// A path or name that isn't one. Nothing has happened; retrying can't help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// Not one to 64 lower-case letters, digits and dashes.
    #[error("name `{name}` is not 1 to {NAME_LEN_BYTES_MAX} lower-case letters, digits and dashes")]
    Name {
        /// What was given, cut to a readable length.
        name: String,
    },
    /// Doesn't start with a slash.
    #[error("path `{path}` does not start with a slash")]
    Relative {
        /// What was given, cut to a readable length.
        path: String,
    },
}

fn check(name: &str) -> Result<(), PathError> {
    let fits = (1..=NAME_LEN_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(()) } else { Err(PathError::Name { name: excerpt(name) }) }
}

fn excerpt(text: &str) -> String {
    text.chars().take(NAME_LEN_BYTES_MAX).collect()
}

impl ActorPath {
    /// The path of a root.
    ///
    /// # Errors
    /// The name is no name.
    pub fn root(name: &str) -> Result<Self, PathError> {
        check(name)?;
        Ok(Self(format!("/{name}").into()))
    }

    /// The path of a child.
    ///
    /// # Errors
    /// The name is no name.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        check(name)?;
        Ok(Self(format!("{}/{name}", self.0).into()))
    }

    /// Reads a path as people write it.
    ///
    /// # Errors
    /// It has no leading slash, or one of its names is none.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(names) = text.strip_prefix('/') else {
            return Err(PathError::Relative { path: excerpt(text) });
        };
        names.split('/').try_for_each(check)?;
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The path of the supervisor, if it has one.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        (!parent.is_empty()).then(|| Self(parent.into()))
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(other.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl std::fmt::Display for ActorPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for ActorPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ActorPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<ActorPath> for String {
    fn from(path: ActorPath) -> Self {
        path.0.as_ref().to_owned()
    }
}
