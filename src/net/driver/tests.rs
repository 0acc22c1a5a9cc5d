//! Whole networks over loopback TCP with ports that the kernel chooses. Every wait is for a
//! condition and has a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::*;

mod bulk;
mod calls;
mod gossip;
mod handshake;
mod join;
mod lanes;
mod lifecycle;
mod rogue;

const CLUSTER: ClusterId = ClusterId([7; 16]);
/// Far longer than anything takes, for machines under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// One network under test.
struct Node {
    key: PeerKey,
    net: NetHandle,
    events: NetEvents,
    /// Events that came while another was awaited.
    passed: VecDeque<Event>,
    driver: JoinHandle<Result<(), NetFailure>>,
}

fn config(seed: u8) -> NetConfig {
    let mut config = NetConfig::new(Keypair::from_seed([seed; 32]), CLUSTER);
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.timing.redial_max_ms = 500;
    config
}

/// On an address that nothing else on this machine uses, so that its port stays free while the node is down.
fn config_at(host: &str, seed: u8) -> NetConfig {
    NetConfig { listen: vec![format!("{host}:0").parse().unwrap()], ..config(seed) }
}

async fn start(config: NetConfig) -> Node {
    let (net, events, driver) = Net::start(config).await.unwrap();
    let driver = tokio::spawn(driver);
    Node { key: net.local(), net, events, passed: VecDeque::new(), driver }
}

async fn start_all<const N: usize>() -> [Node; N] {
    let mut nodes = Vec::new();
    for seed in 0..N {
        nodes.push(start(config(u8::try_from(seed).unwrap() + 1)).await);
    }
    nodes.try_into().ok().unwrap()
}

/// Waits for `what` to come true.
async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

impl Node {
    fn addr(&self) -> NetAddr {
        self.net.bound_addrs()[0].clone()
    }

    fn entry(&self, link: Link) -> (PeerKey, PeerEntry) {
        (self.key, PeerEntry { addrs: vec![self.addr()], rights: Rights::ALL, link })
    }

    /// Waits for an event; the others keep their order.
    async fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Event) -> ControlFlow<T, Event>,
    ) -> T {
        for _ in 0..self.passed.len() {
            match self.passed.pop_front().map(&mut pick) {
                Some(Break(picked)) => return picked,
                Some(Continue(event)) => self.passed.push_back(event),
                None => break,
            }
        }
        loop {
            let event = timeout(PATIENCE, self.events.recv())
                .await
                .unwrap_or_else(|_| panic!("{what} never came; passed: {:?}", self.passed))
                .unwrap_or_else(|| panic!("network ended before {what}"));
            match pick(event) {
                Break(picked) => return picked,
                Continue(event) => self.passed.push_back(event),
            }
        }
    }

    async fn until_up(&mut self, who: PeerKey) -> u64 {
        self.until("peer up", |event| match event {
            Event::PeerUp { peer, incarnation, .. } if peer == who => Break(incarnation),
            other => Continue(other),
        })
        .await
    }

    async fn until_down(&mut self, who: PeerKey) -> DownReason {
        self.until("peer down", |event| match event {
            Event::PeerDown { peer, reason } if peer == who => Break(reason),
            other => Continue(other),
        })
        .await
    }

    async fn until_refused(&mut self, who: PeerKey) -> (RefusedBy, HelloError) {
        self.until("hello refused", |event| match event {
            Event::HelloRefused { peer, by, error, .. } if peer == who => Break((by, error)),
            other => Continue(other),
        })
        .await
    }

    async fn until_call(&mut self) -> InboundCall {
        self.until("call", |event| match event {
            Event::Call(call) => Break(call),
            other => Continue(other),
        })
        .await
    }

    async fn until_join(&mut self) -> InboundJoin {
        self.until("join", |event| match event {
            Event::Join(join) => Break(join),
            other => Continue(other),
        })
        .await
    }

    async fn until_gossip(&mut self) -> GossipMessage {
        self.until("gossip", |event| match event {
            Event::Gossip(message) => Break(message),
            other => Continue(other),
        })
        .await
    }

    /// Whether a message on a lane has come and nobody has taken it.
    fn has_message(&mut self) -> bool {
        self.passed.extend(std::iter::from_fn(|| self.events.try_recv()));
        self.passed.iter().any(|event| matches!(event, Event::Message { .. }))
    }

    /// Ends the network and fails if its driver failed.
    async fn stop(self) {
        timeout(PATIENCE, self.net.shutdown()).await.unwrap();
        timeout(PATIENCE, self.driver).await.unwrap().unwrap().unwrap();
    }
}

async fn register(node: &Node, others: &[(PeerKey, PeerEntry)]) {
    register_with(node, others, &[]).await;
}

async fn register_with(node: &Node, others: &[(PeerKey, PeerEntry)], removed: &[PeerKey]) {
    let removed = removed.iter().copied().collect();
    node.net.set_registry(Registry { members: registry_of(others), removed }).await.unwrap();
}

/// Makes two nodes members of each other's registry and waits until they are connected.
async fn introduce(dialler: &mut Node, listener: &mut Node) {
    register(listener, &[dialler.entry(Link::OnDemand)]).await;
    register(dialler, &[listener.entry(Link::Keep)]).await;
    dialler.until_up(listener.key).await;
    listener.until_up(dialler.key).await;
}

/// Makes two nodes members of each other's registry where the first can't reach the second but over the
/// connection that the second has made.
async fn introduce_unreachable(first: &mut Node, second: &mut Node) {
    let nowhere = PeerEntry { addrs: Vec::new(), ..second.entry(Link::OnDemand).1 };
    register(first, &[(second.key, nowhere)]).await;
    register(second, &[first.entry(Link::Keep)]).await;
    first.until_up(second.key).await;
    second.until_up(first.key).await;
}

fn registry_of(entries: &[(PeerKey, PeerEntry)]) -> BTreeMap<PeerKey, PeerEntry> {
    entries.iter().cloned().collect()
}
