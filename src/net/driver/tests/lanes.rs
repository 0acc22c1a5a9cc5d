//! Lanes between two networks.

use bytes::Bytes;

use super::*;
use crate::lanes::LaneSink;

async fn send_patiently(node: &Node, to: PeerKey, lane: Lane, message: Bytes) {
    eventually("the lane has room", async || match node.net.send(to, lane, message.clone()) {
        Ok(()) => true,
        Err(SendError::Full) => false,
        Err(error) => panic!("{error}"),
    })
    .await;
}

async fn until_message(node: &mut Node, wanted: Lane) -> Bytes {
    node.until("message", |event| match event {
        Event::Message { lane, bytes, .. } if lane == wanted => Break(bytes),
        other => Continue(other),
    })
    .await
}

/// Sends until the sender learns that messages are lost.
async fn until_lost(from: &mut Node, to: PeerKey) {
    eventually("the sender learns of the loss", async || {
        from.net.send(to, Lane::Raft, "lost".into()).unwrap();
        matches!(from.events.try_recv(), Some(Event::LaneLost { lane: Lane::Raft, .. }))
    })
    .await;
}

#[tokio::test]
async fn a_lane_keeps_order_in_both_directions() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    for at in 0..3_000_u32 {
        let message = Bytes::copy_from_slice(&at.to_be_bytes());
        send_patiently(&first, second.key, Lane::Raft, message.clone()).await;
        send_patiently(&second, first.key, Lane::Raft, message).await;
    }
    for at in 0..3_000_u32 {
        assert_eq!(until_message(&mut first, Lane::Raft).await, at.to_be_bytes()[..]);
        assert_eq!(until_message(&mut second, Lane::Raft).await, at.to_be_bytes()[..]);
    }
}

fn is_direct(from: &Node, to: &Node) -> bool {
    from.net.shared.links.get(&to.key).unwrap().raft.is_direct()
}

#[tokio::test]
async fn the_raft_lane_has_a_connection_of_its_own() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    assert!(!is_direct(&first, &second), "nobody has used it");
    for round in ["opens it", "goes over it"] {
        first.net.send(second.key, Lane::Raft, round.into()).unwrap();
        assert_eq!(until_message(&mut second, Lane::Raft).await, round);
        eventually("it is at rest", async || is_direct(&first, &second)).await;
    }
    assert!(!is_direct(&second, &first), "it is for one direction");
}

#[tokio::test]
async fn a_lane_is_read_where_its_messages_are_needed() {
    let [mut first, mut second] = start_all().await;
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (taken, mut seen) = tokio::sync::mpsc::channel(1);
    let take = move |_, bytes| taken.try_send((std::thread::current().id(), bytes)).unwrap();
    let sink = LaneSink { take: Box::new(take), runtime: Some(own.handle().clone()) };
    second.events.pour_lane_into(Lane::Raft, sink);
    introduce(&mut first, &mut second).await;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let here = std::thread::Builder::new();
    let reader = here.spawn(move || own.block_on(ended)).unwrap();
    for at in 0..1_000_u32 {
        let message = Bytes::copy_from_slice(&at.to_be_bytes());
        send_patiently(&first, second.key, Lane::Raft, message.clone()).await;
        assert_eq!(seen.recv().await.unwrap(), (reader.thread().id(), message));
    }
    // The network's end is the reader's too, although that runtime goes on.
    second.stop().await;
    assert_eq!(seen.recv().await, None);
    drop(end);
    assert!(reader.join().unwrap().is_err());
}

#[tokio::test]
async fn where_no_connection_can_be_made_the_raft_lane_takes_the_swarm() {
    let [mut first, mut second] = start_all().await;
    introduce_unreachable(&mut first, &mut second).await;
    first.net.send(second.key, Lane::Raft, "over the swarm".into()).unwrap();
    assert_eq!(until_message(&mut second, Lane::Raft).await, "over the swarm");
    assert!(!is_direct(&first, &second));
}

#[tokio::test]
async fn the_largest_messages_pass_and_larger_ones_are_refused() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let largest: Bytes = vec![9; MAX_RAFT_MESSAGE_BYTES].into();
    first.net.send(second.key, Lane::Raft, largest.clone()).unwrap();
    assert_eq!(until_message(&mut second, Lane::Raft).await, largest);
    let larger: Bytes = vec![9; MAX_RAFT_MESSAGE_BYTES + 1].into();
    let refused = first.net.send(second.key, Lane::Raft, larger);
    assert!(matches!(refused, Err(SendError::TooLarge { .. })));
}

#[tokio::test]
async fn a_reader_that_stops_fills_its_lane_and_nothing_else() {
    let mut first = start(config(1)).await;
    let mut slow = config(2);
    slow.limits.raft_lane.inbound_messages = 2;
    let mut second = start(slow).await;
    introduce(&mut first, &mut second).await;
    let mut lane = second.events.take_lane(Lane::Raft).unwrap();
    assert!(second.events.take_lane(Lane::Raft).is_none());
    // Nobody reads the lane: at last the sender is told.
    let message: Bytes = vec![1; 256 << 10].into();
    let mut sent = 0_u32;
    eventually("the lane is full", async || {
        loop {
            match first.net.send(second.key, Lane::Raft, message.clone()) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        // Full for good, not only until the writer comes round.
        tokio::time::sleep(Duration::from_millis(50)).await;
        first.net.send(second.key, Lane::Raft, message.clone()).map(|()| sent += 1)
            == Err(SendError::Full)
    })
    .await;
    let call = first.net.call(second.key, CallClass::Control, "urgent".into(), 1024);
    let answer = async { second.until_call().await.reply.send("answered".into()).unwrap() };
    assert_eq!(tokio::join!(call, answer).0.unwrap(), "answered");
    // Once it is read, everything arrives.
    for _ in 0..sent {
        let (from, bytes) = timeout(PATIENCE, lane.recv()).await.unwrap().unwrap();
        assert_eq!((from, bytes.len()), (first.key, message.len()));
    }
}

#[tokio::test]
async fn the_raft_lane_needs_its_right() {
    let [mut first, mut second] = start_all().await;
    let (key, mut entry) = first.entry(Link::OnDemand);
    entry.rights = Rights::AUTHOR_STATUS;
    register(&second, &[(key, entry)]).await;
    register(&first, &[second.entry(Link::Keep)]).await;
    first.until_up(second.key).await;
    second.until_up(first.key).await;
    until_lost(&mut first, second.key).await;
    assert!(!second.has_message());
}

#[tokio::test]
async fn a_withdrawn_right_ends_the_lane_it_opened() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    first.net.send(second.key, Lane::Raft, "with the right".into()).unwrap();
    assert_eq!(until_message(&mut second, Lane::Raft).await, "with the right");
    let (key, mut entry) = first.entry(Link::OnDemand);
    entry.rights = Rights::AUTHOR_STATUS;
    register(&second, &[(key, entry)]).await;
    // The stream that was open is reset.
    until_lost(&mut first, second.key).await;
    assert!(!second.has_message());
    register(&second, &[first.entry(Link::OnDemand)]).await;
    // With the right given back the lane works again.
    eventually("the lane is open again", async || {
        first.net.send(second.key, Lane::Raft, "again".into()).unwrap();
        match second.events.try_recv() {
            Some(Event::Message { lane: Lane::Raft, bytes, .. }) => bytes == "again",
            _ => false,
        }
    })
    .await;
    assert!(second.net.is_connected(&first.key));
}

#[tokio::test]
async fn a_lane_goes_on_after_a_reconnect_and_counts_what_it_lost() {
    let mut first = start(config(1)).await;
    let mut slow = config_at("127.0.0.41", 2);
    slow.limits.raft_lane.inbound_messages = 1;
    let mut second = start(slow).await;
    introduce(&mut first, &mut second).await;
    // The receiver takes nothing, so that messages wait at the sender when the link breaks.
    let message: Bytes = vec![1; 1 << 20].into();
    while first.net.send(second.key, Lane::Raft, message.clone()).is_ok() {}
    let key = second.key;
    let listen = vec![second.addr()];
    second.stop().await;
    first.until_down(key).await;
    let lost = first
        .until("lane lost", |event| match event {
            Event::LaneLost { peer, lane: Lane::Raft, messages } if peer == key => Break(messages),
            other => Continue(other),
        })
        .await;
    assert!(lost > 0);
    assert_eq!(first.net.send(key, Lane::Raft, "x".into()), Err(SendError::NotConnected));
    let mut second = start(NetConfig { incarnation: 1, listen, ..config(2) }).await;
    register(&second, &[first.entry(Link::OnDemand)]).await;
    first.until_up(key).await;
    second.until_up(first.key).await;
    first.net.send(key, Lane::Raft, "after".into()).unwrap();
    assert_eq!(until_message(&mut second, Lane::Raft).await, "after");
}
