//! Bytes between blocking code and async code, with back-pressure both ways.
//!
//! A stream ends by an explicit mark. An end that just disappears is an error for the other one, so that
//! a part never passes as the whole.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body::stalled;

/// Bytes in one chunk.
const CHUNK_LEN_BYTES: usize = 256 * 1024;
/// Chunks that wait in between: enough to keep both ends busy, little enough to forget.
const CHUNKS_MAX: usize = 8;
/// Chunks whose memory a writer waits for: those in between, and some that the reader still holds.
const KEPT_MAX: usize = 2 * CHUNKS_MAX;

/// A bounded pipe.
pub fn pipe() -> (PipeSender, PipeReceiver) {
    let (chunks, received) = mpsc::channel(CHUNKS_MAX);
    (PipeSender { chunks }, PipeReceiver { chunks: received })
}

/// The async sending end.
pub struct PipeSender {
    /// An empty chunk is the mark of the end.
    chunks: mpsc::Sender<Bytes>,
}

/// The receiver is gone; nothing that was sent matters to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads any more")]
pub struct Gone;

impl PipeSender {
    /// Sends some bytes, after waiting for room.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.chunks.send(bytes).await.map_err(|_| Gone)
    }

    /// Marks the end: what was sent is all.
    pub async fn end(self) -> Result<(), Gone> {
        self.chunks.send(Bytes::new()).await.map_err(|_| Gone)
    }

    /// Waits until the receiver is gone.
    pub async fn gone(&self) {
        self.chunks.closed().await;
    }

    /// The blocking form of this end; never on a thread that runs async code.
    pub fn into_blocking(self) -> BlockingWriter {
        let buffer = BytesMut::with_capacity(CHUNK_LEN_BYTES);
        BlockingWriter { chunks: self.chunks, buffer, sent: VecDeque::new() }
    }
}

/// The async receiving end.
pub struct PipeReceiver {
    chunks: mpsc::Receiver<Bytes>,
}

impl PipeReceiver {
    /// The chunks; the last item is an error if the sender disappeared.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::unfold(Some(self.chunks), |chunks| async {
            let mut chunks = chunks?;
            match chunks.recv().await {
                Some(bytes) if bytes.is_empty() => None,
                Some(bytes) => Some((Ok(bytes), Some(chunks))),
                None => Some((Err(broke_off()), None)),
            }
        })
    }

    /// The blocking form of this end; never on a thread that runs async code.
    pub fn into_blocking(self) -> BlockingReader {
        BlockingReader { chunks: self.chunks, current: Bytes::new(), ended: false, patient: None }
    }

    /// The same, for a reader that waits for the next bytes no longer than that. Within a runtime.
    pub(super) fn into_blocking_for(self, patience: Duration) -> BlockingReader {
        let patient = Some((Handle::current(), patience));
        BlockingReader { patient, ..self.into_blocking() }
    }
}

fn broke_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off")
}

/// The blocking writing end: what is written goes out in large chunks.
pub struct BlockingWriter {
    chunks: mpsc::Sender<Bytes>,
    buffer: BytesMut,
    /// The memory of chunks on their way, the oldest first, to be filled again once nobody reads it.
    /// Fresh memory for every chunk costs more than everything else that is done to it.
    sent: VecDeque<BytesMut>,
}

impl BlockingWriter {
    /// Sends what is left and marks the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Bytes::new())
    }

    fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.chunks
            .blocking_send(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, Gone))
    }

    /// Memory for the next chunk.
    fn next_buffer(&mut self) -> BytesMut {
        if let Some(mut oldest) = self.sent.pop_front() {
            if oldest.try_reclaim(CHUNK_LEN_BYTES) {
                return oldest;
            }
            if self.sent.len() < KEPT_MAX {
                self.sent.push_front(oldest);
            }
        }
        BytesMut::with_capacity(CHUNK_LEN_BYTES)
    }
}

impl Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK_LEN_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == CHUNK_LEN_BYTES {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = self.buffer.split().freeze();
        let next = self.next_buffer();
        self.sent.push_back(mem::replace(&mut self.buffer, next));
        self.send(full)
    }
}

/// The blocking reading end.
pub struct BlockingReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    ended: bool,
    /// How long it waits, by whose clock; for ever without.
    patient: Option<(Handle, Duration)>,
}

impl BlockingReader {
    fn next(&mut self) -> io::Result<Bytes> {
        let next = match &self.patient {
            None => self.chunks.blocking_recv(),
            Some((runtime, patience)) => runtime
                .block_on(async { timeout(*patience, self.chunks.recv()).await })
                .map_err(|_| stalled(*patience))?,
        };
        next.ok_or_else(broke_off)
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            self.current = self.next()?;
            self.ended = self.current.is_empty();
        }
        let take = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..take]);
        Ok(take)
    }
}

#[cfg(test)]
mod tests;
