//! Bulk connections: used where they can be, refused to everybody else.

use bytes::Bytes;

use super::*;
use crate::bulk::{Bulk, tls};
use crate::calls;

fn bulk_call(caller: &Node, callee: &Node, request: &str) -> JoinHandle<Result<Bytes, CallError>> {
    let (net, peer, request) = (caller.net.clone(), callee.key, Bytes::from(request.to_owned()));
    tokio::spawn(async move { net.call(peer, CallClass::Bulk, request, 1 << 20).await })
}

async fn answer(callee: &mut Node, response: impl Into<Bytes>) -> InboundCall {
    let mut call = callee.until_call().await;
    let (unused, _) = calls::Reply::new(tokio::time::Instant::now());
    std::mem::replace(&mut call.reply, unused).send(response.into()).unwrap();
    call
}

fn idle(caller: &Node, callee: &Node) -> usize {
    caller.net.shared.links.get(&callee.key).unwrap().bulk.idle_count()
}

/// A key's own bulk connections to a node, as a program of its own would make them.
fn connections_of(seed: u8, cluster: ClusterId, to: &Node, expected: PeerKey) -> Bulk {
    let identity = tls::Identity::new(&Keypair::from_seed([seed; 32]), cluster).unwrap();
    Bulk::new(&identity, expected, vec![to.addr()])
}

/// Whether a call over a connection is answered; the node must hear of no other call.
async fn is_served(connections: &Bulk, node: &mut Node) -> bool {
    let Some(mut stream) = connections.connection().await else { return false };
    let request = calls::Request {
        class: CallClass::Bulk,
        payload: "let me in".into(),
        max_response_bytes: 100,
        deadline: PATIENCE,
    };
    let exchange = calls::exchange(&mut stream, &request, PATIENCE, PATIENCE);
    tokio::select! {
        biased;
        result = exchange => result.is_ok(),
        _ = node.until_call() => true,
    }
}

#[tokio::test]
async fn bulk_calls_share_connections_of_their_own() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    for round in 0..3 {
        let response: Bytes = vec![round; 1 << 20].into();
        let called = bulk_call(&first, &second, "large");
        let heard = answer(&mut second, response.clone()).await;
        assert_eq!((heard.from, &heard.request[..]), (first.key, &b"large"[..]));
        assert_eq!(called.await.unwrap().unwrap(), response);
        assert_eq!(idle(&first, &second), 1, "the connection waits for the next call");
    }
    // Two at once need two.
    let (one, two) = (bulk_call(&first, &second, "one"), bulk_call(&first, &second, "two"));
    let (first_call, second_call) = (second.until_call().await, second.until_call().await);
    first_call.reply.send("x".into()).unwrap();
    second_call.reply.send("x".into()).unwrap();
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    assert_eq!(idle(&first, &second), 2);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn an_unanswered_or_cancelled_call_costs_its_connection_only() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let dropped = bulk_call(&first, &second, "dropped");
    drop(second.until_call().await);
    assert_eq!(dropped.await.unwrap(), Err(CallError::Unanswered));
    assert_eq!(idle(&first, &second), 0);

    let cancelled = bulk_call(&first, &second, "cancelled");
    let mut call = second.until_call().await;
    cancelled.abort();
    timeout(PATIENCE, call.reply.cancelled()).await.unwrap();

    let fine = bulk_call(&first, &second, "fine");
    answer(&mut second, "yes").await;
    assert_eq!(fine.await.unwrap().unwrap(), "yes");
    assert_eq!(idle(&first, &second), 1);
}

#[tokio::test]
async fn where_no_connection_can_be_made_bulk_calls_take_the_swarm() {
    let [mut first, mut second] = start_all().await;
    introduce_unreachable(&mut first, &mut second).await;
    let called = bulk_call(&first, &second, "large");
    answer(&mut second, "over the swarm").await;
    assert_eq!(called.await.unwrap().unwrap(), "over the swarm");
    assert_eq!(idle(&first, &second), 0);
}

#[tokio::test]
async fn only_connected_members_of_the_cluster_are_served() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let (member, stranger, other_cluster) = (1, 99, ClusterId([8; 16]));
    assert!(is_served(&connections_of(member, CLUSTER, &second, second.key), &mut second).await);
    let refused = [
        ("a stranger", connections_of(stranger, CLUSTER, &second, second.key)),
        ("another cluster", connections_of(member, other_cluster, &second, second.key)),
        ("for somebody else", connections_of(member, CLUSTER, &second, first.key)),
    ];
    for (who, connections) in refused {
        assert!(!is_served(&connections, &mut second).await, "{who} was served");
    }
}

#[tokio::test]
async fn removal_ends_the_connections_of_a_member() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let member = connections_of(1, CLUSTER, &second, second.key);
    let mut open = member.connection().await.unwrap();
    let request = calls::Request {
        class: CallClass::Bulk,
        payload: "wait".into(),
        max_response_bytes: 100,
        deadline: PATIENCE,
    };
    let call = calls::exchange(&mut open, &request, PATIENCE, PATIENCE);
    let removal = async {
        let mut call = second.until_call().await;
        register(&second, &[]).await;
        timeout(PATIENCE, call.reply.cancelled()).await.unwrap();
    };
    let (answered, ()) = tokio::join!(call, removal);
    assert!(matches!(answered, Err(CallError::Lost { .. })), "{answered:?}");
    second.until_down(first.key).await;
    assert!(!is_served(&member, &mut second).await);
}

#[tokio::test]
async fn what_is_no_tls_after_its_first_byte_is_dropped() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let addr = second.addr();
    let mut socket =
        tokio::net::TcpStream::connect((addr.ip().unwrap(), addr.port())).await.unwrap();
    socket.write_all(&[22; 64]).await.unwrap();
    let mut rest = Vec::new();
    // A reset says the same.
    let ended = timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it is still open");
    let fine = bulk_call(&first, &second, "fine");
    answer(&mut second, "yes").await;
    assert_eq!(fine.await.unwrap().unwrap(), "yes");
}
