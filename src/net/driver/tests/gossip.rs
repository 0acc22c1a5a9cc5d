//! Gossip between networks.

use super::*;

async fn until_listening(node: &Node, peers: usize) {
    eventually("peers listen", async || node.net.gossip_peers(Topic::Pins).await.unwrap() == peers)
        .await;
}

/// Three members in a line: the first and the last know each other but are not connected.
async fn line() -> [Node; 3] {
    let [mut first, middle, mut last] = start_all().await;
    let everyone =
        [first.entry(Link::OnDemand), middle.entry(Link::OnDemand), last.entry(Link::OnDemand)];
    for node in [&first, &middle, &last] {
        register(node, &everyone).await;
    }
    first.net.connect(middle.key).await.unwrap();
    last.net.connect(middle.key).await.unwrap();
    first.until_up(middle.key).await;
    last.until_up(middle.key).await;
    until_listening(&first, 1).await;
    until_listening(&middle, 2).await;
    until_listening(&last, 1).await;
    [first, middle, last]
}

#[tokio::test]
async fn an_accepted_message_travels_on_with_its_author() {
    let [first, mut middle, mut last] = line().await;
    first.net.publish(Topic::Pins, "pin it".into()).await.unwrap();
    let message = middle.until_gossip().await;
    assert_eq!((message.topic, message.author), (Topic::Pins, first.key));
    message.validate.accept();
    let message = last.until_gossip().await;
    assert_eq!((&message.bytes[..], message.author), (&b"pin it"[..], first.key));
    message.validate.accept();
    assert_eq!(first.net.gossip_stats().published, 1);
    assert_eq!(last.net.gossip_stats().received, 1);
    assert_eq!(last.net.gossip_stats().received_bytes, 6);
}

#[tokio::test]
async fn a_message_that_is_not_accepted_stops_there() {
    let [first, mut middle, mut last] = line().await;
    for (content, verdict) in [("bad", Verdict::Reject), ("odd", Verdict::Ignore)] {
        first.net.publish(Topic::Pins, content.into()).await.unwrap();
        middle.until_gossip().await.validate.judge(verdict);
    }
    first.net.publish(Topic::Pins, "good".into()).await.unwrap();
    middle.until_gossip().await.validate.accept();
    // The next that arrives is the good one: the others did not travel on.
    assert_eq!(last.until_gossip().await.bytes, "good");
    let stats = middle.net.gossip_stats();
    assert_eq!((stats.received, stats.rejected, stats.ignored), (3, 1, 1));
}

#[tokio::test]
async fn an_author_without_the_right_never_reaches_the_owner() {
    let [first, mut middle, mut last] = line().await;
    // The last member's registry lags: it does not know the first, and the middle one may author
    // status messages only.
    let (key, mut entry) = middle.entry(Link::OnDemand);
    entry.rights = Rights::AUTHOR_STATUS;
    register(&last, &[(key, entry)]).await;
    first.net.publish(Topic::Pins, "unknown author".into()).await.unwrap();
    middle.until_gossip().await.validate.accept();
    middle.net.publish(Topic::Pins, "no right".into()).await.unwrap();
    middle.net.publish(Topic::Status, "right".into()).await.unwrap();
    assert_eq!(last.until_gossip().await.bytes, "right");
    eventually("both are ignored", async || last.net.gossip_stats().ignored == 2).await;
    assert_eq!(last.net.gossip_stats().rejected, 0);
}

#[tokio::test]
async fn the_same_message_again_is_a_duplicate() {
    let [first, mut middle, _last] = line().await;
    first.net.publish(Topic::Pins, "once".into()).await.unwrap();
    let again = first.net.publish(Topic::Pins, "once".into()).await;
    assert_eq!(again, Err(PublishError::Duplicate));
    first.net.publish(Topic::Status, "once".into()).await.unwrap();
    let topics = [middle.until_gossip().await.topic, middle.until_gossip().await.topic];
    assert_eq!(topics, [Topic::Pins, Topic::Status]);
}

#[tokio::test]
async fn a_full_mesh_delivers_once_and_counts_the_copies() {
    let [mut first, mut second, mut third] = start_all().await;
    let everyone = [first.entry(Link::Keep), second.entry(Link::Keep), third.entry(Link::Keep)];
    for node in [&first, &second, &third] {
        register(node, &everyone).await;
    }
    for node in [&first, &second, &third] {
        until_listening(node, 2).await;
    }
    for at in 0..20 {
        first.net.publish(Topic::Status, format!("outcome {at}").into()).await.unwrap();
        for node in [&mut second, &mut third] {
            let message = node.until_gossip().await;
            assert_eq!(message.bytes, format!("outcome {at}"));
            message.validate.accept();
        }
    }
    for node in [&second, &third] {
        assert_eq!(node.net.gossip_stats().received, 20);
    }
    assert_eq!(first.net.gossip_stats().published, 20);
    first.until_up(second.key).await;
}

#[tokio::test]
async fn what_cant_be_published_is_named() {
    let alone = start(config(1)).await;
    let publish = |len| alone.net.publish(Topic::Pins, vec![1; len].into());
    assert_eq!(publish(1).await, Err(PublishError::NoPeers));
    let over =
        PublishError::TooLarge { len_bytes: MAX_GOSSIP_BYTES + 1, limit_bytes: MAX_GOSSIP_BYTES };
    assert_eq!(publish(MAX_GOSSIP_BYTES + 1).await, Err(over));
    let silent = start(NetConfig { gossip: GossipMode::Disabled, ..config(2) }).await;
    let refused = silent.net.publish(Topic::Pins, "x".into()).await;
    assert_eq!(refused, Err(PublishError::Disabled));
}

#[tokio::test]
async fn the_largest_message_passes() {
    let [first, mut middle, _last] = line().await;
    let largest = vec![1; MAX_GOSSIP_BYTES];
    first.net.publish(Topic::Pins, largest.clone().into()).await.unwrap();
    assert_eq!(middle.until_gossip().await.bytes, largest);
}

#[tokio::test]
async fn members_with_and_without_gossip_work_together() {
    let mut first = start(config(1)).await;
    let mut silent = start(NetConfig { gossip: GossipMode::Disabled, ..config(2) }).await;
    introduce(&mut first, &mut silent).await;
    first.net.send(silent.key, Lane::Raft, "by the lane".into()).unwrap();
    let bytes = silent
        .until("message", |event| match event {
            Event::Message { bytes, .. } => Break(bytes),
            other => Continue(other),
        })
        .await;
    assert_eq!(bytes, "by the lane");
    assert_eq!(first.net.gossip_peers(Topic::Pins).await, Ok(0));
}

#[tokio::test]
async fn an_owner_that_falls_behind_loses_gossip_and_counts_it() {
    let mut behind = config(2);
    behind.limits.gossip_queue = 2;
    let first = start(config(1)).await;
    let second = start(behind).await;
    register(&second, &[first.entry(Link::OnDemand)]).await;
    register(&first, &[second.entry(Link::Keep)]).await;
    until_listening(&first, 1).await;
    for at in 0..5 {
        first.net.publish(Topic::Pins, format!("{at}").into()).await.unwrap();
    }
    eventually("three overflow", async || second.net.gossip_stats().overflowed == 3).await;
}
