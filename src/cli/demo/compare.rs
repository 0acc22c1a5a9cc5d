//! Compares a tree that is read from the cluster with the one that was added, byte by byte.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ipfs_kit_core::id::Cid;

use super::blocking;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::http::pipe::pipe;

/// Bytes compared at once.
const CHUNK_LEN_BYTES: usize = 256 * 1024;
/// Differing entries that are named.
const NAMED_MAX: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Files that are equal.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Links that point to the same.
    pub symlinks: u64,
    /// The first entries that differ.
    pub differing: Vec<String>,
}

/// Reads everything below `root` through `client` and compares it with what is at `source`.
pub async fn with_source(client: &Client, root: &Cid, source: &Path) -> Result<Verified, CliError> {
    let mut download = client.get(&root.to_string(), None).await?;
    let (sender, receiver) = pipe();
    let source = source.to_owned();
    let comparing = blocking(move || compare(receiver.into_blocking(), &source));
    let feeding = async {
        while let Some(chunk) = download.next().await? {
            if sender.send(chunk).await.is_err() {
                // The comparison ended; its own result says why.
                return Ok(());
            }
        }
        // Likewise.
        let _ = sender.end().await;
        Ok::<(), CliError>(())
    };
    let (compared, fed) = tokio::join!(comparing, feeding);
    fed?;
    compared?
        .map_err(|error| CliError::new("E_VERIFY", "the tree can't be compared").because(&error))
}

fn compare(archive: impl Read, source: &Path) -> std::io::Result<Verified> {
    let mut verified = Verified::default();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = path_in(source, &entry.path_bytes());
        let equal = match entry.header().entry_type() {
            tar::EntryType::Directory => {
                verified.directories += 1;
                path.is_dir()
            }
            tar::EntryType::Symlink => {
                verified.symlinks += 1;
                let target = entry.link_name_bytes().map(|target| target.into_owned());
                std::fs::read_link(&path).ok().map(|t| t.as_os_str().as_bytes().to_vec()) == target
            }
            tar::EntryType::Regular => match File::open(&path) {
                Ok(file) => {
                    let equal = same_bytes(&mut entry, file)?;
                    verified.files += u64::from(equal.is_some());
                    verified.bytes += equal.unwrap_or(0);
                    equal.is_some()
                }
                // It was there when it was added.
                Err(_) => false,
            },
            _ => continue,
        };
        if !equal && verified.differing.len() < NAMED_MAX {
            verified.differing.push(path.display().to_string());
        }
    }
    Ok(verified)
}

/// Where an entry stands in the source; `.` is the root itself.
fn path_in(source: &Path, entry: &[u8]) -> PathBuf {
    let entry = Path::new(std::ffi::OsStr::from_bytes(entry));
    let names = entry.components().filter(|part| matches!(part, Component::Normal(_)));
    source.join(names.collect::<PathBuf>())
}

/// The number of bytes, if both are equal to the last one.
fn same_bytes(entry: &mut impl Read, mut file: File) -> std::io::Result<Option<u64>> {
    let (mut ours, mut theirs) = (vec![0; CHUNK_LEN_BYTES], vec![0; CHUNK_LEN_BYTES]);
    let mut total = 0;
    loop {
        let read = fill(entry, &mut theirs)?;
        let expected = fill(&mut file, &mut ours)?;
        if theirs[..read] != ours[..expected] {
            return Ok(None);
        }
        if read == 0 {
            return Ok(Some(total));
        }
        total += read as u64;
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
