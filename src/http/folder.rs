//! What a node leaves in its folder for its own clients: the API's token and its address.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::ApiAddress;

/// Holds the bearer token; readable by the owner only.
pub const TOKEN_FILE: &str = "api.token";
/// Holds the address on which the running node serves; a node that stopped in order removes it.
pub const ADDRESS_FILE: &str = "api.addr";

/// Random bytes of a token.
const TOKEN_LEN_BYTES: usize = 32;
/// Shortest token that is accepted from a file: 128 bits in hexadecimal.
const TOKEN_TEXT_LEN_BYTES_MIN: usize = 32;
/// Longest content of either file.
const FILE_LEN_BYTES_MAX: u64 = 4096;

/// The secret that every request carries. It never appears in messages.
#[derive(Clone)]
pub struct ApiToken(String);

impl ApiToken {
    /// Draws a new one and writes it; an existing file is left alone and is an error.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        let mut bytes = [0u8; TOKEN_LEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| FolderError::Io {
            doing: "draw a token for",
            path: path.to_owned(),
            source: error.into(),
        })?;
        let token = Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", token.0)?;
            file.sync_all()
        };
        write().map_err(failed("write", path))?;
        Ok(token)
    }

    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        let text = read_bounded(path)?;
        let token = text.trim();
        let fits = token.len() >= TOKEN_TEXT_LEN_BYTES_MIN
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(FolderError::Malformed { path: path.to_owned(), expected: "an API token" });
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether `given` is this token, in a time that does not tell where they differ.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        if own.len() != given.len() {
            return false;
        }
        let difference = own.iter().zip(given).fold(0u8, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

/// Why a file in the folder is of no use. A write that failed left the old file in place.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can't be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The verb.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} does not hold {expected}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
}

impl FolderError {
    /// Whether the file just is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Says where the running node serves its API. Replaces what a node that was killed left behind.
pub fn write_address(folder: &Path, address: &ApiAddress) -> Result<(), FolderError> {
    let path = folder.join(ADDRESS_FILE);
    let new = folder.join(format!("{ADDRESS_FILE}.new"));
    let write = || {
        let mut file = File::create(&new)?;
        writeln!(file, "{address}")?;
        std::fs::rename(&new, &path)
    };
    write().map_err(failed("write", &path))
}

/// Where the running node serves its API; `None` if none runs, though a node that was killed leaves its
/// address behind.
pub fn read_address(folder: &Path) -> Result<Option<ApiAddress>, FolderError> {
    let path = folder.join(ADDRESS_FILE);
    let text = match read_bounded(&path) {
        Err(error) if error.is_absent() => return Ok(None),
        other => other?,
    };
    let address = text.trim().parse();
    address.map(Some).map_err(|_| FolderError::Malformed { path, expected: "an API address" })
}

/// The node stops: nobody should try its address any more.
pub fn remove_address(folder: &Path) -> Result<(), FolderError> {
    let path = folder.join(ADDRESS_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

fn read_bounded(path: &Path) -> Result<String, FolderError> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_LEN_BYTES_MAX).read_to_string(&mut text));
    read.map_err(failed("read", path))?;
    Ok(text)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |source| FolderError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
