//! Joining and probing: all that works without a registry.

use super::*;

async fn ask(
    node: &Node,
    addr: NetAddr,
    expected: Option<PeerKey>,
    request: &'static str,
) -> Result<JoinAnswer, JoinError> {
    timeout(PATIENCE, node.net.join(addr, expected, request.into())).await.unwrap()
}

fn join_in_background(
    node: &Node,
    master: &Node,
    request: &'static str,
) -> JoinHandle<Result<JoinAnswer, JoinError>> {
    let (net, addr, key) = (node.net.clone(), master.addr(), master.key);
    tokio::spawn(async move { net.join(addr, Some(key), request.into()).await })
}

#[tokio::test]
async fn a_stranger_asks_is_answered_and_becomes_a_member() {
    let [mut master, mut stranger] = start_all().await;
    let asked = join_in_background(&stranger, &master, "token");
    let join = master.until_join().await;
    assert_eq!(join.from, stranger.key);
    assert_eq!(join.remote_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(join.request, "token");
    // The registry may come before the answer, as a commit does.
    register(&master, &[stranger.entry(Link::OnDemand)]).await;
    join.reply.send("welcome".into()).unwrap();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.from, &answer.answer[..]), (master.key, &b"welcome"[..]));
    register(&stranger, &[master.entry(Link::Keep)]).await;
    stranger.until_up(master.key).await;
    master.until_up(stranger.key).await;
}

#[tokio::test]
async fn a_member_can_register_anew() {
    let [mut master, mut worker] = start_all().await;
    introduce(&mut worker, &mut master).await;
    let asked = join_in_background(&worker, &master, "moved");
    master.until_join().await.reply.send("noted".into()).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().answer, "noted");
    assert!(worker.net.is_connected(&master.key));
}

#[tokio::test]
async fn without_a_key_the_answer_tells_who_gave_it() {
    let [mut master, stranger] = start_all().await;
    let (net, addr) = (stranger.net.clone(), master.addr());
    let asked = tokio::spawn(async move { net.join(addr, None, "token".into()).await });
    master.until_join().await.reply.send("welcome".into()).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().from, master.key);
}

#[tokio::test]
async fn failures_to_join_are_named() {
    let [mut master, stranger] = start_all().await;
    let other = Keypair::from_seed([9; 32]).peer_key();
    match ask(&stranger, master.addr(), Some(other), "x").await {
        Err(JoinError::Dial { source: DialError::WrongPeer { expected, found, .. } }) => {
            assert_eq!((expected, found), (other, master.key.to_string()));
        }
        result => panic!("{result:?}"),
    }
    let own = ask(&stranger, stranger.addr(), None, "x").await;
    assert!(
        matches!(own, Err(JoinError::Dial { source: DialError::OwnIdentity { .. } })),
        "{own:?}"
    );
    let asked = join_in_background(&stranger, &master, "token");
    drop(master.until_join().await);
    assert_eq!(asked.await.unwrap(), Err(JoinError::Unanswered { addr: master.addr() }));
    let foreign = start(NetConfig { cluster_id: ClusterId([8; 16]), ..config(3) }).await;
    let refused = ask(&foreign, master.addr(), None, "x").await;
    assert_eq!(refused, Err(JoinError::ForeignCluster { addr: master.addr() }));
    let large = vec![0; MAX_JOIN_BYTES + 1];
    let refused = stranger.net.join(master.addr(), None, large.into()).await;
    assert!(matches!(refused, Err(JoinError::TooLarge { .. })));
    let addr = master.addr();
    master.stop().await;
    match ask(&stranger, addr.clone(), Some(other), "x").await {
        Err(JoinError::Dial { source: DialError::Unreachable { addr: named, .. } }) => {
            assert_eq!(named, addr);
        }
        result => panic!("{result:?}"),
    }
}

#[tokio::test]
async fn joins_are_rate_limited_with_the_time_to_wait() {
    let mut strict = config(1);
    strict.limits.join.burst_per_ip = 2;
    strict.limits.join.refill_per_ip_ms = 3_600_000;
    let mut master = start(strict).await;
    let stranger = start(config(2)).await;
    for _ in 0..2 {
        let asked = join_in_background(&stranger, &master, "token");
        master.until_join().await.reply.send("ok".into()).unwrap();
        asked.await.unwrap().unwrap();
    }
    match ask(&stranger, master.addr(), None, "token").await {
        Err(JoinError::RateLimited { retry_after_ms }) => {
            assert!(retry_after_ms > 3_000_000, "{retry_after_ms}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn strangers_are_bounded_in_number_and_members_are_not_affected() {
    let mut strict = config(1);
    strict.limits.join.guests = 1;
    let mut master = start(strict).await;
    let [first, second] = [start(config(2)).await, start(config(3)).await];
    let mut member = start(config(4)).await;
    let asked = join_in_background(&first, &master, "first");
    let held = master.until_join().await;
    let refused = ask(&second, master.addr(), None, "second").await;
    assert!(matches!(refused, Err(JoinError::Lost { .. } | JoinError::Dial { .. })), "{refused:?}");
    introduce(&mut member, &mut master).await;
    held.reply.send("ok".into()).unwrap();
    asked.await.unwrap().unwrap();
    // The place is free again.
    eventually("the second gets in", async || {
        let asked = join_in_background(&second, &master, "second");
        tokio::select! {
            biased;
            join = master.until_join() => {
                join.reply.send("ok".into()).unwrap();
                asked.await.unwrap().is_ok()
            }
            () = async { while !asked.is_finished() { tokio::task::yield_now().await } } => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_probe_tells_who_is_at_an_address() {
    let [mut master, mut worker] = start_all().await;
    let nobody = Keypair::from_seed([9; 32]).peer_key();
    // The worker expects the master and is not in its registry yet.
    register(&worker, &[master.entry(Link::OnDemand)]).await;
    master.net.probe(worker.addr(), worker.key).await.unwrap();
    let wrong = master.net.probe(worker.addr(), nobody).await;
    assert!(matches!(wrong, Err(DialError::WrongPeer { .. })), "{wrong:?}");
    // A probe is no connection, for either end.
    assert!(master.net.connected().is_empty());
    assert!(worker.net.connected().is_empty());
    introduce(&mut worker, &mut master).await;
    master.net.probe(worker.addr(), worker.key).await.unwrap();
    assert!(master.net.is_connected(&worker.key));
    let (addr, key) = (worker.addr(), worker.key);
    worker.stop().await;
    match master.net.probe(addr.clone(), key).await {
        Err(DialError::Unreachable { addr: named, detail }) => {
            assert_eq!(named, addr);
            assert!(detail.contains("refused"), "{detail}");
        }
        result => panic!("{result:?}"),
    }
}
