//! The one place that knows the binary encoding of everything sent or stored.
//!
//! bincode 2 with its standard configuration, a limit on every decode, and an envelope of kind and
//! version in front. bincode is finished and unmaintained, so no other module may name it: replacing
//! it is an edit here plus a new envelope version.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a sealed value is; a decoder states what it expects, so a frame can't be taken for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A Raft log entry.
    Entry = 1,
    /// The whole replicated state.
    State = 2,
    /// A unary request between members.
    Request = 3,
    /// Its answer.
    Response = 4,
    /// A gossip message.
    Gossip = 5,
    /// A join request or answer.
    Join = 6,
    /// A join token.
    Token = 7,
    /// A record of the node's own journal or files.
    Record = 8,
    /// One item (member or pin) as it is hashed.
    Item = 9,
}

/// The version that this build writes; every older one that it reads is listed in [`open`].
pub const VERSION: u8 = 2;
/// The oldest version that this build reads. In version 1 a pin inside of something else was not encoded by
/// itself; no release wrote it.
const OLDEST: u8 = 2;

/// Why bytes could not be read. Nothing was changed; the same bytes fail again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than the caller allows; they were not looked at.
    #[error("{len_bytes} bytes are over the limit of {limit_bytes} for {kind:?}")]
    TooLarge {
        /// What was expected.
        kind: Kind,
        /// How many bytes came.
        len_bytes: usize,
        /// How many are allowed.
        limit_bytes: usize,
    },
    /// Another kind of value, or not one of ours at all.
    #[error("not a {kind:?}: the kind byte is {found}")]
    WrongKind {
        /// What was expected.
        kind: Kind,
        /// What stood there.
        found: u8,
    },
    /// Written by a newer program.
    #[error("{kind:?} has version {found}, this program reads up to {VERSION}; upgrade it")]
    NewerVersion {
        /// What was expected.
        kind: Kind,
        /// The version found.
        found: u8,
    },
    /// Written by a program of before the first release.
    #[error("{kind:?} has version {found}, this program reads {OLDEST} and later")]
    OlderVersion {
        /// What was expected.
        kind: Kind,
        /// The version found.
        found: u8,
    },
    /// The bytes end early, go on too long, or hold impossible values.
    #[error("malformed {kind:?}: {reason}")]
    Malformed {
        /// What was expected.
        kind: Kind,
        /// The decoder's own words.
        reason: String,
    },
}

fn config() -> bincode::config::Configuration {
    bincode::config::standard()
}

/// The kind and the version.
const ENVELOPE_BYTES: usize = 2;

/// Room for a value of which nothing is known: most are pins and fit.
const SEALED_BYTES: usize = 160;

/// Encodes a value behind its envelope.
pub fn seal<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    seal_sized(kind, value, SEALED_BYTES)
}

/// [`seal`] for a value that takes about `len_bytes`, so that a large one is not moved while it grows.
pub fn seal_sized<T: Serialize>(kind: Kind, value: &T, len_bytes: usize) -> Vec<u8> {
    seal_into(Vec::with_capacity(len_bytes), kind, value)
}

fn seal_into<T: Serialize>(mut out: Vec<u8>, kind: Kind, value: &T) -> Vec<u8> {
    out.extend_from_slice(&[kind as u8, VERSION]);
    bincode::serde::encode_into_std_write(value, &mut out, config())
        .expect("our types serialise without failing and a Vec takes every write");
    out
}

/// How many bytes [`seal`] makes of a value, without making them.
pub fn sealed_len<T: Serialize>(value: &T) -> usize {
    ENVELOPE_BYTES + encoded_len(value)
}

/// How many bytes a value takes within another one.
pub(crate) fn encoded_len<T: Serialize>(value: &T) -> usize {
    let mut size = bincode::enc::write::SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut size, config())
        .expect("our types serialise without failing and counting takes every write");
    size.bytes_written
}

/// Decodes a value of the stated kind from at most `limit_bytes` bytes, all of which must be used.
pub fn open<T: DeserializeOwned>(kind: Kind, bytes: &[u8], limit_bytes: usize) -> Result<T, Error> {
    if bytes.len() > limit_bytes {
        return Err(Error::TooLarge { kind, len_bytes: bytes.len(), limit_bytes });
    }
    let malformed = |reason: String| Error::Malformed { kind, reason };
    let [found, version, body @ ..] = bytes else {
        return Err(malformed("no envelope".into()));
    };
    if *found != kind as u8 {
        return Err(Error::WrongKind { kind, found: *found });
    }
    if *version > VERSION {
        return Err(Error::NewerVersion { kind, found: *version });
    }
    if *version == 0 {
        return Err(malformed("version 0 was never written".into()));
    }
    if *version < OLDEST {
        return Err(Error::OlderVersion { kind, found: *version });
    }
    let (value, used) =
        bincode::serde::decode_from_slice(body, config().with_limit::<MEMORY_MAX>())
            .map_err(|error| malformed(error.to_string()))?;
    if used != body.len() {
        return Err(malformed(format!("{} bytes after the value", body.len() - used)));
    }
    Ok(value)
}

/// Decodes the last part of a value that was sealed here, from where it begins.
pub(crate) fn open_last<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config().with_limit::<MEMORY_MAX>()).ok()?;
    (used == bytes.len()).then_some(value)
}

/// The byte string with which a sealed value begins, so that it can be found by that without being decoded.
/// `None` if it is cut, or longer than 250 bytes.
pub(crate) fn first_bytes(sealed: &[u8]) -> Option<&[u8]> {
    let [_, _, len @ 0..=250, rest @ ..] = sealed else { return None };
    rest.get(..usize::from(*len))
}

/// What one decode may allocate: lying length prefixes stop here whatever the caller's limit.
const MEMORY_MAX: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
