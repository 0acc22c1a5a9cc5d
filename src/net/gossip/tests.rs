//! Gossip without a network: ids, settings, verdicts.

use super::*;

fn message(author: PeerId, topic: &str, content: &[u8]) -> Message {
    Message {
        source: Some(author),
        data: content.to_vec(),
        sequence_number: Some(1),
        topic: TopicHash::from_raw(topic),
    }
}

#[test]
fn an_id_depends_on_author_topic_and_content_and_on_nothing_else() {
    let [first, second] = [1, 2].map(|_| PeerId::random());
    let id = message_id(&message(first, "topic", b"content"));
    let again = Message { sequence_number: Some(2), ..message(first, "topic", b"content") };
    assert_eq!(message_id(&again), id);
    assert_ne!(message_id(&message(second, "topic", b"content")), id);
    assert_ne!(message_id(&message(first, "topi", b"ccontent")), id);
    assert_ne!(message_id(&message(first, "topic", b"contend")), id);
}

#[test]
fn default_settings_are_valid_and_bad_ones_are_named() {
    let keypair = identity::Keypair::generate_ed25519();
    let cluster = ClusterId([1; 16]);
    let build =
        |config: &GossipConfig| behaviour(&keypair, cluster, 0, config, Arc::default()).map(|_| ());
    let default = GossipConfig::default;
    build(&default()).unwrap();
    let smallest =
        GossipConfig { mesh_peers: 1, mesh_peers_low: 1, mesh_peers_high: 1, ..default() };
    build(&smallest).unwrap();
    for bad in [
        GossipConfig { mesh_peers_high: 1, ..default() },
        GossipConfig { mesh_peers_low: 7, ..default() },
        GossipConfig { mesh_peers_low: 0, ..default() },
        GossipConfig { heartbeat_ms: 0, ..default() },
    ] {
        let refused = build(&bad);
        assert!(
            matches!(refused, Err(StartError::Setting { setting: "gossip", .. })),
            "{bad:?}: {refused:?}"
        );
    }
}

#[test]
fn topics_of_two_clusters_never_meet() {
    let [ours, theirs] = [1, 2].map(|id| Topics::new(ClusterId([id; 16])));
    for topic in Topic::ALL {
        assert_eq!(ours.of(&ours.hash(topic)), Some(topic));
        assert_eq!(theirs.of(&ours.hash(topic)), None);
    }
}

#[test]
fn a_dropped_duty_to_judge_is_a_verdict() {
    let (verdicts, mut judged) = mpsc::channel(2);
    let duty = || {
        let place = verdicts.clone().try_reserve_owned().unwrap();
        Validation::new(MessageId::from(vec![1]), PeerId::random(), place)
    };
    drop(duty());
    duty().reject();
    assert_eq!(judged.try_recv().unwrap().verdict, Verdict::Ignore);
    assert_eq!(judged.try_recv().unwrap().verdict, Verdict::Reject);
    assert!(judged.try_recv().is_err());
}

#[test]
fn a_message_over_the_limit_is_not_counted_as_received() {
    use gossipsub::DataTransform;
    let counters = Arc::new(GossipCounters::default());
    let raw = |len| RawMessage {
        source: None,
        data: vec![0; len],
        sequence_number: None,
        topic: TopicHash::from_raw("topic"),
        signature: None,
        key: None,
        validated: false,
    };
    let counting = Counting(counters.clone());
    counting.inbound_transform(raw(MAX_GOSSIP_BYTES)).unwrap();
    counting.inbound_transform(raw(MAX_GOSSIP_BYTES + 1)).unwrap_err();
    let stats = counters.snapshot();
    assert_eq!((stats.duplicates, stats.rejected), (1, 1));
    assert_eq!(stats.received_bytes, MAX_GOSSIP_BYTES as u64);
}
