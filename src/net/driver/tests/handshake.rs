//! The hello over real connections, and what the registry decides.

use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn members_connect_and_learn_who_they_met() {
    let mut first = start(NetConfig { incarnation: 41, ..config(1) }).await;
    let mut second = start(NetConfig { incarnation: 42, ..config(2) }).await;
    register(&second, &[first.entry(Link::OnDemand)]).await;
    register(&first, &[second.entry(Link::Keep)]).await;
    assert_eq!(first.until_up(second.key).await, 42);
    assert_eq!(second.until_up(first.key).await, 41);
    let connected = first.net.connected();
    assert_eq!(connected.len(), 1);
    assert_eq!(connected[0].peer, second.key);
    assert_eq!(connected[0].addr, Some(second.addr()));
    first.stop().await;
    second.until_down(first_key()).await;
    second.stop().await;
}

fn first_key() -> PeerKey {
    Keypair::from_seed([1; 32]).peer_key()
}

#[tokio::test]
async fn members_that_dial_each_other_at_once_settle_as_one_peer() {
    let [mut first, mut second] = start_all().await;
    let entries = [first.entry(Link::Keep), second.entry(Link::Keep)];
    // The own entry is allowed and has no effect.
    register(&first, &entries).await;
    register(&second, &entries).await;
    first.until_up(second.key).await;
    second.until_up(first.key).await;
    let reply = tokio::spawn({
        let (net, peer) = (first.net.clone(), second.key);
        async move { net.call(peer, CallClass::Control, "ping".into(), 10).await }
    });
    second.until_call().await.reply.send("pong".into()).unwrap();
    assert_eq!(reply.await.unwrap().unwrap(), "pong");
    assert_eq!(first.net.connected().len(), 1);
}

#[tokio::test]
async fn a_foreign_cluster_is_refused_and_named_at_both_ends() {
    let mut ours = start(config(1)).await;
    let foreign_id = ClusterId([8; 16]);
    let mut foreign = start(NetConfig { cluster_id: foreign_id, ..config(2) }).await;
    register(&ours, &[foreign.entry(Link::OnDemand)]).await;
    register(&foreign, &[ours.entry(Link::Keep)]).await;
    let (by, error) = ours.until_refused(foreign.key).await;
    assert_eq!(by, RefusedBy::Us);
    assert_eq!(error, HelloError::ForeignCluster { theirs: Some(foreign_id) });
    let (by, error) = foreign.until_refused(ours.key).await;
    assert_eq!(by, RefusedBy::Them);
    assert_eq!(error, HelloError::ForeignCluster { theirs: None });
    assert!(ours.net.connected().is_empty());
    assert!(foreign.net.connected().is_empty());
}

#[tokio::test]
async fn an_older_history_is_refused_and_named_at_both_ends() {
    let mut newer = start(NetConfig { epoch: 2, ..config(1) }).await;
    let mut older = start(NetConfig { epoch: 1, ..config(2) }).await;
    register(&newer, &[older.entry(Link::OnDemand)]).await;
    register(&older, &[newer.entry(Link::Keep)]).await;
    let (_, error) = newer.until_refused(older.key).await;
    assert_eq!(error, HelloError::WrongEpoch { ours: 2, theirs: 1 });
    let (_, error) = older.until_refused(newer.key).await;
    assert_eq!(error, HelloError::WrongEpoch { ours: 1, theirs: 2 });
}

#[tokio::test]
async fn a_node_that_nobody_registered_is_told_so() {
    let [mut master, mut stranger] = start_all().await;
    register(&stranger, &[master.entry(Link::Keep)]).await;
    assert_eq!(
        stranger.until_refused(master.key).await,
        (RefusedBy::Them, HelloError::NotRegistered)
    );
    assert_eq!(
        master.until_refused(stranger.key).await,
        (RefusedBy::Us, HelloError::NotRegistered)
    );
    // Once it is registered, its next dial succeeds.
    register(&master, &[stranger.entry(Link::OnDemand)]).await;
    stranger.until_up(master.key).await;
    master.until_up(stranger.key).await;
}

#[tokio::test]
async fn removal_from_the_registry_closes_at_once() {
    let [mut master, mut worker] = start_all().await;
    introduce(&mut worker, &mut master).await;
    register(&master, &[]).await;
    assert!(!master.net.is_connected(&worker.key));
    assert_eq!(master.until_down(worker.key).await, DownReason::Removed);
    worker.until_down(master.key).await;
    let refused = master.net.call(worker.key, CallClass::Control, "x".into(), 1).await;
    assert_eq!(refused, Err(CallError::NotConnected));
    assert_eq!(master.net.connect(worker.key).await, Err(ConnectError::NotRegistered));
    // The removed member dials on and is refused.
    assert_eq!(worker.until_refused(master.key).await.1, HelloError::NotRegistered);
}

#[tokio::test]
async fn a_member_that_was_removed_for_good_is_told_so_whenever_it_dials() {
    let mut master = start(config(1)).await;
    let mut worker = start(config(2)).await;
    introduce(&mut worker, &mut master).await;
    register_with(&master, &[], &[worker.key]).await;
    worker.until_down(master.key).await;
    for _ in 0..2 {
        assert_eq!(worker.until_refused(master.key).await, (RefusedBy::Them, HelloError::Removed));
        assert_eq!(master.until_refused(worker.key).await, (RefusedBy::Us, HelloError::Removed));
    }
    // A next start of it is told the same, any other stranger what strangers are told.
    worker.stop().await;
    let mut again = start(NetConfig { incarnation: 1, ..config(2) }).await;
    let mut stranger = start(config(3)).await;
    for node in [&again, &stranger] {
        register(node, &[master.entry(Link::Keep)]).await;
    }
    assert_eq!(again.until_refused(master.key).await.1, HelloError::Removed);
    assert_eq!(stranger.until_refused(master.key).await.1, HelloError::NotRegistered);
    assert!(master.net.connected().is_empty());
    // Whoever is a member is one, whatever it was before.
    register_with(&master, &[again.entry(Link::OnDemand)], &[again.key]).await;
    timeout(PATIENCE, again.until_up(master.key)).await.unwrap();
}

#[tokio::test]
async fn two_nodes_with_one_identity_are_noticed() {
    let mut master = start(config(1)).await;
    let mut newer = start(NetConfig { incarnation: 2, ..config(2) }).await;
    introduce(&mut newer, &mut master).await;
    let mut stale = start(NetConfig { incarnation: 1, ..config(2) }).await;
    register(&stale, &[master.entry(Link::Keep)]).await;
    let seen = HelloError::StaleIncarnation { newest: 2 };
    assert_eq!(stale.until_refused(master.key).await, (RefusedBy::Them, seen.clone()));
    assert_eq!(master.until_refused(stale.key).await, (RefusedBy::Us, seen));
    assert!(master.net.is_connected(&newer.key));
    assert!(newer.net.is_connected(&master.key));
}

#[tokio::test]
async fn a_copy_of_a_running_node_is_refused_and_the_node_stays() {
    let mut master = start(config(1)).await;
    let mut older = start(NetConfig { incarnation: 1, ..config(2) }).await;
    introduce(&mut older, &mut master).await;
    let mut copy = start(NetConfig { incarnation: 2, ..config(2) }).await;
    register(&copy, &[master.entry(Link::Keep)]).await;
    let seen = HelloError::IdentityInUse { other: 1 };
    assert_eq!(copy.until_refused(master.key).await, (RefusedBy::Them, seen.clone()));
    assert_eq!(master.until_refused(copy.key).await, (RefusedBy::Us, seen));
    assert!(older.net.is_connected(&master.key));
    // Once the node has gone, its next start is welcome.
    older.stop().await;
    master.until_down(copy.key).await;
    assert_eq!(master.until_up(copy.key).await, 2);
}

/// Passes bytes on to `target` until it is cut: then both ends stay open and nothing comes through, as
/// after a power cut.
async fn wire_to(target: &Node, cut: CancellationToken) -> NetAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = NetAddr::from(listener.local_addr().unwrap());
    let target: std::net::SocketAddr = target.addr().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
        let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
        drop(cut.run_until_cancelled(copy).await);
        std::future::pending::<()>().await;
    });
    addr
}

#[tokio::test]
async fn a_newer_start_takes_the_place_of_one_that_does_not_answer() {
    let mut config = config(1);
    config.timing.hello_ms = 2_000;
    let mut master = start(config).await;
    let mut older = start(NetConfig { incarnation: 1, ..super::config(2) }).await;
    let cut = CancellationToken::new();
    let (key, mut entry) = master.entry(Link::Keep);
    entry.addrs = vec![wire_to(&master, cut.clone()).await];
    register(&master, &[older.entry(Link::OnDemand)]).await;
    register(&older, &[(key, entry)]).await;
    assert_eq!(master.until_up(older.key).await, 1);
    older.until_up(master.key).await;
    cut.cancel();
    let newer = start(NetConfig { incarnation: 2, ..super::config(2) }).await;
    register(&newer, &[master.entry(Link::Keep)]).await;
    assert_eq!(master.until_down(newer.key).await, DownReason::Superseded);
    assert_eq!(master.until_up(newer.key).await, 2);
}
