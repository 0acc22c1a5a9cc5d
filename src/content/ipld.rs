//! dag-cbor and dag-json: blocks as values of the IPLD data model, and the links in them.
//!
//! Both codecs are libraries; this module bounds them. A block is scanned once before anything is built
//! from it: that counts its values, takes its links, and refuses what the libraries let pass. dag-cbor
//! is strict as its [specification](https://ipld.io/specs/codecs/dag-cbor/spec/): sorted keys, shortest
//! numbers, no other tag than 42. dag-json may have any order of keys and any white space, but no key
//! twice.

use std::collections::BTreeMap;

pub use ipld_core::ipld::Ipld;

use crate::cid::{Cid, Codec};
use crate::dag_pb::{self, DagPbError, PbLink};
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_IPLD_VALUES};

use self::scan::Scan;

mod scan;
#[cfg(test)]
mod tests;

/// Why bytes and values do not translate into each other. Retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum IpldError {
    /// The block is larger than any block may be.
    #[error("block has {len_bytes} bytes, more than the limit of {MAX_BLOCK_LEN_BYTES}")]
    TooLarge {
        /// The length of the block.
        len_bytes: usize,
    },
    /// The block has more values than are built in memory. Its links can still be read.
    #[error("block has {values} values, more than the limit of {MAX_IPLD_VALUES}")]
    TooManyValues {
        /// How many it has.
        values: usize,
    },
    /// The bytes are not of the codec.
    #[error("block is no {}: {reason}", codec.name())]
    Decode {
        /// The codec.
        codec: Codec,
        /// What is wrong with them.
        reason: String,
    },
    /// The bytes are no dag-pb node.
    #[error("block is no dag-pb node")]
    DagPb {
        /// What is wrong with them.
        #[from]
        source: DagPbError,
    },
    /// The codec has no form for the value.
    #[error("value can't be written as {}: {reason}", codec.name())]
    Encode {
        /// The codec.
        codec: Codec,
        /// Which value, and why.
        reason: String,
    },
}

/// The links of a dag-cbor or dag-json block, in its order, with repetitions.
pub(crate) fn links(codec: Codec, block: &[u8]) -> Result<Vec<Cid>, IpldError> {
    scan(codec, block).map(|scan| scan.links)
}

/// What a block means.
///
/// # Errors
/// See [`IpldError`].
pub fn decode(codec: Codec, block: &[u8]) -> Result<Ipld, IpldError> {
    match codec {
        Codec::Raw => {
            check_len(block)?;
            Ok(Ipld::Bytes(block.to_vec()))
        }
        Codec::DagPb => dag_pb_to_value(block),
        Codec::DagCbor | Codec::DagJson => {
            let values = scan(codec, block)?.values;
            if values > MAX_IPLD_VALUES {
                return Err(IpldError::TooManyValues { values });
            }
            match codec {
                Codec::DagCbor => serde_ipld_dagcbor::from_slice(block).map_err(|e| e.to_string()),
                _ => serde_ipld_dagjson::from_slice(block).map_err(|e| e.to_string()),
            }
            .map_err(|reason| IpldError::Decode { codec, reason })
        }
    }
}

/// The block of a value, in the codec's canonical form.
///
/// # Errors
/// See [`IpldError`].
pub fn encode(codec: Codec, value: &Ipld) -> Result<Vec<u8>, IpldError> {
    let failed = |reason: String| IpldError::Encode { codec, reason };
    let block = match (codec, value) {
        (Codec::Raw, Ipld::Bytes(bytes)) => bytes.clone(),
        (Codec::Raw, _) => return Err(failed("only bytes can".into())),
        (Codec::DagPb, _) => dag_pb_from_value(value)?,
        (Codec::DagCbor, _) => {
            serde_ipld_dagcbor::to_vec(value).map_err(|error| failed(error.to_string()))?
        }
        (Codec::DagJson, _) if has_slash_key(value) => {
            return Err(failed("the key \"/\" is only for links and bytes".into()));
        }
        (Codec::DagJson, _) => {
            serde_ipld_dagjson::to_vec(value).map_err(|error| failed(error.to_string()))?
        }
    };
    check_len(&block)?;
    Ok(block)
}

/// Where a path inside one value ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    /// The path is used up.
    Value(&'a Ipld),
    /// A link, with how many names were followed to it. The rest goes on in that block.
    Link {
        /// The linked block.
        cid: Cid,
        /// Names used up.
        followed: usize,
    },
    /// Nothing is there under that many names.
    Nothing {
        /// Names up to and with the one that leads nowhere.
        followed: usize,
    },
}

/// Follows names into a value: keys of maps, positions in lists. A link at the very end is a value.
pub fn follow<'a>(value: &'a Ipld, names: &[String]) -> Found<'a> {
    let mut here = value;
    for (at, name) in names.iter().enumerate() {
        let next = match here {
            Ipld::Map(map) => map.get(name),
            Ipld::List(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
            Ipld::Link(cid) => return Found::Link { cid: *cid, followed: at },
            _ => None,
        };
        let Some(next) = next else { return Found::Nothing { followed: at + 1 } };
        here = next;
    }
    Found::Value(here)
}

/// In dag-json a map with this key is a link or bytes
/// ([reserved namespace](https://ipld.io/specs/codecs/dag-json/spec/)).
fn has_slash_key(value: &Ipld) -> bool {
    match value {
        Ipld::Map(map) => map.iter().any(|(key, value)| key == "/" || has_slash_key(value)),
        Ipld::List(list) => list.iter().any(has_slash_key),
        _ => false,
    }
}

fn check_len(block: &[u8]) -> Result<(), IpldError> {
    if block.len() > MAX_BLOCK_LEN_BYTES {
        return Err(IpldError::TooLarge { len_bytes: block.len() });
    }
    Ok(())
}

fn scan(codec: Codec, block: &[u8]) -> Result<Scan, IpldError> {
    check_len(block)?;
    let scanned = match codec {
        Codec::DagCbor => scan::dag_cbor(block),
        Codec::DagJson => scan::dag_json(block),
        Codec::Raw | Codec::DagPb => Err("it has another codec".to_owned()),
    };
    scanned.map_err(|reason| IpldError::Decode { codec, reason })
}

/// The data model's form of dag-pb: `{"Data": bytes?, "Links": [{"Hash", "Name"?, "Tsize"?}]}`.
fn dag_pb_to_value(block: &[u8]) -> Result<Ipld, IpldError> {
    let node = dag_pb::decode(block)?;
    let mut links = Vec::with_capacity(node.links.len());
    for (index, link) in node.links.iter().enumerate() {
        let mut map = BTreeMap::from([("Hash".to_owned(), Ipld::Link(link.cid))]);
        if let Some(name) = link.name {
            let name = std::str::from_utf8(name).map_err(|_| IpldError::Decode {
                codec: Codec::DagPb,
                reason: format!("the name of link {index} is not UTF-8"),
            })?;
            map.insert("Name".into(), Ipld::String(name.to_owned()));
        }
        if let Some(tsize) = link.tsize {
            map.insert("Tsize".into(), Ipld::Integer(tsize.into()));
        }
        links.push(Ipld::Map(map));
    }
    let mut map = BTreeMap::from([("Links".to_owned(), Ipld::List(links))]);
    if let Some(data) = node.data {
        map.insert("Data".into(), Ipld::Bytes(data.to_vec()));
    }
    Ok(Ipld::Map(map))
}

fn dag_pb_from_value(value: &Ipld) -> Result<Vec<u8>, IpldError> {
    let failed = |reason: &str| IpldError::Encode { codec: Codec::DagPb, reason: reason.into() };
    let Ipld::Map(map) = value else { return Err(failed("a node is a map")) };
    if map.keys().any(|key| key != "Data" && key != "Links") {
        return Err(failed("a node has Data and Links and nothing else"));
    }
    let data = match map.get("Data") {
        None => None,
        Some(Ipld::Bytes(bytes)) => Some(bytes.as_slice()),
        Some(_) => return Err(failed("Data is not bytes")),
    };
    let Some(Ipld::List(list)) = map.get("Links") else {
        return Err(failed("Links is not a list"));
    };
    let links = list.iter().map(pb_link).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(dag_pb::encode(&links, data))
}

fn pb_link(value: &Ipld) -> Result<PbLink<'_>, &'static str> {
    let Ipld::Map(map) = value else { return Err("a link is a map") };
    if map.keys().any(|key| !matches!(key.as_str(), "Hash" | "Name" | "Tsize")) {
        return Err("a link has Hash, Name and Tsize and nothing else");
    }
    let Some(Ipld::Link(cid)) = map.get("Hash") else {
        return Err("the Hash of a link is no link");
    };
    let name = match map.get("Name") {
        None => None,
        Some(Ipld::String(name)) => Some(name.as_bytes()),
        Some(_) => return Err("the Name of a link is no string"),
    };
    let tsize = match map.get("Tsize") {
        None => None,
        Some(Ipld::Integer(tsize)) => {
            Some(u64::try_from(*tsize).map_err(|_| "the Tsize of a link is out of range")?)
        }
        Some(_) => return Err("the Tsize of a link is no number"),
    };
    Ok(PbLink { cid: *cid, name, tsize })
}
