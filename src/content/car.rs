//! CAR: blocks of DAGs one after the other, for files and pipes.
//!
//! [CARv1](https://ipld.io/specs/transport/car/carv1/) is written and read, of
//! [CARv2](https://ipld.io/specs/transport/car/carv2/) the CARv1 in it is read and its index passed
//! over. Nothing is sought, so any stream will do, and no more than one block is held. Every length is
//! bounded before it is believed, every block is checked against its CID before it is given out.

use std::collections::BTreeMap;
use std::io;

use crate::cid::{Cid, VerifyError};
use crate::ipld::{Ipld, IpldError};

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::CarReader;
pub use write::{CarHeaderError, header, section_head};

/// Which form a CAR has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarVersion {
    /// A header, then blocks.
    One,
    /// A CARv1 with an index behind it.
    Two,
}

/// Why a CAR can't be read on. Blocks that came before are good. Retrying with the same bytes does not
/// help.
#[derive(Debug, thiserror::Error)]
pub enum CarError {
    /// The stream failed.
    #[error("it can't be read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream ends inside something.
    #[error("it is cut off at byte {offset}, in {inside}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// In what.
        inside: &'static str,
    },
    /// A length is no number, or its number is not in its shortest form.
    #[error("it has a malformed length at byte {offset}")]
    Length {
        /// Where the length stands.
        offset: u64,
    },
    /// A length is beyond what such a thing may have.
    #[error("it claims {claimed} bytes for {what} at byte {offset}, more than the limit of {max}")]
    TooLong {
        /// Where the length stands.
        offset: u64,
        /// What has the length.
        what: &'static str,
        /// What it says.
        claimed: u64,
        /// The bound.
        max: u64,
    },
    /// It does not begin as a CAR does.
    #[error("it does not begin with the header of a CAR: {reason}")]
    NotACar {
        /// How it differs.
        reason: String,
    },
    /// It is a CAR of a version that this program does not know.
    #[error("it is a CAR of version {version}, and only 1 and 2 are known")]
    Version {
        /// Its version.
        version: i128,
    },
    /// The header of a CARv2 contradicts itself: its writer has not finished it, or it is damaged.
    #[error("its CARv2 header is unfinished or damaged: {reason}")]
    V2Header {
        /// How.
        reason: &'static str,
    },
    /// A section does not begin with a CID.
    #[error("it has a malformed cid at byte {offset}")]
    Cid {
        /// Where the section stands.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: ::cid::Error,
    },
    /// A block's bytes are not what its CID names, or can't be checked.
    #[error("it has a wrong block at byte {offset}")]
    Block {
        /// Where the section stands.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: VerifyError,
    },
}

fn not_a_car(reason: impl Into<String>) -> CarError {
    CarError::NotACar { reason: reason.into() }
}

/// The version and the roots of a header.
fn parse_header(bytes: &[u8]) -> Result<(i128, Vec<Cid>), CarError> {
    let value = crate::ipld::decode(crate::cid::Codec::DagCbor, bytes)
        .map_err(|error: IpldError| not_a_car(error.to_string()))?;
    let Ipld::Map(map) = value else { return Err(not_a_car("its header is no map")) };
    let Some(Ipld::Integer(version)) = map.get("version") else {
        return Err(not_a_car("its header has no version"));
    };
    if *version == 1 { Ok((1, roots_of(&map)?)) } else { Ok((*version, Vec::new())) }
}

fn roots_of(map: &BTreeMap<String, Ipld>) -> Result<Vec<Cid>, CarError> {
    let Some(Ipld::List(list)) = map.get("roots") else {
        return Err(not_a_car("its header has no roots"));
    };
    if map.len() > 2 {
        return Err(not_a_car("its header has more than version and roots"));
    }
    let root = |value: &Ipld| match value {
        Ipld::Link(cid) => Ok(*cid),
        _ => Err(not_a_car("one of its roots is no link")),
    };
    list.iter().map(root).collect()
}
