//! Bounded bytes on a stream: fixed headers and payloads whose length was checked before.
//!
//! A length that a peer states is compared with a limit before anything is reserved, and memory
//! grows with the bytes that arrive, never with the length that was promised.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// Bytes that a payload may reserve before any of them arrived.
const FIRST_RESERVE_BYTES: usize = 64 << 10;
/// Bytes that one read or write moves before its stall limit starts again.
const STEP_BYTES: usize = 256 << 10;
/// Up to this size copying a payload is cheaper than sending it apart from its header.
pub(crate) const SMALL_BYTES: usize = 16 << 10;

/// Why a frame could not be moved. The stream is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stated length is over the limit; nothing of the payload was read.
    #[error("a frame of {len_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge { len_bytes: usize, limit_bytes: usize },
    /// No byte moved for the stall limit.
    #[error("the stream stalled")]
    Stalled,
    /// The stream broke or ended early.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads exactly `N` bytes.
pub(crate) async fn read_header<const N: usize, R>(
    reader: &mut R,
    stall: Duration,
) -> Result<[u8; N], FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut header = [0; N];
    timeout(stall, reader.read_exact(&mut header)).await.map_err(|_| FrameError::Stalled)??;
    Ok(header)
}

/// Refuses `len_bytes` over `limit_bytes`.
pub(crate) fn check_len(len_bytes: u32, limit_bytes: usize) -> Result<usize, FrameError> {
    let len_bytes = len_bytes as usize;
    if len_bytes > limit_bytes {
        return Err(FrameError::TooLarge { len_bytes, limit_bytes });
    }
    Ok(len_bytes)
}

/// Reads a payload of `len_bytes`, which the caller has checked.
pub(crate) async fn read_payload<R>(
    reader: &mut R,
    len_bytes: usize,
    stall: Duration,
) -> Result<Bytes, FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut payload = BytesMut::with_capacity(len_bytes.min(FIRST_RESERVE_BYTES));
    while payload.len() < len_bytes {
        let filled = payload.len();
        // At most as much again as has arrived: a lying length costs the liar its own bytes.
        let step = (len_bytes - filled).min(filled.max(FIRST_RESERVE_BYTES)).min(STEP_BYTES);
        if payload.capacity() < filled + step {
            payload.reserve((len_bytes - filled).min(filled.max(FIRST_RESERVE_BYTES)));
        }
        payload.resize(filled + step, 0);
        let mut read_bytes = filled;
        while read_bytes < payload.len() {
            let read = timeout(stall, reader.read(&mut payload[read_bytes..]))
                .await
                .map_err(|_| FrameError::Stalled)??;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            read_bytes += read;
        }
    }
    Ok(payload.freeze())
}

/// Writes all bytes, without a flush.
pub(crate) async fn write_bytes<W>(
    writer: &mut W,
    bytes: &[u8],
    stall: Duration,
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    for step in bytes.chunks(STEP_BYTES) {
        timeout(stall, writer.write_all(step)).await.map_err(|_| FrameError::Stalled)??;
    }
    Ok(())
}

/// Writes a header and its payload, without a flush; as one piece where the payload is small, for
/// each piece costs a Yamux frame and a Noise message.
pub(crate) async fn write_framed<W>(
    writer: &mut W,
    header: &[u8],
    payload: &[u8],
    stall: Duration,
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    if payload.len() > SMALL_BYTES {
        write_bytes(writer, header, stall).await?;
        return write_bytes(writer, payload, stall).await;
    }
    write_bytes(writer, &[header, payload].concat(), stall).await
}

/// Flushes what was written.
pub(crate) async fn flush<W>(writer: &mut W, stall: Duration) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    Ok(timeout(stall, writer.flush()).await.map_err(|_| FrameError::Stalled)??)
}
