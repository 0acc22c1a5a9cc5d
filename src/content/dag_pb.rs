//! dag-pb: the protobuf node with links that UnixFS is built on.
//!
//! Strict as the [IPLD specification](https://ipld.io/specs/codecs/dag-pb/spec/) and its Go codec:
//! no unknown and no repeated fields, links in one run, the fields of a link in order, a CID in
//! every link. Decoding borrows from the block; encoding allocates once.

use crate::cid::{Cid, Codec, cid_from_exact};
use crate::ipld::IpldError;
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_LINKS_PER_NODE};
use crate::protobuf::{
    Fields, Value, WireError, bytes_field_len, number_field_len, put_bytes, put_bytes_head,
    put_number,
};

#[cfg(test)]
mod tests;

/// A link of a node. Absent and empty names differ on the wire, so they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PbLink<'a> {
    /// The linked block.
    pub cid: Cid,
    /// The name; a UnixFS name is UTF-8, which this layer does not check.
    pub name: Option<&'a [u8]>,
    /// The writer's claim of the cumulative size of the linked DAG in bytes. Never trust it.
    pub tsize: Option<u64>,
}

/// A decoded node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PbNode<'a> {
    /// The links, in the order of the block.
    pub links: Vec<PbLink<'a>>,
    /// The payload; for UnixFS a [`crate::unixfs::Data`] message.
    pub data: Option<&'a [u8]>,
}

/// Why bytes are no dag-pb node. They never become one; retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum DagPbError {
    /// The block is larger than any block may be.
    #[error("node has {len_bytes} bytes, more than the limit of {MAX_BLOCK_LEN_BYTES}")]
    TooLarge {
        /// The length of the block.
        len_bytes: usize,
    },
    /// The node has more than [`MAX_LINKS_PER_NODE`] links.
    #[error("node has more than {MAX_LINKS_PER_NODE} links")]
    TooManyLinks,
    /// The bytes are no protobuf message.
    #[error("node is no protobuf message")]
    Wire {
        /// What is wrong with them.
        #[from]
        source: WireError,
    },
    /// A field is unknown, repeated, out of order or of the wrong type.
    #[error("unexpected field {field} in the {message}")]
    UnexpectedField {
        /// The message it stands in: `node` or `link`.
        message: &'static str,
        /// The field number.
        field: u64,
    },
    /// A link has no CID.
    #[error("link {index} has no cid")]
    LinkWithoutCid {
        /// The position of the link.
        index: usize,
    },
    /// A link's CID is malformed.
    #[error("link {index} has a malformed cid")]
    LinkCid {
        /// The position of the link.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: ::cid::Error,
    },
}

/// Decodes a node.
///
/// # Errors
/// See [`DagPbError`].
pub fn decode(block: &[u8]) -> Result<PbNode<'_>, DagPbError> {
    let mut links = Vec::new();
    let data = scan(block, |link| links.push(link))?;
    Ok(PbNode { links, data })
}

/// Walks a node: calls `on_link` for every link, returns the payload.
fn scan<'a>(
    block: &'a [u8],
    mut on_link: impl FnMut(PbLink<'a>),
) -> Result<Option<&'a [u8]>, DagPbError> {
    if block.len() > MAX_BLOCK_LEN_BYTES {
        return Err(DagPbError::TooLarge { len_bytes: block.len() });
    }
    let mut fields = Fields::new(block);
    let mut data = None;
    let mut link_count = 0_usize;
    let mut links_ended = false;
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) if data.is_none() => {
                data = Some(bytes);
                links_ended = link_count > 0;
            }
            (2, Value::Bytes(_)) if link_count == MAX_LINKS_PER_NODE => {
                return Err(DagPbError::TooManyLinks);
            }
            (2, Value::Bytes(bytes)) if !links_ended => {
                on_link(decode_link(link_count, bytes)?);
                link_count += 1;
            }
            _ => return Err(DagPbError::UnexpectedField { message: "node", field }),
        }
    }
    Ok(data)
}

fn decode_link(index: usize, bytes: &[u8]) -> Result<PbLink<'_>, DagPbError> {
    let mut fields = Fields::new(bytes);
    let (mut cid, mut name, mut tsize) = (None, None, None);
    let mut last = 0;
    while let Some((field, value)) = fields.next()? {
        let unexpected = DagPbError::UnexpectedField { message: "link", field };
        if field <= last {
            return Err(unexpected);
        }
        last = field;
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                let parsed = cid_from_exact(bytes);
                cid = Some(parsed.map_err(|source| DagPbError::LinkCid { index, source })?);
            }
            (2, Value::Bytes(bytes)) => name = Some(bytes),
            (3, Value::Varint(value)) => tsize = Some(value),
            _ => return Err(unexpected),
        }
    }
    let cid = cid.ok_or(DagPbError::LinkWithoutCid { index })?;
    Ok(PbLink { cid, name, tsize })
}

/// Encodes a node in canonical form: links first, in the byte order of their names (links of equal
/// name keep their order), then the payload.
pub fn encode(links: &[PbLink<'_>], data: Option<&[u8]>) -> Vec<u8> {
    let len_bytes = links.iter().map(link_field_len).sum::<usize>()
        + data.map_or(0, |data| bytes_field_len(data.len()));
    let mut out = Vec::with_capacity(len_bytes);
    if links.is_sorted_by_key(|link| link.name.unwrap_or_default()) {
        links.iter().for_each(|link| put_link(&mut out, link));
    } else {
        let mut sorted: Vec<_> = links.iter().collect();
        sorted.sort_by_key(|link| link.name.unwrap_or_default());
        sorted.into_iter().for_each(|link| put_link(&mut out, link));
    }
    if let Some(data) = data {
        put_bytes(&mut out, 1, data);
    }
    out
}

fn link_message_len(link: &PbLink<'_>) -> usize {
    bytes_field_len(link.cid.encoded_len())
        + link.name.map_or(0, |name| bytes_field_len(name.len()))
        + link.tsize.map_or(0, number_field_len)
}

/// Bytes that a link adds to its node.
pub(crate) fn link_field_len(link: &PbLink<'_>) -> usize {
    bytes_field_len(link_message_len(link))
}

fn put_link(out: &mut Vec<u8>, link: &PbLink<'_>) {
    put_bytes_head(out, 2, link_message_len(link));
    put_bytes_head(out, 1, link.cid.encoded_len());
    link.cid.write_bytes(&mut *out).expect("writing to memory cannot fail");
    if let Some(name) = link.name {
        put_bytes(out, 2, name);
    }
    if let Some(tsize) = link.tsize {
        put_number(out, 3, tsize);
    }
}

/// Why the links of a block cannot be told. Retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// The codec is one whose links this node does not read.
    #[error("links of {cid} cannot be read: codec 0x{codec:x} is not supported")]
    UnsupportedCodec {
        /// The block.
        cid: Box<Cid>,
        /// Its multicodec number.
        codec: u64,
    },
    /// The bytes are no dag-pb node.
    #[error("block {cid} is no dag-pb node")]
    DagPb {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        #[source]
        source: DagPbError,
    },
    /// The bytes are not of the CID's codec.
    #[error("block {cid} is not what its codec says")]
    Ipld {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        #[source]
        source: IpldError,
    },
}

/// The CIDs that a block links to, in its order, with repetitions. A raw block has none.
///
/// # Errors
/// See [`LinksError`].
pub fn links(cid: &Cid, block: &[u8]) -> Result<Vec<Cid>, LinksError> {
    match Codec::of(cid) {
        Some(Codec::Raw) => Ok(Vec::new()),
        Some(Codec::DagPb) => {
            let mut cids = Vec::new();
            scan(block, |link| cids.push(link.cid))
                .map_err(|source| LinksError::DagPb { cid: Box::new(*cid), source })?;
            Ok(cids)
        }
        Some(codec @ (Codec::DagCbor | Codec::DagJson)) => crate::ipld::links(codec, block)
            .map_err(|source| LinksError::Ipld { cid: Box::new(*cid), source }),
        None => Err(LinksError::UnsupportedCodec { cid: Box::new(*cid), codec: cid.codec() }),
    }
}
