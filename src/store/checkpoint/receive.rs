//! Receiving a checkpoint from a peer, chunk by chunk, over restarts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::manifest::{self, MAGIC};
use super::{
    CHUNK_BYTES, CheckpointError, Checkpoints, ChunkHashes, DATA_SUFFIX, MAX_MANIFEST_BYTES,
    Manifest,
};
use crate::disk::{DiskFile, Io, Open, join};
use crate::files::{read_record, write_record};

const PARTIAL_DATA: &str = "receiving.part";
const PARTIAL_MANIFEST: &str = "receiving.manifest";

impl Checkpoints {
    /// Starts, or continues after an interruption, receiving what `manifest` describes. The partial
    /// data of another transfer is dropped.
    ///
    /// # Errors
    /// [`CheckpointError::BadManifest`], [`CheckpointError::Busy`], or the disk's.
    pub fn receive(
        &self,
        manifest: Manifest,
        hashes: ChunkHashes,
    ) -> Result<Receiving<'_>, CheckpointError> {
        manifest.check(&hashes)?;
        if self.receiving.swap(true, Ordering::AcqRel) {
            return Err(CheckpointError::Busy);
        }
        let guard = Guard { home: self };
        let data_path = join(&self.dir, PARTIAL_DATA);
        let manifest_path = join(&self.dir, PARTIAL_MANIFEST);
        let (version, payload) = manifest::encode(&manifest, &hashes);
        let same = matches!(
            read_record(&*self.disk, &manifest_path, MAGIC, MAX_MANIFEST_BYTES),
            Ok(Some(record)) if record.payload == payload
        );
        let resumed = if same {
            match self.disk.open(&data_path, Open::Write, Io::Buffered) {
                Ok(file) => Some(file),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        let file = match resumed {
            Some(file) => file,
            None => {
                let file = self.disk.open(&data_path, Open::Create, Io::Buffered)?;
                write_record(&*self.disk, &manifest_path, MAGIC, version, &payload)?;
                file
            }
        };
        let mut receiving = Receiving { guard, manifest, hashes, file, next: 0 };
        receiving.skip_what_is_right()?;
        Ok(receiving)
    }
}

/// Frees the one place for a transfer.
#[derive(Debug)]
struct Guard<'a> {
    home: &'a Checkpoints,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.home.receiving.store(false, Ordering::Release);
    }
}

/// A transfer in progress. Dropping it keeps what has arrived, for a later continuation.
#[derive(Debug)]
pub struct Receiving<'a> {
    guard: Guard<'a>,
    manifest: Manifest,
    hashes: ChunkHashes,
    file: Arc<dyn DiskFile>,
    next: u32,
}

impl Receiving<'_> {
    /// What is being received.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The chunk to ask for next, or `None` when all have arrived.
    #[must_use]
    pub fn next_chunk(&self) -> Option<u32> {
        (self.next < self.manifest.chunks()).then_some(self.next)
    }

    /// Takes a chunk after checking it against its hash.
    ///
    /// # Errors
    /// [`CheckpointError::BadChunk`] (the sender lies or its disk does; ask another),
    /// [`CheckpointError::OutOfOrder`], or the disk's.
    pub fn write_chunk(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), CheckpointError> {
        if chunk != self.next {
            return Err(CheckpointError::OutOfOrder { expected: self.next, got: chunk });
        }
        let fits = self.manifest.chunk_len(chunk) == Some(bytes.len());
        if !fits || !self.hashes.matches(chunk, bytes) {
            let applied_index = self.manifest.applied_index;
            return Err(CheckpointError::BadChunk { applied_index, chunk });
        }
        self.file.write_at(u64::from(chunk) * CHUNK_BYTES as u64, bytes)?;
        self.next += 1;
        Ok(())
    }

    /// Reads everything back, checks it and installs it as a checkpoint, durably.
    ///
    /// # Errors
    /// [`CheckpointError::Incomplete`]; [`CheckpointError::BadChunk`] when the disk gave other bytes
    /// than it took (receive again); or the disk's.
    pub fn finish(self) -> Result<Manifest, CheckpointError> {
        if let Some(expected) = self.next_chunk() {
            return Err(CheckpointError::Incomplete { expected });
        }
        self.file.set_len(self.manifest.len_bytes)?;
        self.file.sync()?;
        let mut check = Receiving { next: 0, ..self };
        check.skip_what_is_right()?;
        if let Some(chunk) = check.next_chunk() {
            let applied_index = check.manifest.applied_index;
            return Err(CheckpointError::BadChunk { applied_index, chunk });
        }
        let home = check.guard.home;
        let sequence = home.take_sequence();
        home.disk.rename(&join(&home.dir, PARTIAL_DATA), &home.path(sequence, DATA_SUFFIX))?;
        let installed = home.install(sequence, check.manifest, &check.hashes)?;
        home.disk.remove(&join(&home.dir, PARTIAL_MANIFEST))?;
        Ok(installed)
    }

    /// Moves on to the first chunk that is absent or differs: what an earlier process wrote without
    /// a sync counts only where its hash says so.
    fn skip_what_is_right(&mut self) -> Result<(), CheckpointError> {
        let mut bytes = vec![0; CHUNK_BYTES];
        while let Some(len) = self.manifest.chunk_len(self.next) {
            let at = u64::from(self.next) * CHUNK_BYTES as u64;
            let n = self.file.read_at(at, &mut bytes[..len])?;
            if n != len || !self.hashes.matches(self.next, &bytes[..len]) {
                break;
            }
            self.next += 1;
        }
        Ok(())
    }
}
