//! Frames: round trips, and streams that lie, end early or stall.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::Cursor;

use super::*;

const STALL: Duration = Duration::from_secs(5);

/// Gives its bytes in small pieces and then stalls for ever.
struct Stalling {
    bytes: Vec<u8>,
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() {
            return Poll::Pending;
        }
        let len = buffer.len().min(3).min(self.bytes.len());
        buffer[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes.drain(..len);
        Poll::Ready(Ok(len))
    }
}

#[tokio::test]
async fn payloads_of_every_size_class_come_back_whole() {
    for len in [0, 1, FIRST_RESERVE_BYTES, FIRST_RESERVE_BYTES + 1, 3 * STEP_BYTES + 7] {
        let sent: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut wire = Cursor::new(Vec::new());
        write_bytes(&mut wire, &sent, STALL).await.unwrap();
        let mut wire = Cursor::new(wire.into_inner());
        assert_eq!(read_payload(&mut wire, len, STALL).await.unwrap(), sent);
    }
}

#[test]
fn a_length_over_the_limit_is_refused() {
    assert_eq!(check_len(10, 10).unwrap(), 10);
    let refused = check_len(u32::MAX, 10);
    assert!(matches!(refused, Err(FrameError::TooLarge { limit_bytes: 10, .. })));
}

#[tokio::test]
async fn a_stream_that_ends_early_is_an_error() {
    let mut wire = Cursor::new(vec![1; 9]);
    let read = read_payload(&mut wire, 10, STALL).await;
    assert!(matches!(read, Err(FrameError::Io(_))));
    let mut wire = Cursor::new(vec![1; 9]);
    assert!(matches!(read_header::<10, _>(&mut wire, STALL).await, Err(FrameError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_given_up() {
    let mut wire = Stalling { bytes: vec![1; 9] };
    let read = read_payload(&mut wire, 16 << 20, STALL).await;
    assert!(matches!(read, Err(FrameError::Stalled)));
}
