//! Starting, dialling again, stopping.

use super::*;

#[tokio::test]
async fn a_port_in_use_is_named_and_not_shared() {
    let first = start(config(1)).await;
    let taken = NetConfig { listen: vec![first.addr()], ..config(2) };
    match Net::start(taken).await.map(|_| ()) {
        Err(StartError::Listen { addr, source }) => {
            assert_eq!(addr, first.addr());
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
}

/// The addresses that a node has unless it is told otherwise.
#[tokio::test]
async fn all_addresses_of_both_families_can_be_listened_on_with_one_port() {
    let port = {
        let free = std::net::TcpListener::bind("[::]:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let wildcards = ["0.0.0.0", "[::]"].map(|host| format!("{host}:{port}").parse().unwrap());
    let node = start(NetConfig { listen: wildcards.to_vec(), ..config(1) }).await;
    for host in ["127.0.0.1", "[::1]"] {
        tokio::net::TcpStream::connect(format!("{host}:{port}")).await.unwrap();
    }
    node.stop().await;
}

#[tokio::test]
async fn a_name_can_be_listened_on_and_dialled() {
    let mut config_1 = config(1);
    config_1.listen = vec!["localhost:0".parse().unwrap()];
    let mut first = start(config_1).await;
    let mut second = start(config(2)).await;
    let by_name = format!("localhost:{}", first.addr().port()).parse().unwrap();
    let entry = PeerEntry { addrs: vec![by_name], rights: Rights::ALL, link: Link::Keep };
    register(&first, &[second.entry(Link::OnDemand)]).await;
    register(&second, &[(first.key, entry)]).await;
    first.until_up(second.key).await;
    second.until_up(first.key).await;
}

#[tokio::test]
async fn a_restart_on_another_port_is_found_by_the_new_registry() {
    let mut master = start(config_at("127.0.0.42", 1)).await;
    let mut worker = start(config(2)).await;
    introduce(&mut worker, &mut master).await;
    let key = master.key;
    master.stop().await;
    worker.until_down(key).await;
    // Nobody is at the old address: the failures name it.
    let errors = worker
        .until("dial failed", |event| match event {
            Event::DialFailed { peer, errors, .. } if peer == key => Break(errors),
            other => Continue(other),
        })
        .await;
    assert!(matches!(errors.as_slice(), [DialError::Unreachable { .. }]), "{errors:?}");
    let mut master = start(NetConfig { incarnation: 1, ..config(1) }).await;
    register(&master, &[worker.entry(Link::OnDemand)]).await;
    register(&worker, &[master.entry(Link::Keep)]).await;
    assert_eq!(worker.until_up(key).await, 1);
    master.until_up(worker.key).await;
}

#[tokio::test]
async fn a_restart_on_the_same_port_is_found_by_dialling_again() {
    let mut master = start(config_at("127.0.0.43", 1)).await;
    let mut worker = start(config(2)).await;
    introduce(&mut worker, &mut master).await;
    let listen = vec![master.addr()];
    let key = master.key;
    master.stop().await;
    worker.until_down(key).await;
    let mut master = start(NetConfig { incarnation: 1, listen, ..config(1) }).await;
    register(&master, &[worker.entry(Link::OnDemand)]).await;
    assert_eq!(worker.until_up(key).await, 1);
    master.until_up(worker.key).await;
}

#[tokio::test]
async fn another_node_at_the_address_is_not_mistaken_for_the_member() {
    let [mut node, other] = start_all().await;
    let absent = Keypair::from_seed([9; 32]).peer_key();
    let entry = PeerEntry { addrs: vec![other.addr()], rights: Rights::ALL, link: Link::Keep };
    register(&node, &[(absent, entry)]).await;
    let errors = node
        .until("dial failed", |event| match event {
            Event::DialFailed { peer, errors, .. } if peer == absent => Break(errors),
            other => Continue(other),
        })
        .await;
    let [DialError::WrongPeer { addr, expected, found }] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    assert_eq!((addr, *expected), (&other.addr(), absent));
    assert_eq!(*found, other.key.to_string());
}

#[tokio::test]
async fn an_on_demand_link_is_dialled_when_asked_for() {
    let [mut first, mut second] = start_all().await;
    register(&first, &[second.entry(Link::OnDemand)]).await;
    register(&second, &[first.entry(Link::OnDemand)]).await;
    assert!(first.net.connected().is_empty());
    let (one, two) = tokio::join!(first.net.connect(second.key), first.net.connect(second.key));
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert!(first.net.is_connected(&second.key));
    second.until_up(first.key).await;
    first.until_up(second.key).await;
    let nowhere = PeerEntry { addrs: Vec::new(), rights: Rights::ALL, link: Link::OnDemand };
    let absent = Keypair::from_seed([9; 32]).peer_key();
    register(&first, &[second.entry(Link::OnDemand), (absent, nowhere)]).await;
    let failed = first.net.connect(absent).await;
    assert_eq!(failed, Err(ConnectError::Dial { errors: vec![DialError::NoAddress] }));
}

#[tokio::test]
async fn a_stopped_network_leaves_no_task_and_says_so() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    let (net, key) = (first.net.clone(), second.key);
    // A call under way and a lane in use end with the network.
    let call = tokio::spawn({
        let net = net.clone();
        async move { net.call(key, CallClass::Control, "never answered".into(), 10).await }
    });
    let unanswered = second.until_call().await;
    net.send(key, Lane::Raft, "message".into()).unwrap();
    first.stop().await;
    assert!(matches!(call.await.unwrap(), Err(CallError::Lost { .. })));
    assert_eq!(net.set_registry(Registry::default()).await, Err(Stopped.into()));
    assert_eq!(net.send(key, Lane::Raft, "message".into()), Err(SendError::NotConnected));
    drop(unanswered);
    second.stop().await;
    eventually("no task is left", async || alive() <= before).await;
}

#[tokio::test]
async fn a_driver_dropped_half_way_leaves_no_task() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let [mut first, mut second] = start_all().await;
    introduce(&mut first, &mut second).await;
    first.driver.abort();
    second.until_down(first.key).await;
    drop(second.events);
    timeout(PATIENCE, second.driver).await.unwrap().unwrap().unwrap();
    eventually("no task is left", async || alive() <= before).await;
}

#[tokio::test]
async fn a_registry_over_the_limit_changes_nothing() {
    let mut small = config(1);
    (small.limits.registered_peers, small.limits.removed_peers) = (1, 1);
    let mut first = start(small).await;
    let mut second = start(config(2)).await;
    introduce(&mut first, &mut second).await;
    let third = Keypair::from_seed([3; 32]).peer_key();
    let entry = PeerEntry { addrs: Vec::new(), rights: Rights::ALL, link: Link::Keep };
    let both = registry_of(&[second.entry(Link::Keep), (third, entry)]);
    let registry = Registry { members: both, ..Registry::default() };
    let refused = first.net.set_registry(registry).await;
    assert_eq!(refused, Err(RegistryError::TooManyMembers { members: 2, limit: 1 }));
    let registry = Registry { removed: [second.key, third].into(), ..Registry::default() };
    let refused = first.net.set_registry(registry).await;
    assert_eq!(refused, Err(RegistryError::TooManyRemoved { removed: 2, limit: 1 }));
    assert!(first.net.is_connected(&second.key));
}
