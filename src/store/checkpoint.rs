//! Checkpoints of the applied state, kept whole or not at all, and moved between nodes in chunks.
//!
//! A checkpoint is a data file and a manifest. The manifest is written last and atomically; without
//! it the data file is litter. It holds a BLAKE3 hash of every chunk and a root over all of it, so
//! that a receiver checks each chunk as it arrives, knows which peer sent a bad one, and continues
//! an interrupted transfer from the chunks that are already right. The last two are kept: the older
//! is what a node falls back to when the newer one has decayed, so compact the log up to that one only.

mod manifest;
mod receive;
mod save;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::disk::{Disk, DiskError, DiskFile, Io, Open, create_dir_durable, join};
use crate::files::{FileError, TEMPORARY, read_record};
pub use manifest::{CHUNK_BYTES, ChunkHashes, MAX_CONF_STATE_BYTES, MAX_STATE_BYTES, Manifest};
use manifest::{MAGIC, MAX_MANIFEST_BYTES};
pub use receive::Receiving;
pub use save::CheckpointWriter;

/// How many checkpoints are kept.
const KEPT: usize = 2;

/// A checkpoint can't be written, read or received.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A chunk's bytes differ from its hash. On receiving: nothing was kept, ask another peer. On
    /// reading: the file has decayed; use an older checkpoint or a peer's.
    #[error("chunk {chunk} of the checkpoint at entry {applied_index} differs from its hash")]
    BadChunk {
        /// The state's applied index.
        applied_index: u64,
        /// Number of the chunk.
        chunk: u32,
    },
    /// The chunk hashes, the lengths or the root of a manifest contradict each other. Nothing was
    /// changed; ask another peer.
    #[error("the checkpoint's manifest is invalid: {what}")]
    BadManifest {
        /// What contradicts.
        what: &'static str,
    },
    /// Chunks must arrive in order; nothing was changed; continue at `expected`.
    #[error("chunk {got} arrived where chunk {expected} is next")]
    OutOfOrder {
        /// The chunk that is next.
        expected: u32,
        /// The chunk that was given.
        got: u32,
    },
    /// Chunks are missing; nothing was changed; continue at `expected`.
    #[error("the transfer is incomplete: chunk {expected} is next")]
    Incomplete {
        /// The chunk that is next.
        expected: u32,
    },
    /// The state or its configuration is larger than allowed. The checkpoint was not made.
    #[error("the checkpoint is larger than the {max_bytes} bytes allowed")]
    TooLarge {
        /// The bound.
        max_bytes: u64,
    },
    /// Another transfer is being received. State is intact; retry when it has ended.
    #[error("another checkpoint is being received")]
    Busy,
    /// A file could not be read; see there.
    #[error(transparent)]
    File(#[from] FileError),
    /// The disk failed. Older checkpoints are intact.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the state is a checkpoint of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointMeta {
    /// Last log entry that is in the state.
    pub applied_index: u64,
    /// That entry's term.
    pub term: u64,
    /// The group's configuration at that entry, opaque.
    pub conf_state: Bytes,
}

/// A checkpoint that could not be used.
#[derive(Debug)]
pub struct Damaged {
    /// Name of the file.
    pub name: String,
    /// Why.
    pub error: CheckpointError,
}

/// The newest usable checkpoint, and what was skipped on the way to it.
#[derive(Debug)]
pub struct Loaded {
    /// `None` where there is none.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that have decayed.
    pub damaged: Vec<Damaged>,
}

#[derive(Debug, Clone)]
struct Kept {
    sequence: u64,
    manifest: Manifest,
}

#[derive(Debug, Default)]
struct Catalog {
    /// Oldest first.
    kept: Vec<Kept>,
    next_sequence: u64,
}

/// The checkpoints in one folder.
#[derive(Debug)]
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: String,
    catalog: Mutex<Catalog>,
    receiving: AtomicBool,
}

impl Checkpoints {
    /// Opens or creates the folder, removes what interrupted writes left, and names manifests that
    /// are unreadable (their files stay).
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: Arc<dyn Disk>, dir: &str) -> Result<(Self, Vec<Damaged>), CheckpointError> {
        create_dir_durable(&*disk, dir)?;
        let mut catalog = Catalog { kept: Vec::new(), next_sequence: 1 };
        let mut damaged = Vec::new();
        let names: Vec<_> = disk.list(dir)?.into_iter().map(|entry| entry.name).collect();
        for name in &names {
            let Some(sequence) = sequence_of(name, MANIFEST_SUFFIX) else { continue };
            catalog.next_sequence = catalog.next_sequence.max(sequence + 1);
            match read_manifest(&*disk, &join(dir, name)) {
                Ok((manifest, _)) => catalog.kept.push(Kept { sequence, manifest }),
                Err(CheckpointError::Disk(error)) => return Err(error.into()),
                Err(error) => damaged.push(Damaged { name: name.clone(), error }),
            }
        }
        catalog.kept.sort_by_key(|kept| (kept.manifest.applied_index, kept.sequence));
        for name in &names {
            let litter = match sequence_of(name, DATA_SUFFIX) {
                Some(sequence) => {
                    catalog.next_sequence = catalog.next_sequence.max(sequence + 1);
                    !names.contains(&format!("{sequence:016x}{MANIFEST_SUFFIX}"))
                }
                None => name.ends_with(TEMPORARY),
            };
            if litter {
                disk.remove(&join(dir, name))?;
            }
        }
        disk.sync_dir(dir)?;
        let dir = dir.to_owned();
        let receiving = AtomicBool::new(false);
        Ok((Self { disk, dir, catalog: Mutex::new(catalog), receiving }, damaged))
    }

    /// Manifests of what is kept, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Manifest> {
        self.catalog().kept.iter().map(|kept| kept.manifest.clone()).collect()
    }

    /// Opens one by its root, for sending it. It stays readable while it is open.
    ///
    /// # Errors
    /// The manifest or data file is unreadable.
    pub fn get(&self, root: &[u8; 32]) -> Result<Option<Checkpoint>, CheckpointError> {
        let found = self.catalog().kept.iter().find(|kept| kept.manifest.root == *root).cloned();
        found.map(|kept| self.open_kept(kept.sequence)).transpose()
    }

    /// The newest one whose every chunk is right.
    ///
    /// # Errors
    /// The disk's; decayed ones are skipped and named.
    pub fn load_newest(&self) -> Result<Loaded, CheckpointError> {
        let kept = self.catalog().kept.clone();
        let mut damaged = Vec::new();
        for Kept { sequence, .. } in kept.into_iter().rev() {
            let checked = self.open_kept(sequence).and_then(|checkpoint| {
                checkpoint.verify()?;
                Ok(checkpoint)
            });
            match checked {
                Ok(checkpoint) => return Ok(Loaded { checkpoint: Some(checkpoint), damaged }),
                Err(error) => damaged
                    .push(Damaged { name: format!("{sequence:016x}{MANIFEST_SUFFIX}"), error }),
            }
        }
        Ok(Loaded { checkpoint: None, damaged })
    }

    fn open_kept(&self, sequence: u64) -> Result<Checkpoint, CheckpointError> {
        let (manifest, hashes) = read_manifest(&*self.disk, &self.path(sequence, MANIFEST_SUFFIX))?;
        let file = self.disk.open(&self.path(sequence, DATA_SUFFIX), Open::Read, Io::Buffered)?;
        Ok(Checkpoint { manifest, hashes, file })
    }

    fn path(&self, sequence: u64, suffix: &str) -> String {
        join(&self.dir, &format!("{sequence:016x}{suffix}"))
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const DATA_SUFFIX: &str = ".data";
const MANIFEST_SUFFIX: &str = ".ckpt";

fn sequence_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn read_manifest(disk: &dyn Disk, path: &str) -> Result<(Manifest, ChunkHashes), CheckpointError> {
    let record = read_record(disk, path, MAGIC, MAX_MANIFEST_BYTES)?
        .ok_or(CheckpointError::BadManifest { what: "it is missing" })?;
    manifest::decode(&record)
}

/// One checkpoint, open for reading.
#[derive(Debug)]
pub struct Checkpoint {
    manifest: Manifest,
    hashes: ChunkHashes,
    file: Arc<dyn DiskFile>,
}

impl Checkpoint {
    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The hashes that a receiver needs beside the manifest.
    #[must_use]
    pub fn chunk_hashes(&self) -> &ChunkHashes {
        &self.hashes
    }

    /// Reads one chunk ([`CHUNK_BYTES`], the last one less) and checks it against its hash.
    ///
    /// # Errors
    /// [`CheckpointError::BadChunk`] for a decayed or absent chunk, or the disk's.
    pub fn read_chunk(&self, chunk: u32) -> Result<Bytes, CheckpointError> {
        let applied_index = self.manifest.applied_index;
        let bad = CheckpointError::BadChunk { applied_index, chunk };
        let Some(len) = self.manifest.chunk_len(chunk) else { return Err(bad) };
        let mut bytes = vec![0; len];
        let n = self.file.read_at(u64::from(chunk) * CHUNK_BYTES as u64, &mut bytes)?;
        if n != len || !self.hashes.matches(chunk, &bytes) {
            return Err(bad);
        }
        Ok(bytes.into())
    }

    /// The state as a stream of checked chunks.
    #[must_use]
    pub fn reader(&self) -> CheckpointReader<'_> {
        CheckpointReader { checkpoint: self, next: 0, current: Bytes::new() }
    }

    fn verify(&self) -> Result<(), CheckpointError> {
        (0..self.manifest.chunks()).try_for_each(|chunk| self.read_chunk(chunk).map(drop))
    }
}

/// Reads a checkpoint's state from start to end.
#[derive(Debug)]
pub struct CheckpointReader<'a> {
    checkpoint: &'a Checkpoint,
    next: u32,
    current: Bytes,
}

impl io::Read for CheckpointReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && self.next < self.checkpoint.manifest.chunks() {
            self.current = self.checkpoint.read_chunk(self.next).map_err(io::Error::other)?;
            self.next += 1;
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
