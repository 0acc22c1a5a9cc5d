//! Writing a CARv1: a header, then a head and the bytes of each block.

use std::collections::BTreeMap;

use crate::cid::{Cid, Codec};
use crate::ipld::{Ipld, encode};
use crate::limits::MAX_CAR_HEADER_LEN_BYTES;
use crate::protobuf::put_varint;

/// A header would be longer than readers take. Fewer roots help.
#[derive(Debug, thiserror::Error)]
#[error("a CAR with {roots} roots has a header that is too long")]
pub struct CarHeaderError {
    /// How many roots there are.
    pub roots: usize,
}

/// The header of a CARv1 with its length before it.
///
/// # Errors
/// See [`CarHeaderError`].
pub fn header(roots: &[Cid]) -> Result<Vec<u8>, CarHeaderError> {
    let links = roots.iter().map(|root| Ipld::Link(*root)).collect();
    let map = BTreeMap::from([
        ("roots".to_owned(), Ipld::List(links)),
        ("version".to_owned(), Ipld::Integer(1)),
    ]);
    let too_long = || CarHeaderError { roots: roots.len() };
    let body = encode(Codec::DagCbor, &Ipld::Map(map)).map_err(|_| too_long())?;
    if body.len() > MAX_CAR_HEADER_LEN_BYTES {
        return Err(too_long());
    }
    let mut out = Vec::with_capacity(body.len() + 4);
    put_varint(&mut out, body.len() as u64);
    out.extend_from_slice(&body);
    Ok(out)
}

/// What stands before a block of `len_bytes` bytes.
pub fn section_head(cid: &Cid, len_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, (cid.encoded_len() + len_bytes) as u64);
    cid.write_bytes(&mut out).expect("writing to memory cannot fail");
    out
}
