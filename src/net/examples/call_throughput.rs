//! How fast large responses move between two networks over loopback:
//! `cargo run --release -p ipfs-kit-net --example call_throughput`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use ipfs_kit_net::{
    CallClass, ClusterId, Event, Keypair, Lane, Link, Net, NetConfig, NetEvents, NetHandle,
    PeerEntry, Registry, Rights, SendError,
};
use tokio::time::Instant;

const RESPONSE_BYTES: usize = 4 << 20;
const RESPONSES: usize = 256;
const SMALL_CALLS: usize = 20_000;
const MESSAGES: usize = 200_000;

async fn node(seed: u8) -> (NetHandle, NetEvents) {
    let mut config = NetConfig::new(Keypair::from_seed([seed; 32]), ClusterId([1; 16]));
    config.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let (net, events, driver) = Net::start(config).await.expect("a free port");
    tokio::spawn(driver);
    (net, events)
}

async fn register(net: &NetHandle, other: &NetHandle, link: Link) {
    let entry = PeerEntry { addrs: other.bound_addrs(), rights: Rights::ALL, link };
    let members = [(other.local(), entry)].into();
    let registry = Registry { members, ..Registry::default() };
    net.set_registry(registry).await.expect("the network runs");
}

/// Answers calls, and counts lane messages until all are there.
async fn serve(mut events: NetEvents, response: Bytes) {
    let mut messages = 0;
    while let Some(event) = events.recv().await {
        match event {
            Event::Call(call) => {
                let answer = match call.class {
                    CallClass::Bulk => response.clone(),
                    _ => Bytes::from_static(b"pong"),
                };
                call.reply.send(answer).expect("the caller waits");
            }
            Event::Message { .. } => {
                messages += 1;
                if messages == MESSAGES {
                    return;
                }
            }
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() {
    let (server, events) = node(1).await;
    let (client, _client_events) = node(2).await;
    let serving = tokio::spawn(serve(events, vec![7; RESPONSE_BYTES].into()));
    register(&server, &client, Link::OnDemand).await;
    register(&client, &server, Link::OnDemand).await;
    let peer = server.local();
    client.connect(peer).await.expect("a connection");

    for depth in [1, 4, 8] {
        let start = Instant::now();
        let calls = stream::iter(0..RESPONSES).map(|_| async {
            client
                .call(peer, CallClass::Bulk, Bytes::new(), RESPONSE_BYTES)
                .await
                .expect("a response")
                .len()
        });
        let bytes: usize = calls.buffer_unordered(depth).collect::<Vec<_>>().await.iter().sum();
        report(&format!("4 MiB responses, {depth} deep"), start.elapsed(), bytes, RESPONSES);
    }
    for depth in [1, 32] {
        let start = Instant::now();
        let calls = stream::iter(0..SMALL_CALLS).map(|_| async {
            client.call(peer, CallClass::Control, Bytes::new(), 8).await.expect("a response").len()
        });
        let bytes: usize = calls.buffer_unordered(depth).collect::<Vec<_>>().await.iter().sum();
        report(&format!("small calls, {depth} deep"), start.elapsed(), bytes, SMALL_CALLS);
    }
    let message = Bytes::from(vec![1; 256]);
    let start = Instant::now();
    for _ in 0..MESSAGES {
        while client.send(peer, Lane::Raft, message.clone()) == Err(SendError::Full) {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    }
    serving.await.expect("every message arrives");
    report("lane messages of 256 B", start.elapsed(), MESSAGES * 256, MESSAGES);
    client.shutdown().await;
    server.shutdown().await;
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(what: &str, took: Duration, bytes: usize, count: usize) {
    let seconds = took.as_secs_f64();
    println!(
        "{what:26} {:8.1} MB/s {:10.0} /s {:8.1} us each",
        bytes as f64 / seconds / 1e6,
        count as f64 / seconds,
        seconds * 1e6 / count as f64,
    );
}
