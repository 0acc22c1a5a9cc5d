//! Unary calls between two networks.

use bytes::Bytes;

use super::*;

fn call_in_background(
    caller: &Node,
    callee: &Node,
    request: &'static str,
) -> JoinHandle<Result<Bytes, CallError>> {
    let (net, peer) = (caller.net.clone(), callee.key);
    tokio::spawn(async move {
        net.call_within(peer, CallClass::Control, request.into(), 1024, PATIENCE).await
    })
}

#[tokio::test]
async fn a_call_brings_its_own_response_back_in_any_order() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let one = call_in_background(&first, &second, "one");
    let call_one = second.until_call().await;
    let two = call_in_background(&first, &second, "two");
    let call_two = second.until_call().await;
    assert_eq!((call_one.from, call_one.class), (first.key, CallClass::Control));
    assert_eq!((&call_one.request[..], &call_two.request[..]), (&b"one"[..], &b"two"[..]));
    call_two.reply.send("second".into()).unwrap();
    assert_eq!(two.await.unwrap().unwrap(), "second");
    call_one.reply.send("first".into()).unwrap();
    assert_eq!(one.await.unwrap().unwrap(), "first");
}

#[tokio::test]
async fn the_called_side_can_call_back_over_the_same_connection() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let back = call_in_background(&second, &first, "back");
    first.until_call().await.reply.send("yes".into()).unwrap();
    assert_eq!(back.await.unwrap().unwrap(), "yes");
}

#[tokio::test]
async fn large_requests_and_responses_pass_and_larger_ones_are_refused() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let (net, peer) = (first.net.clone(), second.key);
    let request: Bytes = vec![3; MAX_REQUEST_BYTES].into();
    let response: Bytes = vec![5; MAX_RESPONSE_BYTES].into();
    let call = |request: Bytes, most| {
        let net = net.clone();
        tokio::spawn(async move { net.call(peer, CallClass::Bulk, request, most).await })
    };
    let whole = call(request.clone(), MAX_RESPONSE_BYTES);
    let inbound = second.until_call().await;
    assert_eq!(inbound.request, request);
    inbound.reply.send(response.clone()).unwrap();
    assert_eq!(whole.await.unwrap().unwrap(), response);

    let over = call("x".into(), 100);
    second.until_call().await.reply.send(vec![0; 101].into()).unwrap();
    let refused = CallError::ResponseTooLarge { len_bytes: 101, limit_bytes: 100 };
    assert_eq!(over.await.unwrap(), Err(refused));

    let over = call(vec![0; MAX_REQUEST_BYTES + 1].into(), 100).await.unwrap();
    assert!(matches!(over, Err(CallError::RequestTooLarge { .. })));
}

#[tokio::test]
async fn a_deadline_ends_the_call_at_both_ends() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let (net, peer) = (first.net.clone(), second.key);
    let deadline = Duration::from_millis(300);
    let call = tokio::spawn(async move {
        net.call_within(peer, CallClass::Control, "slow".into(), 10, deadline).await
    });
    let mut inbound = second.until_call().await;
    assert_eq!(call.await.unwrap(), Err(CallError::DeadlineExceeded { deadline_ms: 300 }));
    timeout(PATIENCE, inbound.reply.cancelled()).await.unwrap();
    assert_eq!(inbound.reply.send("late".into()), Err(NobodyWaits));
}

#[tokio::test]
async fn a_cancelled_call_is_seen_by_the_callee() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let call = call_in_background(&first, &second, "cancelled");
    let mut inbound = second.until_call().await;
    assert!(!inbound.reply.is_cancelled());
    call.abort();
    timeout(PATIENCE, inbound.reply.cancelled()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_reply_is_told_to_the_caller() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let call = call_in_background(&first, &second, "dropped");
    drop(second.until_call().await);
    assert_eq!(call.await.unwrap(), Err(CallError::Unanswered));
}

#[tokio::test]
async fn a_full_queue_is_busy_at_once() {
    let mut first = start(config(1)).await;
    let mut callee = config(2);
    callee.limits.call_queue = 1;
    let mut second = start(callee).await;
    introduce(&mut first, &mut second).await;
    // Nobody takes calls: one waits in the queue, and the next is refused although its request is
    // too large for the stream's window.
    let waiting = call_in_background(&first, &second, "waiting");
    let large: Bytes = vec![0; MAX_REQUEST_BYTES].into();
    let class = CallClass::Control;
    eventually("a call is refused", async || {
        let refused =
            first.net.call_within(second.key, class, large.clone(), 10, Duration::from_secs(1));
        refused.await == Err(CallError::Busy)
    })
    .await;
    let inbound = second.until_call().await;
    if inbound.request.len() > 100 {
        drop(inbound);
        assert_eq!(waiting.await.unwrap(), Err(CallError::Busy));
    } else {
        inbound.reply.send("served".into()).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), "served");
    }
}

#[tokio::test]
async fn calls_above_the_bound_wait_for_their_place() {
    let mut caller = config(1);
    caller.limits.control_calls.concurrent_per_peer = 2;
    let mut first = start(caller).await;
    let mut second = start(config(2)).await;
    introduce(&mut first, &mut second).await;
    let calls: Vec<_> = (0..5).map(|_| call_in_background(&first, &second, "x")).collect();
    let held = [second.until_call().await, second.until_call().await];
    // The class is full; another class has its own places.
    let (net, peer) = (first.net.clone(), second.key);
    let other =
        tokio::spawn(async move { net.call(peer, CallClass::Bulk, "bulk".into(), 10).await });
    let bulk = second.until_call().await;
    assert_eq!(bulk.class, CallClass::Bulk);
    bulk.reply.send("ok".into()).unwrap();
    other.await.unwrap().unwrap();
    for call in held {
        call.reply.send("done".into()).unwrap();
    }
    for _ in 0..3 {
        second.until_call().await.reply.send("done".into()).unwrap();
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "done");
    }
}

#[tokio::test]
async fn many_calls_at_once_lose_none() {
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let calls: Vec<_> = (0..500_u32)
        .map(|at| {
            let (net, peer) = (first.net.clone(), second.key);
            tokio::spawn(async move {
                let request = Bytes::copy_from_slice(&at.to_be_bytes());
                net.call_within(peer, CallClass::Control, request, 4, PATIENCE).await
            })
        })
        .collect();
    for _ in 0..500 {
        let call = second.until_call().await;
        call.reply.send(call.request).unwrap();
    }
    for (at, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), u32::try_from(at).unwrap().to_be_bytes()[..]);
    }
}
