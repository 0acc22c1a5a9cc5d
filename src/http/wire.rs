//! The contract of `/api/v1` that both ends share: routes, headers, lines of streams.

use ipfs_kit_actors::api::{AddEvent, Added, Failure};
use ipfs_kit_core::ops::ContentInfo;
use serde::{Deserialize, Serialize};

/// Every route begins with it.
pub const PREFIX: &str = "/api/v1";
/// Names a request, so that its failure can be asked for when a stream broke off.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Names the ticket under which files are handed over for an upload, or the output of a `cat`.
pub const TICKET_HEADER: &str = "x-ipfs-kit-ticket";
/// Says how many bytes went to an output that was handed over; the answer has none then.
pub const WRITTEN_HEADER: &str = "x-ipfs-kit-written";
/// The CID of what is sent.
pub const CID_HEADER: &str = "x-ipfs-kit-cid";
/// Media type of a stream of JSON lines.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of CARs.
pub const CAR: &str = "application/vnd.ipld.car";
/// Media type of the bytes of one file.
pub const OCTETS: &str = "application/octet-stream";
/// Media type of archives.
pub const TAR: &str = "application/x-tar";
/// Largest unary request body.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest unary answer, and largest line of a stream, that a client takes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Longest request id that is remembered.
pub const REQUEST_ID_LEN_BYTES_MAX: usize = 64;

/// Where and under which ticket files may be handed over, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverOffer {
    /// The path of a unix socket on the node's machine.
    pub socket: String,
    /// What to show there, and to name in the upload.
    pub ticket: String,
}

/// A line of the answer to an upload. The last one is `Added` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AddLine<T = Added> {
    /// How it ended.
    End(AddEnd<T>),
    /// What happens.
    Event(AddEvent),
}

/// The last line of the answer to an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum AddEnd<T = Added> {
    /// It is done.
    Added(T),
    /// It failed; nothing is pinned.
    Failed {
        /// Why.
        error: Failure,
    },
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LsLine {
    /// The listing ends here, unfinished.
    Failed {
        /// Why.
        error: Failure,
    },
    /// An entry.
    Entry(ContentInfo),
}

/// A path as part of a URL: everything but unreserved characters and `/` is percent-encoded.
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
