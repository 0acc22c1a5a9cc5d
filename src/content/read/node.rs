//! A block as UnixFS sees it.

use super::{Flaw, ReadError};
use crate::cid::{Cid, Codec};
use crate::dag_pb::{self, PbLink};
use crate::import::EntryKind;
use crate::unixfs::{Data, DataType};

/// A decoded block.
pub(super) enum Node<'a> {
    Raw(&'a [u8]),
    DagPb(DagPbNode<'a>),
}

pub(super) struct DagPbNode<'a> {
    pub(super) links: Vec<PbLink<'a>>,
    pub(super) data: Data<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn decode(cid: Cid, block: &'a [u8]) -> Result<Self, ReadError> {
        match Codec::of(&cid) {
            Some(Codec::Raw) => Ok(Self::Raw(block)),
            Some(Codec::DagPb) => {
                let node = dag_pb::decode(block)
                    .map_err(|source| ReadError::DagPb { cid, source: Box::new(source) })?;
                let message = node.data.ok_or(ReadError::Malformed { cid, flaw: Flaw::NoData })?;
                let data = Data::decode(message)
                    .map_err(|source| ReadError::Unixfs { cid, source: Box::new(source) })?;
                Ok(Self::DagPb(DagPbNode { links: node.links, data }))
            }
            Some(Codec::DagCbor | Codec::DagJson) | None => {
                Err(ReadError::Codec { cid, codec: cid.codec() })
            }
        }
    }

    /// What the block is the root of.
    pub(super) fn kind(&self, cid: Cid) -> Result<EntryKind, ReadError> {
        match self {
            Self::Raw(_) => Ok(EntryKind::File),
            Self::DagPb(node) => match node.data.data_type {
                DataType::File | DataType::Raw => Ok(EntryKind::File),
                DataType::Directory | DataType::HamtShard => Ok(EntryKind::Directory),
                DataType::Symlink => Ok(EntryKind::Symlink),
                DataType::Metadata => Err(ReadError::Malformed { cid, flaw: Flaw::WrongType }),
            },
        }
    }
}

impl DagPbNode<'_> {
    /// Bytes of file content from here down, by this node's own account.
    pub(super) fn content_len_bytes(&self, cid: Cid) -> Result<u64, ReadError> {
        let own = self.data.data.map_or(0, <[u8]>::len) as u64;
        let sum = self.data.blocksizes.iter().try_fold(own, |sum, size| sum.checked_add(*size));
        let actual_bytes = sum.ok_or(ReadError::Malformed { cid, flaw: Flaw::Overflow })?;
        match self.data.filesize {
            Some(declared_bytes) if declared_bytes != actual_bytes => {
                Err(ReadError::SizeMismatch { cid, declared_bytes, actual_bytes })
            }
            _ => Ok(actual_bytes),
        }
    }
}

/// Checks the name of an entry: it must not mislead who writes it to a disk.
pub(super) fn entry_name(cid: Cid, name: &[u8]) -> Result<&str, ReadError> {
    let malformed = |flaw| ReadError::Malformed { cid, flaw };
    let impossible =
        matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if impossible {
        return Err(malformed(Flaw::Name));
    }
    str::from_utf8(name).map_err(|_| malformed(Flaw::NameNotUtf8))
}
