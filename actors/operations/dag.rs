//! Values in DAGs: reading them by path, storing them as blocks.

use bytes::Bytes;
use ipfs_kit_content::cid::{Codec, Hash, hashed_cid};
use ipfs_kit_content::dag_pb::links;
use ipfs_kit_content::ipld::{self, Found, Ipld, IpldError};
use ipfs_kit_content::limits::{MAX_BLOCK_LEN_BYTES, MAX_RESOLVE_DEPTH};
use ipfs_kit_content::read::{ReadError, Resolver};
use ipfs_kit_content::walk::{DagWalk, LeafMemory};
use ipfs_kit_core::ops::{CidRequest, DagFigures};
use ipfs_kit_core::pin::ContentKind;
use ipfs_kit_store::blocks::VerifiedBlock;
use tokio::sync::mpsc;

use super::adding::Wish;
use super::cars::{put_failure, stopping};
use super::content::{read_failure, split_path};
use super::own_pins::{first_absent, walk_failure};
use super::{Hint, Operations, failure};
use crate::api::{Ack, Failure, Put, PutOptions};
use crate::causes::with_causes;
use crate::ipfs::FindError;
use crate::ipfs::read::{Blocks, Error};
use crate::ports::{WorkLane, work};

/// Blocks that a walk asks for at once.
const LOOK_AHEAD: usize = 16;
/// Leaves that a walk remembers; beyond it a leaf that is linked often is counted often.
const LEAVES: LeafMemory = LeafMemory::First(1_000_000);

impl Operations {
    /// The value at a path; see [`crate::api::Dag::value`].
    pub async fn value(&self, path: &str, codec: &str) -> Result<Bytes, Failure> {
        let codec = codec_by_name(codec)?;
        let (root, rest) = split_path(path)?;
        let names: Vec<String> =
            rest.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.len() > MAX_RESOLVE_DEPTH {
            let error = ReadError::PathTooDeep { depth: names.len() };
            return Err(read_failure(&Error::Content(error)));
        }
        let blocks = self.blocks_of(root.clone()).await;
        let value = find_value(&blocks, root.to_cid(), &names).await?;
        ipld::encode(codec, &value).map(Bytes::from).map_err(|error| ipld_failure(&error))
    }

    /// Stores a block; see [`crate::api::Dag::put`].
    pub async fn put(&self, data: Bytes, options: PutOptions) -> Result<Put, Failure> {
        let codec = codec_by_name(&options.codec)?;
        let hash = Hash::from_name(&options.hash).ok_or_else(|| {
            failure("E_USAGE", format!("there is no hash function {:?}", options.hash))
                .hint("sha2-256, sha2-512 and blake3 are known")
        })?;
        if data.len() > MAX_BLOCK_LEN_BYTES {
            let error = IpldError::TooLarge { len_bytes: data.len() };
            return Err(ipld_failure(&error));
        }
        let block = match &options.input_codec {
            None => data,
            Some(input) => {
                let value = ipld::decode(codec_by_name(input)?, &data);
                let value = value.map_err(|error| ipld_failure(&error))?;
                ipld::encode(codec, &value).map_err(|error| ipld_failure(&error))?.into()
            }
        };
        let cid = hashed_cid(codec, hash, &block);
        // A block that is not of its codec could neither be read nor copied.
        links(&cid, &block).map_err(|error| wrong_codec(&with_causes(&error)))?;
        // No collection begins until it is pinned.
        let flight = self.parts.flights.begin();
        let size_bytes = block.len() as u64;
        let (blocks, verified) =
            (self.parts.blocks.clone(), VerifiedBlock::already_checked(cid, block));
        let job = move || {
            blocks.put_verified(&[verified])?;
            blocks.sync()
        };
        let stored = work(&*self.parts.executor, WorkLane::Bulk, job).await;
        stored.map_err(|_| stopping())?.map_err(|error| put_failure(&error))?;
        if options.pin {
            let blocks = self.parts.blocks.clone();
            let job = move || first_absent(&blocks, cid);
            let looked = work(&*self.parts.executor, WorkLane::Bulk, job).await;
            if let Some(absent) = looked.map_err(|_| stopping())?? {
                let message = format!("{absent}, a block below {cid}, is missing");
                return Err(failure("E_INCOMPLETE", message)
                    .hint("it is stored, but not pinned; put what it links to first"));
            }
            let wish = Wish {
                cid: cid.into(),
                name: String::new(),
                size_bytes: None,
                kind: ContentKind::Unknown,
                replicas_min: None,
                replicas_max: None,
                expires_in_ms: None,
            };
            let (events, _nobody_listens) = mpsc::channel(1);
            self.keep(vec![wish], Ack::Replicated, flight, &events).await?;
        }
        Ok(Put { cid: cid.into(), size_bytes, pinned: options.pin })
    }

    pub(super) async fn dag_stat(&self, request: CidRequest) -> Result<DagFigures, Failure> {
        let root = request.cid.to_cid();
        let blocks = self.blocks_of(request.cid.clone()).await;
        let mut walk = DagWalk::new([root], LEAVES).map_err(|error| walk_failure(&error))?;
        let mut size_bytes = 0;
        loop {
            let mut wanted = walk.next(LOOK_AHEAD);
            if wanted.is_empty() {
                let totals = walk.totals();
                let blocks = totals.nodes + totals.leaves;
                return Ok(DagFigures { cid: request.cid, blocks, size_bytes });
            }
            // Of a leaf that is here only the size is needed.
            for cid in wanted.clone() {
                if Codec::of(&cid) == Some(Codec::Raw)
                    && let Some(len_bytes) = self.parts.blocks.size(cid)
                {
                    size_bytes += len_bytes;
                    walk.visited(&cid, None).map_err(|error| walk_failure(&error))?;
                    wanted.retain(|other| *other != cid);
                }
            }
            while !wanted.is_empty() {
                let found = blocks.find(wanted.clone()).await.map_err(|e| read_failure(&e))?;
                for (cid, block) in found {
                    size_bytes += block.len() as u64;
                    walk.visited(&cid, Some(&block)).map_err(|error| walk_failure(&error))?;
                    wanted.retain(|other| *other != cid);
                }
            }
        }
    }
}

async fn find_value(blocks: &Blocks, root: cid::Cid, names: &[String]) -> Result<Ipld, Failure> {
    let (mut cid, mut names) = (root, names);
    let mut followed_links = 0;
    loop {
        if Codec::of(&cid) == Some(Codec::DagPb)
            && let Some((name, rest)) = names.split_first()
        {
            let mut resolver =
                Resolver::new(cid, name).map_err(|error| read_failure(&Error::Content(error)))?;
            let entry = blocks.next(&mut resolver).await.map_err(|error| read_failure(&error))?;
            let entry = entry.ok_or_else(|| nothing(cid, name))?;
            (cid, names) = (entry.cid, rest);
            continue;
        }
        let value = decode(blocks, cid).await?;
        let link = match ipld::follow(&value, names) {
            // A path that ends at a link means what it links to; the root itself is no such path.
            Found::Value(Ipld::Link(link)) if !names.is_empty() => (*link, names.len()),
            Found::Value(found) => return Ok(found.clone()),
            Found::Link { cid, followed } => (cid, followed),
            Found::Nothing { followed } => return Err(nothing(cid, &names[..followed].join("/"))),
        };
        // Links inside their own CIDs could go on without using up names.
        followed_links += 1;
        if followed_links > MAX_RESOLVE_DEPTH {
            let error = ReadError::PathTooDeep { depth: followed_links };
            return Err(read_failure(&Error::Content(error)));
        }
        (cid, names) = (link.0, &names[link.1..]);
    }
}

async fn decode(blocks: &Blocks, cid: cid::Cid) -> Result<Ipld, Failure> {
    let Some(codec) = Codec::of(&cid) else {
        let message = format!("codec 0x{:x} of {cid} is not known", cid.codec());
        return Err(failure("E_CODEC", message).hint(KNOWN_CODECS));
    };
    let found = blocks.find(vec![cid]).await.map_err(|error| read_failure(&error))?;
    let found = found.into_iter().find(|(found, _)| *found == cid);
    let absent = || read_failure(&Error::Find(FindError::not_here(cid)));
    let (_, block) = found.ok_or_else(absent)?;
    ipld::decode(codec, &block).map_err(|error| ipld_failure(&error))
}

fn wrong_codec(message: &str) -> Failure {
    failure("E_CODEC", message.into())
        .hint("name the codec that the data really has; raw takes everything")
}

const KNOWN_CODECS: &str = "raw, dag-pb, dag-cbor and dag-json are known";

fn nothing(cid: cid::Cid, path: &str) -> Failure {
    failure("E_NOT_FOUND", format!("there is no {path} in {cid}"))
        .hint(&format!("ipfs-kit dag get {cid} shows what is there"))
}

fn codec_by_name(name: &str) -> Result<Codec, Failure> {
    Codec::from_name(name)
        .ok_or_else(|| failure("E_CODEC", format!("there is no codec {name:?}")).hint(KNOWN_CODECS))
}

fn ipld_failure(error: &IpldError) -> Failure {
    let message = with_causes(error);
    match error {
        IpldError::TooLarge { .. } | IpldError::TooManyValues { .. } => {
            failure("E_TOO_LARGE", message).hint("larger data is split: ipfs-kit add")
        }
        IpldError::Encode { .. } => failure("E_CODEC", message)
            .hint("dag-cbor and dag-json have a form for every value, dag-pb and raw do not"),
        IpldError::Decode { .. } | IpldError::DagPb { .. } => failure("E_CODEC", message)
            .hint("name the codec that the data really has, or mend the data"),
    }
}
