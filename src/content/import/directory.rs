//! Closing a directory: one block while it is small, a HAMT when it is not.

use std::collections::BTreeMap;

use super::emit::Emitter;
use super::{Child, EntryKind, ImportError};
use crate::cid::{Codec, Version, cid_of_digest};
use crate::dag_pb::{self, PbLink, link_field_len};
use crate::hamt::{Bitmap, Width, murmur3_x64_64};
use crate::profile::{DirectorySize, ImportParams};
use crate::protobuf::bytes_field_len;
use crate::unixfs::{Data, DataType, HAMT_HASH_MURMUR3};

/// What a directory's link needs of an entry, packed: a directory can have millions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    digest: [u8; 32],
    tsize: u64,
    codec: Codec,
    pub(super) is_directory: bool,
}

impl Entry {
    pub(super) fn new(child: &Child, kind: EntryKind) -> Self {
        let digest = child.cid.hash().digest().try_into();
        Self {
            digest: digest.expect("an import hashes everything with SHA2-256"),
            tsize: child.tsize,
            codec: Codec::of(&child.cid).expect("an import makes raw and dag-pb blocks only"),
            is_directory: kind == EntryKind::Directory,
        }
    }

    fn link<'a>(&self, name: &'a [u8], version: Version) -> PbLink<'a> {
        let cid = cid_of_digest(version, self.codec, &self.digest);
        PbLink { cid, name: Some(name), tsize: Some(self.tsize) }
    }
}

/// The entries of a directory, in the order of their names' bytes, which is that of its links.
pub(super) type Entries = BTreeMap<Box<str>, Entry>;

/// Makes the blocks of a directory and gives its root.
pub(super) fn close(
    entries: &Entries,
    path: &str,
    params: &ImportParams,
    out: &mut Emitter<'_>,
) -> Result<Child, ImportError> {
    let message = Data::new(DataType::Directory);
    let version = params.cid_version;
    let links = || entries.iter().map(|(name, entry)| entry.link(name.as_bytes(), version));
    let size = match params.directory_size {
        DirectorySize::LinksBytes => {
            links().map(|link| link.name.map_or(0, <[u8]>::len) + link.cid.encoded_len()).sum()
        }
        DirectorySize::BlockBytes => {
            let payload = bytes_field_len(message.encoded_len());
            links().map(|link| link_field_len(&link)).sum::<usize>() + payload
        }
    };
    if size > params.directory_limit_bytes {
        return HamtWriter::new(params, path, out).write(entries);
    }
    node(&links().collect::<Vec<_>>(), &message, out)
}

fn node(
    links: &[PbLink<'_>],
    message: &Data<'_>,
    out: &mut Emitter<'_>,
) -> Result<Child, ImportError> {
    let block = dag_pb::encode(links, Some(&message.encode()));
    let below: u64 = links.iter().filter_map(|link| link.tsize).sum();
    let tsize = below + block.len() as u64;
    Ok(Child { cid: out.node(block)?, tsize, content_len_bytes: 0 })
}

/// Writes a whole HAMT at once. Sorted by hash, the entries of every shard are one run, so the work is
/// that of one sort.
struct HamtWriter<'a, 's> {
    width: Width,
    version: Version,
    path: &'a str,
    out: &'a mut Emitter<'s>,
}

/// An entry with the hash of its name.
struct Hashed<'a> {
    hash: u64,
    name: &'a str,
    entry: &'a Entry,
}

impl<'a, 's> HamtWriter<'a, 's> {
    fn new(params: &ImportParams, path: &'a str, out: &'a mut Emitter<'s>) -> Self {
        let width = Width::from_fanout(params.hamt_fanout)
            .expect("parameters are validated before an import starts");
        Self { width, version: params.cid_version, path, out }
    }

    fn write(mut self, entries: &Entries) -> Result<Child, ImportError> {
        let hashed = entries.iter().map(|(name, entry)| Hashed {
            hash: murmur3_x64_64(name.as_bytes()),
            name,
            entry,
        });
        let mut sorted: Vec<_> = hashed.collect();
        sorted.sort_unstable_by_key(|entry| entry.hash);
        self.shard(&sorted, 0)
    }

    /// Writes the shard that holds `run`. Recursion ends when the hash is used up: at most 21 levels.
    fn shard(&mut self, run: &[Hashed<'_>], level: u32) -> Result<Child, ImportError> {
        if level == self.width.levels() {
            let path = self.path.to_owned();
            let name = run.first().map_or_else(String::new, |entry| entry.name.to_owned());
            return Err(ImportError::HashCollision { path, name });
        }
        let width = self.width;
        let mut bitmap = Bitmap::empty(width);
        let mut named = Vec::new();
        let bucket_of = |entry: &Hashed<'_>| width.bucket(entry.hash, level);
        for bucket in run.chunk_by(|a, b| bucket_of(a) == bucket_of(b)) {
            let Some(first) = bucket.first() else { continue };
            let number = bucket_of(first);
            bitmap.set(number);
            named.push(match bucket {
                [only] => (width.link_name(number, only.name), *only.entry),
                _ => {
                    let shard = self.shard(bucket, level + 1)?;
                    (width.link_name(number, ""), Entry::new(&shard, EntryKind::Directory))
                }
            });
        }
        let message = Data {
            data: Some(bitmap.encoded()),
            hash_type: Some(HAMT_HASH_MURMUR3),
            fanout: Some(width.fanout() as u64),
            ..Data::new(DataType::HamtShard)
        };
        let version = self.version;
        let links: Vec<_> =
            named.iter().map(|(name, entry)| entry.link(name.as_bytes(), version)).collect();
        node(&links, &message, self.out)
    }
}
