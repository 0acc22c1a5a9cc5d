//! What a sender writes itself, and what it leaves to the lane's task.

use std::time::Duration;

use futures_util::io::BufWriter;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;

/// A connection that buffers as TLS does, over a socket that takes so many bytes.
fn connected(socket_bytes: usize) -> (Direct, DuplexStream) {
    let (near, far) = duplex(socket_bytes);
    let direct = Direct::default();
    direct.give_back(Some(Box::new(BufWriter::with_capacity(64 << 10, near.compat()))));
    (direct, far)
}

async fn arrived(far: &mut DuplexStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    far.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_sender_writes_at_once() {
    let (direct, mut far) = connected(1 << 10);
    assert!(direct.send(b"one"));
    assert!(direct.send(b"three"));
    assert_eq!(arrived(&mut far, 16).await, b"\0\0\0\x03one\0\0\0\x05three");
}

#[tokio::test]
async fn what_can_t_be_written_at_once_is_left_to_the_queue() {
    assert!(!Direct::default().send(b"no connection"));
    let (direct, _far) = connected(1 << 10);
    assert!(!direct.send(&vec![0; AT_ONCE_BYTES + 1]));
    let writer = direct.take();
    assert!(!direct.send(b"a task writes"));
    direct.give_back(writer);
    assert!(direct.send(b"it is done"));
}

#[tokio::test]
async fn a_full_socket_holds_up_nobody_and_loses_nothing() {
    let (direct, mut far) = connected(4);
    assert!(direct.send(b"waits"), "the connection has taken it");
    assert!(!direct.send(b"after it"), "nothing is written behind what waits");
    let flush = direct.flush_when_needed::<()>();
    let read = async {
        assert_eq!(arrived(&mut far, 9).await, b"\0\0\0\x05waits");
        // The flusher notices on its own.
        tokio::time::timeout(Duration::from_secs(5), async {
            while !direct.send(b"x") {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    };
    tokio::select! {
        biased;
        () = flush => {}
        () = read => {}
    }
}

#[tokio::test]
async fn a_broken_connection_is_let_go() {
    let (direct, far) = connected(1 << 10);
    drop(far);
    assert!(!direct.send(b"nobody reads"));
    assert!(direct.is_missing());
    assert!(direct.take().is_none());
}
