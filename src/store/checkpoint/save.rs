//! Writing a checkpoint of one's own state.

use std::io;
use std::sync::Arc;

use super::manifest::{self, MAGIC};
use super::{
    CHUNK_BYTES, CheckpointError, CheckpointMeta, Checkpoints, ChunkHashes, DATA_SUFFIX, KEPT,
    Kept, MANIFEST_SUFFIX, MAX_CONF_STATE_BYTES, MAX_STATE_BYTES, Manifest,
};
use crate::disk::{DiskFile, Io, Open};
use crate::files::write_record;

impl Checkpoints {
    /// Writes a whole state at once; durable on return.
    ///
    /// # Errors
    /// The disk's, or [`CheckpointError::TooLarge`]; older checkpoints are intact.
    pub fn save(&self, meta: CheckpointMeta, state: &[u8]) -> Result<Manifest, CheckpointError> {
        let mut writer = self.begin(meta)?;
        writer.push(state)?;
        writer.finish()
    }

    /// Starts a checkpoint whose state comes as a stream.
    ///
    /// # Errors
    /// As [`Checkpoints::save`].
    pub fn begin(&self, meta: CheckpointMeta) -> Result<CheckpointWriter<'_>, CheckpointError> {
        if meta.conf_state.len() > MAX_CONF_STATE_BYTES {
            return Err(CheckpointError::TooLarge { max_bytes: MAX_CONF_STATE_BYTES as u64 });
        }
        let sequence = self.take_sequence();
        let file = self.disk.open(&self.path(sequence, DATA_SUFFIX), Open::Create, Io::Buffered)?;
        Ok(CheckpointWriter {
            home: self,
            meta,
            sequence,
            file,
            hashes: ChunkHashes::default(),
            written_bytes: 0,
            chunk: Vec::new(),
            finished: false,
        })
    }

    pub(super) fn take_sequence(&self) -> u64 {
        let mut catalog = self.catalog();
        catalog.next_sequence += 1;
        catalog.next_sequence - 1
    }

    /// Makes the data file under `sequence`, which is synced, a checkpoint, and drops older ones.
    pub(super) fn install(
        &self,
        sequence: u64,
        manifest: Manifest,
        hashes: &ChunkHashes,
    ) -> Result<Manifest, CheckpointError> {
        // Before the manifest: one without its data would look like decay, and push out a good one.
        self.disk.sync_dir(&self.dir)?;
        let (version, payload) = manifest::encode(&manifest, hashes);
        let path = self.path(sequence, MANIFEST_SUFFIX);
        write_record(&*self.disk, &path, MAGIC, version, &payload)?;
        let dropped = {
            let mut catalog = self.catalog();
            catalog.kept.push(Kept { sequence, manifest: manifest.clone() });
            catalog.kept.sort_by_key(|kept| (kept.manifest.applied_index, kept.sequence));
            let surplus = catalog.kept.len().saturating_sub(KEPT);
            catalog.kept.drain(..surplus).collect::<Vec<_>>()
        };
        for Kept { sequence, .. } in dropped {
            // The manifest goes first: a data file without one is litter that opening removes.
            self.disk.remove(&self.path(sequence, MANIFEST_SUFFIX))?;
            self.disk.sync_dir(&self.dir)?;
            self.disk.remove(&self.path(sequence, DATA_SUFFIX))?;
        }
        Ok(manifest)
    }
}

/// Takes a state in pieces of any size. Without [`CheckpointWriter::finish`] nothing was written.
#[derive(Debug)]
pub struct CheckpointWriter<'a> {
    home: &'a Checkpoints,
    meta: CheckpointMeta,
    sequence: u64,
    file: Arc<dyn DiskFile>,
    hashes: ChunkHashes,
    written_bytes: u64,
    chunk: Vec<u8>,
    finished: bool,
}

impl CheckpointWriter<'_> {
    /// Takes the next piece of the state.
    ///
    /// # Errors
    /// The disk's or [`CheckpointError::TooLarge`]; drop the writer then.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), CheckpointError> {
        while !bytes.is_empty() {
            let n = bytes.len().min(CHUNK_BYTES - self.chunk.len());
            let (now, later) = bytes.split_at(n);
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        if self.written_bytes + self.chunk.len() as u64 > MAX_STATE_BYTES {
            return Err(CheckpointError::TooLarge { max_bytes: MAX_STATE_BYTES });
        }
        self.file.write_at(self.written_bytes, &self.chunk)?;
        self.hashes.push(&self.chunk);
        self.written_bytes += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    /// Makes the checkpoint durable and drops the oldest one.
    ///
    /// # Errors
    /// The disk's; older checkpoints are intact.
    pub fn finish(mut self) -> Result<Manifest, CheckpointError> {
        if !self.chunk.is_empty() {
            self.flush()?;
        }
        self.file.sync()?;
        let manifest = Manifest::new(&self.meta, self.written_bytes, &self.hashes);
        let installed = self.home.install(self.sequence, manifest, &self.hashes)?;
        self.finished = true;
        Ok(installed)
    }
}

impl io::Write for CheckpointWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.push(buf).map_err(io::Error::other)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for CheckpointWriter<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // After a failed `finish` the manifest may exist; then the next opening decides.
        let manifest = self.home.path(self.sequence, MANIFEST_SUFFIX);
        if self.home.disk.open(&manifest, Open::Read, Io::Buffered).is_ok() {
            return;
        }
        let path = self.home.path(self.sequence, DATA_SUFFIX);
        if let Err(error) = self.home.disk.remove(&path) {
            tracing::debug!(%error, "an unfinished checkpoint stays until the next start");
        }
    }
}
