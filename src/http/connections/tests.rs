//! Who gets a seat, and who gives it up.

use axum::routing::get;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::ApiAddress;
use crate::http::Exposure;

const PING: &[u8] = b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n";
const LONG: Duration = Duration::from_secs(3600);

fn take(seats: &Arc<Seats>) -> Option<Seat> {
    seats.take().now_or_never()
}

#[test]
fn whoever_has_waited_longest_makes_room() {
    let seats = Arc::new(Seats::new(3));
    let [a, b, c] = [(); 3].map(|()| take(&seats).unwrap());
    // `a` had a request after the others came.
    drop(a.turn());
    assert!(take(&seats).is_none(), "the one that was told has not gone yet");
    assert!(b.sent_away.is_cancelled() && !a.sent_away.is_cancelled());
    assert!(!c.sent_away.is_cancelled(), "one makes room for one");
    drop(b);
    let _d = take(&seats).unwrap();
}

#[test]
fn nobody_who_is_being_answered_is_sent_away() {
    let seats = Arc::new(Seats::new(2));
    let [a, b] = [(); 2].map(|()| take(&seats).unwrap());
    let (first, second, other) = (a.turn(), a.turn(), b.turn());
    let mut next = Box::pin(seats.take());
    assert!(next.as_mut().now_or_never().is_none());
    drop(first);
    assert!(next.as_mut().now_or_never().is_none());
    assert!(!a.sent_away.is_cancelled() && !b.sent_away.is_cancelled());
    // Its last request is answered.
    drop(second);
    assert!(next.as_mut().now_or_never().is_none());
    assert!(a.sent_away.is_cancelled() && !b.sent_away.is_cancelled());
    drop(a);
    let taken = next.as_mut().now_or_never();
    assert!(taken.is_some());
    // An answer that outlives its connection frees nothing twice.
    drop(b);
    drop(other);
    assert_eq!(seats.table().waiting.len(), 1);
    assert_eq!(seats.table().taken.len(), 1);
}

/// Serves `/ping` within bounds, and `/hold`, which answers a byte and then nothing more.
async fn served(bounds: Bounds) -> String {
    let hold = || async {
        let begin = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
        let never = futures_util::stream::pending();
        Body::from_stream(futures_util::StreamExt::chain(begin, never))
    };
    let router = Router::new().route("/ping", get(async || "pong")).route("/hold", get(hold));
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, Exposure::Local).await.unwrap();
    let ApiAddress::Tcp(address) = listener.address().clone() else { panic!("it is TCP") };
    tokio::spawn(serve_within(bounds, listener, router, std::future::pending()));
    address.to_string()
}

async fn connect(address: &str, say: &[u8]) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(say).await.unwrap();
    connection
}

async fn heard(connection: &mut TcpStream, end: &str) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).ends_with(end) {
        let mut byte = [0];
        connection.read_exact(&mut byte).await.unwrap();
        text.push(byte[0]);
    }
}

async fn ended(mut connection: TcpStream) {
    // A reset is an end too.
    let _ = connection.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_half_a_request_keep_nobody_out() {
    let address = served(Bounds { connections_max: 4, head_wait: LONG }).await;
    let mut holding = connect(&address, b"GET /hold HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    heard(&mut holding, "x\r\n").await;
    let mut idle = Vec::new();
    for at in 0..40 {
        let say: &[u8] = if at % 2 == 0 { b"" } else { b"GET /pi" };
        idle.push(connect(&address, say).await);
    }
    let mut asking = connect(&address, PING).await;
    heard(&mut asking, "pong").await;
    // All but the last three were sent away; whoever is being answered was not.
    for connection in idle.drain(..30) {
        ended(connection).await;
    }
    let quiet = tokio::time::timeout(Duration::from_millis(50), holding.read_u8()).await;
    assert!(quiet.is_err(), "it is still being answered");
}

#[tokio::test]
async fn a_request_whose_head_does_not_come_ends() {
    let head_wait = Duration::from_millis(50);
    let address = served(Bounds { connections_max: 4, head_wait }).await;
    for say in [&b""[..], b"GET /ping HTTP/1.1\r\nhost: loc", b"GET /ping HTTP/1.1\r\n"] {
        ended(connect(&address, say).await).await;
    }
    // After an answer too.
    let mut asking = connect(&address, PING).await;
    heard(&mut asking, "pong").await;
    ended(asking).await;
}
