//! Files that hold secrets are for their owner's eyes only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{EngineError, KEY_FILE, file_error};
use crate::http::folder::TOKEN_FILE;

/// Files of a node's folder whose secrets last. The join token is none: it works once, at the next start.
pub const SECRET_FILES: [&str; 2] = [KEY_FILE, TOKEN_FILE];
/// Bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// Why a secret may be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Its permissions let others in.
    Mode(u32),
    /// It belongs to another user, who may do with it what they like.
    Owner(u32),
}

impl std::fmt::Display for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "its mode is {mode:03o}, so that others may use it"),
            Self::Owner(uid) => write!(f, "it belongs to the user with the id {uid}"),
        }
    }
}

/// Refuses a folder whose secrets others may read or write. Nothing is repaired: whoever could read a
/// key may have it, and only the operator knows what to do about that.
pub(super) fn refuse_exposed(folder: &Path) -> Result<(), EngineError> {
    match exposed(folder)? {
        Some((path, exposure)) => Err(EngineError::Exposed { path, exposure }),
        None => Ok(()),
    }
}

/// The first secret of a folder that others may read or write. Absent files are nobody's.
pub fn exposed(folder: &Path) -> Result<Option<(PathBuf, Exposure)>, EngineError> {
    let owner = fs::metadata(folder).map_err(|error| file_error(folder.to_owned(), error))?.uid();
    let trusted = [0, owner, rustix::process::geteuid().as_raw()];
    for name in SECRET_FILES {
        let path = folder.join(name);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(file_error(path, error)),
            Ok(metadata) => metadata,
        };
        if let Some(exposure) = judge(metadata.mode(), metadata.uid(), &trusted) {
            return Ok(Some((path, exposure)));
        }
    }
    Ok(None)
}

/// Who may own a secret: whoever looks, the folder's owner, who is the node's user, and root, who reads
/// everything anyway.
fn judge(mode: u32, owner: u32, trusted: &[u32]) -> Option<Exposure> {
    if mode & OTHERS != 0 {
        Some(Exposure::Mode(mode & 0o777))
    } else if !trusted.contains(&owner) {
        Some(Exposure::Owner(owner))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
