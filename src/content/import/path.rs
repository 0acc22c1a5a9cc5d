//! Paths of entries: checked bytes, split into names.

use super::{ImportError, PathRefusal};
use crate::limits::{MAX_NAME_LEN_BYTES, MAX_PATH_DEPTH};

/// Checks a path and splits it into its directory's names and its own.
pub(super) fn split(path: &[u8]) -> Result<(Vec<&str>, &str), ImportError> {
    let refused =
        |reason| ImportError::Path { path: String::from_utf8_lossy(path).into_owned(), reason };
    if path.first() == Some(&b'/') {
        return Err(refused(PathRefusal::Absolute));
    }
    // Counted before anything is collected.
    if path.iter().filter(|byte| **byte == b'/').count() >= MAX_PATH_DEPTH {
        return Err(refused(PathRefusal::TooDeep));
    }
    let mut names = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        names.push(name(component).map_err(refused)?);
    }
    let own = names.pop().expect("splitting gives at least one part");
    Ok((names, own))
}

fn name(component: &[u8]) -> Result<&str, PathRefusal> {
    match component {
        b"" => Err(PathRefusal::EmptyComponent),
        b"." | b".." => Err(PathRefusal::Dots),
        _ if component.contains(&0) => Err(PathRefusal::Nul),
        _ if component.len() > MAX_NAME_LEN_BYTES => Err(PathRefusal::NameTooLong),
        _ => str::from_utf8(component).map_err(|_| PathRefusal::NotUtf8),
    }
}
