//! One shard of a HAMT directory, checked.

use super::node::{DagPbNode, entry_name};
use super::{Flaw, ReadError};
use crate::cid::Cid;
use crate::hamt::{Bitmap, Width, murmur3_x64_64};
use crate::unixfs::{DataType, HAMT_HASH_MURMUR3};

/// Where a shard stands in its HAMT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) width: Width,
    /// Levels above it.
    pub(super) level: u32,
    /// The bits of the hash that lead to it.
    pub(super) prefix: u64,
}

impl Place {
    /// The place of the shard in `bucket`.
    const fn below(self, bucket: usize) -> Self {
        let prefix = self.width.extend(self.prefix, bucket);
        Self { width: self.width, level: self.level + 1, prefix }
    }
}

/// A link of a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardLink<'a> {
    pub(super) bucket: usize,
    pub(super) cid: Cid,
    pub(super) tsize: Option<u64>,
    pub(super) target: Target<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    Entry(&'a str),
    Shard(Place),
}

/// A decoded shard: its links by rising bucket.
#[derive(Debug)]
pub(super) struct Shard<'a> {
    place: Place,
    pub(super) links: Vec<ShardLink<'a>>,
}

impl<'a> Shard<'a> {
    /// Checks a node as a shard at `expected`, or as the root of a HAMT.
    pub(super) fn decode(
        cid: Cid,
        node: &DagPbNode<'a>,
        expected: Option<Place>,
    ) -> Result<Self, ReadError> {
        let malformed = |flaw| ReadError::Malformed { cid, flaw };
        if node.data.data_type != DataType::HamtShard {
            return Err(malformed(Flaw::WrongType));
        }
        let width = node.data.fanout.and_then(Width::from_fanout);
        let width = width.ok_or(malformed(Flaw::ShardParams))?;
        let place = expected.unwrap_or(Place { width, level: 0, prefix: 0 });
        if place.width != width || node.data.hash_type != Some(HAMT_HASH_MURMUR3) {
            return Err(malformed(Flaw::ShardParams));
        }
        // With this rule every path ends in an entry, which fits one place only: a small hostile HAMT
        // cannot unfold into a huge one.
        if node.links.is_empty() && place.level > 0 {
            return Err(malformed(Flaw::ShardEmpty));
        }
        let stated = Bitmap::decode(width, node.data.data.unwrap_or_default());
        let mut found = Bitmap::empty(width);
        let mut links: Vec<ShardLink<'a>> = Vec::with_capacity(node.links.len());
        for link in &node.links {
            let (bucket, name) = width
                .split_name(link.name.unwrap_or_default())
                .ok_or(malformed(Flaw::ShardLinks))?;
            if links.last().is_some_and(|last| last.bucket >= bucket) {
                return Err(malformed(Flaw::ShardLinks));
            }
            found.set(bucket);
            let target = if name.is_empty() {
                let below = place.below(bucket);
                if below.level == width.levels() {
                    return Err(malformed(Flaw::ShardTooDeep));
                }
                Target::Shard(below)
            } else {
                Target::Entry(entry_name(cid, name)?)
            };
            links.push(ShardLink { bucket, cid: link.cid, tsize: link.tsize, target });
        }
        if stated != Some(found) {
            return Err(malformed(Flaw::ShardLinks));
        }
        Ok(Self { place, links })
    }

    /// Checks that a lookup of `name` would lead to this shard's `bucket`.
    pub(super) fn check_place(&self, cid: Cid, bucket: usize, name: &str) -> Result<(), ReadError> {
        let Place { width, level, prefix } = self.place;
        let hash = murmur3_x64_64(name.as_bytes());
        if width.prefix(hash, level + 1) == width.extend(prefix, bucket) {
            return Ok(());
        }
        Err(ReadError::Malformed { cid, flaw: Flaw::ShardPlace })
    }

    /// The link to follow for `name`.
    pub(super) fn find(&self, name: &str) -> Option<&ShardLink<'a>> {
        let Place { width, level, .. } = self.place;
        let bucket = width.bucket(murmur3_x64_64(name.as_bytes()), level);
        let index = self.links.binary_search_by_key(&bucket, |link| link.bucket).ok()?;
        self.links.get(index)
    }
}
