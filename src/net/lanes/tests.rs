//! Lanes over an in-memory pipe: order, bounds, and senders that lie.

use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::identity::Keypair;

const STALL: Duration = Duration::from_secs(5);

const LIMITS: LaneLimits =
    LaneLimits { queue_messages: 4, queue_bytes: 0, inbound_messages: 2, inbound_bytes: 0 };

fn sender() -> PeerKey {
    Keypair::from_seed([1; 32]).peer_key()
}

#[tokio::test]
async fn the_queue_is_bounded_in_messages_and_in_bytes() {
    let (lane, mut queue) = lane_queue(Lane::Raft, LIMITS);
    for _ in 0..4 {
        lane.send(Bytes::from_static(b"x")).unwrap();
    }
    assert_eq!(lane.send(Bytes::from_static(b"x")), Err(SendError::Full));
    while queue.try_next().is_some() {}
    let most = Bytes::from(vec![0; MAX_RAFT_MESSAGE_BYTES]);
    lane.send(most.clone()).unwrap();
    assert_eq!(lane.send(Bytes::from_static(b"x")), Err(SendError::Full));
    queue.try_next().unwrap();
    lane.send(most).unwrap();
    let over = Bytes::from(vec![0; MAX_RAFT_MESSAGE_BYTES + 1]);
    assert!(matches!(lane.send(over), Err(SendError::TooLarge { .. })));
    drop(queue);
    assert_eq!(lane.send(Bytes::from_static(b"x")), Err(SendError::NotConnected));
}

#[tokio::test]
async fn a_reader_keeps_order_and_stops_when_its_owner_does() {
    let (near, far) = tokio::io::duplex(64);
    let (inlet, mut received) = LaneInlet::new(Lane::Raft, LIMITS);
    let reader = tokio::spawn(read_lane(inlet, sender(), far.compat(), STALL));
    let writer = tokio::spawn(async move {
        let mut near = near.compat();
        let mut batch = BytesMut::new();
        for at in 0..100_u32 {
            put_frame(&mut near, &mut batch, &at.to_be_bytes()).await.unwrap();
            write_patiently(&mut near, &batch).await.unwrap();
            batch.clear();
        }
    });
    // The owner takes nothing: the pipe and the queue hold far fewer than all messages.
    while received.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!writer.is_finished());
    for at in 0..100_u32 {
        assert_eq!(received.recv().await.unwrap().bytes, at.to_be_bytes().as_slice());
    }
    writer.await.unwrap();
    reader.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_sink_takes_what_is_read_from_then_on_past_the_queue() {
    let (near, far) = tokio::io::duplex(64);
    let (inlet, mut received) = LaneInlet::new(Lane::Raft, LIMITS);
    let place = inlet.sink.clone();
    let reader = tokio::spawn(read_lane(inlet, sender(), far.compat(), STALL));
    let mut near = near.compat();
    let mut batch = BytesMut::new();
    put_frame(&mut near, &mut batch, b"early").await.unwrap();
    write_patiently(&mut near, &batch).await.unwrap();
    assert_eq!(received.recv().await.unwrap().bytes, b"early".as_slice());
    let (sink, mut poured) = mpsc::channel(100);
    let take = Box::new(move |from, bytes| sink.try_send((from, bytes)).unwrap());
    place.fill(LaneSink { take, runtime: None });
    batch.clear();
    // Far more than the queue holds, which nobody reads.
    for at in 0..100_u8 {
        put_frame(&mut near, &mut batch, &[at]).await.unwrap();
    }
    write_patiently(&mut near, &batch).await.unwrap();
    for at in 0..100_u8 {
        assert_eq!(poured.recv().await, Some((sender(), Bytes::from(vec![at]))));
    }
    drop(near);
    reader.await.unwrap().unwrap();
    assert!(received.recv().await.is_none());
}

#[tokio::test]
async fn frames_of_all_sizes_keep_their_bounds_in_a_batch() {
    let sizes = [0, 1, frame::SMALL_BYTES, frame::SMALL_BYTES + 1, BATCH_BYTES, 5, 300_000, 0];
    let mut wire = futures_util::io::Cursor::new(Vec::new());
    let mut batch = BytesMut::new();
    for (at, size) in sizes.into_iter().enumerate() {
        let message = vec![u8::try_from(at).unwrap(); size];
        put_frame(&mut wire, &mut batch, &message).await.unwrap();
    }
    write_patiently(&mut wire, &batch).await.unwrap();
    let wide = LaneLimits { inbound_messages: sizes.len(), ..LIMITS };
    let (inlet, mut received) = LaneInlet::new(Lane::Raft, wide);
    read_lane(inlet, sender(), wire.into_inner().as_slice(), STALL).await.unwrap();
    for (at, size) in sizes.into_iter().enumerate() {
        let message = received.recv().await.unwrap().bytes;
        assert_eq!(message, vec![u8::try_from(at).unwrap(); size]);
    }
    assert!(received.recv().await.is_none());
}

#[tokio::test]
async fn a_lying_length_ends_the_lane_before_anything_is_reserved() {
    let (near, far) = tokio::io::duplex(64);
    let (inlet, _received) = LaneInlet::new(Lane::Raft, LIMITS);
    let mut near = near.compat();
    let lie = u32::try_from(MAX_RAFT_MESSAGE_BYTES + 1).unwrap();
    frame::write_bytes(&mut near, &lie.to_be_bytes(), STALL).await.unwrap();
    let read = read_lane(inlet, sender(), far.compat(), STALL).await;
    assert!(matches!(read, Err(FrameError::TooLarge { .. })));
}
