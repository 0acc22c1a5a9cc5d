//! Memory of large reads that is used again: it is mapped and initialised already.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ALIGN_BYTES, AlignedBuf};

/// Bytes kept for reuse.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Buffers that wait for their next read.
#[derive(Debug, Default)]
pub(super) struct Spares {
    free: Mutex<Vec<AlignedBuf>>,
}

impl Spares {
    /// A buffer of `len` bytes, rounded up to the alignment, with whatever it held before.
    pub(super) fn take(spares: &Arc<Self>, len: usize) -> SpareBuf {
        let len = len.next_multiple_of(ALIGN_BYTES);
        let mut free = spares.lock();
        // Blocks of one file are of one size, so the last one to come back fits as a rule.
        let fits = |buffer: &AlignedBuf| (len..=2 * len).contains(&buffer.capacity());
        let fitting = free.iter().rposition(fits);
        let kept = fitting.map(|at| free.swap_remove(at));
        drop(free);
        let mut buffer = kept.unwrap_or_else(|| AlignedBuf::with_capacity(len));
        buffer.set_len(len);
        SpareBuf { buffer, spares: Arc::clone(spares) }
    }

    fn put(&self, buffer: AlignedBuf) {
        let mut free = self.lock();
        let kept: usize = free.iter().map(AlignedBuf::capacity).sum();
        if kept + buffer.capacity() <= KEPT_BYTES_MAX {
            free.push(buffer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<AlignedBuf>> {
        // A list of buffers is whole whatever panicked beside it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct SpareBuf {
    buffer: AlignedBuf,
    spares: Arc<Spares>,
}

impl SpareBuf {
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }
}

impl AsRef<[u8]> for SpareBuf {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl Drop for SpareBuf {
    fn drop(&mut self) {
        self.spares.put(mem::take(&mut self.buffer));
    }
}
