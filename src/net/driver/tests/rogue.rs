//! A peer that does not keep the rules: raw streams against a correct network.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Stream, StreamProtocol, Swarm};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admission::DialTo;
use crate::behaviour::{self, ClusterBehaviour, ClusterBehaviourEvent};
use crate::hello::{self, Hello};
use crate::net;
use crate::registry::Membership;
use crate::streams::{OpenReply, Proto, ProtoNames};
use crate::tasks::Tasks;

/// What a rogue saw of the others' protocols.
#[derive(Debug, Default)]
struct Seen {
    gossip_peers: usize,
    identified: bool,
}

struct Rogue {
    key: PeerKey,
    hello: Hello,
    opens: mpsc::Sender<(StreamProtocol, OpenReply)>,
    looks: mpsc::Sender<oneshot::Sender<Seen>>,
    closed: CancellationToken,
    _stop: tokio_util::sync::DropGuard,
}

impl Rogue {
    /// Connects to `target`, holding it for a member whatever it thinks.
    async fn connect(seed: u8, target: &Node) -> Self {
        let config = config(seed);
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let membership = Membership::default();
        membership.replace(&registry_of(&[target.entry(Link::Keep)]));
        let behaviour = behaviour::build(&config, &membership, Arc::default()).unwrap();
        let local = config.keypair.peer_key().to_peer_id();
        let settings = net::swarm_config(&config, &tasks);
        let mut swarm =
            Swarm::new(net::transport(&config, None).unwrap(), behaviour, local, settings);
        let opts = DialOpts::peer_id(target.key.to_peer_id())
            .addresses(vec![target.addr().to_multiaddr()])
            .allocate_new_port()
            .build();
        let id = opts.connection_id();
        swarm.behaviour_mut().admission.expect_dial(id, DialTo::Anyone);
        swarm.dial(opts).unwrap();
        let (opens, open_wishes) = mpsc::channel(64);
        let (looks, look_wishes) = mpsc::channel(1);
        let (up, is_up) = oneshot::channel();
        let closed = CancellationToken::new();
        let target = target.key;
        let work = work(swarm, id, target, up, closed.clone(), open_wishes, look_wishes);
        tasks.spawn(work);
        timeout(PATIENCE, is_up).await.unwrap().unwrap();
        let key = config.keypair.peer_key();
        let hello = Hello::from(&config);
        Self { key, hello, opens, looks, closed, _stop: stop.drop_guard() }
    }

    async fn open(&self, proto: Proto) -> Option<Stream> {
        self.open_named(ProtoNames::new(CLUSTER).name(proto)).await
    }

    async fn open_named(&self, proto: StreamProtocol) -> Option<Stream> {
        let (reply, opened) = oneshot::channel();
        self.opens.send((proto, reply)).await.unwrap();
        timeout(PATIENCE, opened).await.unwrap().ok()?.ok()
    }

    async fn say_hello(&self) {
        let mut stream = self.open(Proto::Hello).await.unwrap();
        hello::say(&mut stream, self.hello, PATIENCE).await.unwrap();
    }

    /// Whether the other end speaks the protocol: a refused stream ends instead.
    async fn is_served(&self, proto: Proto, request: &[u8]) -> bool {
        self.is_served_named(ProtoNames::new(CLUSTER).name(proto), request).await
    }

    async fn is_served_named(&self, proto: StreamProtocol, request: &[u8]) -> bool {
        let Some(mut stream) = self.open_named(proto).await else { return false };
        if stream.write_all(request).await.is_err() || stream.flush().await.is_err() {
            return false;
        }
        matches!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap(), Ok(1))
    }

    async fn look(&self) -> Seen {
        let (reply, seen) = oneshot::channel();
        self.looks.send(reply).await.unwrap();
        seen.await.unwrap()
    }
}

async fn work(
    mut swarm: Swarm<ClusterBehaviour>,
    id: ConnectionId,
    target: PeerKey,
    up: oneshot::Sender<()>,
    closed: CancellationToken,
    mut opens: mpsc::Receiver<(StreamProtocol, OpenReply)>,
    mut looks: mpsc::Receiver<oneshot::Sender<Seen>>,
) {
    let mut up = Some(up);
    let mut identified = false;
    loop {
        tokio::select! {
            biased;
            Some((proto, reply)) = opens.recv() => {
                swarm.behaviour_mut().streams.open_named(target.to_peer_id(), id, proto, reply);
            }
            Some(reply) = looks.recv() => {
                let gossip = swarm.behaviour_mut().gossip.inner_mut().as_mut().unwrap();
                let gossip_peers = gossip.all_peers().filter(|(_, topics)| !topics.is_empty()).count();
                reply.send(Seen { gossip_peers, identified }).unwrap();
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => up.take().unwrap().send(()).unwrap(),
                SwarmEvent::ConnectionClosed { .. } => closed.cancel(),
                SwarmEvent::Behaviour(ClusterBehaviourEvent::Identify(
                    libp2p::identify::Event::Received { .. },
                )) => identified = true,
                _ => {}
            },
        }
    }
}

fn call_request(class: u8, len: u32, payload: &[u8]) -> Bytes {
    let mut request = vec![class];
    request.extend(5_000_u32.to_be_bytes());
    request.extend(100_u32.to_be_bytes());
    request.extend(len.to_be_bytes());
    request.extend(payload);
    request.into()
}

#[tokio::test]
async fn a_stranger_reaches_the_join_protocol_and_nothing_else() {
    let mut master = start(config(1)).await;
    let rogue = Rogue::connect(2, &master).await;
    assert!(!rogue.is_served(Proto::Call, &call_request(0, 1, b"x")).await);
    assert!(!rogue.is_served(Proto::Raft, &[0, 0, 0, 1, 9]).await);
    let seen = rogue.look().await;
    assert_eq!((seen.gossip_peers, seen.identified), (0, false));
    let mut join = rogue.open(Proto::Join).await.unwrap();
    let mut request = CLUSTER.0.to_vec();
    request.extend([0, 0, 0, 1, 9]);
    join.write_all(&request).await.unwrap();
    join.flush().await.unwrap();
    let inbound = master.until_join().await;
    assert_eq!((inbound.from, &inbound.request[..]), (rogue.key, &[9][..]));
    inbound.reply.send("answer".into()).unwrap();
    let mut answer = [0; 15];
    timeout(PATIENCE, join.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer[9..], b"answer");
    // One answer, then the stranger is shown out.
    timeout(PATIENCE, rogue.closed.cancelled()).await.unwrap();
    assert_eq!(master.net.gossip_peers(Topic::Pins).await, Ok(0));
    assert!(matches!(master.events.try_recv(), None | Some(Event::HelloRefused { .. })));
}

#[tokio::test]
async fn a_silent_stranger_is_shown_out() {
    let mut short = config(1);
    short.limits.join.guest_ms = 300;
    let master = start(short).await;
    let rogue = Rogue::connect(2, &master).await;
    timeout(PATIENCE, rogue.closed.cancelled()).await.unwrap();
    drop(master);
}

#[tokio::test]
async fn a_member_that_says_no_hello_is_not_served_and_shown_out() {
    let mut short = config(1);
    short.timing.hello_ms = 200;
    let mut master = start(short).await;
    let key = Keypair::from_seed([2; 32]).peer_key();
    let entry = PeerEntry { addrs: Vec::new(), rights: Rights::ALL, link: Link::OnDemand };
    register(&master, &[(key, entry)]).await;
    let rogue = Rogue::connect(2, &master).await;
    assert!(!rogue.is_served(Proto::Call, &call_request(0, 1, b"x")).await);
    timeout(PATIENCE, rogue.closed.cancelled()).await.unwrap();
    assert_eq!(master.until_refused(key).await, (RefusedBy::Them, HelloError::TimedOut));
}

async fn registered_rogue(master: &mut Node) -> Rogue {
    rogue_with(Rights::ALL, master).await
}

async fn rogue_with(rights: Rights, master: &mut Node) -> Rogue {
    let key = Keypair::from_seed([2; 32]).peer_key();
    let entry = PeerEntry { addrs: Vec::new(), rights, link: Link::OnDemand };
    register(master, &[(key, entry)]).await;
    let rogue = Rogue::connect(2, master).await;
    rogue.say_hello().await;
    master.until_up(key).await;
    rogue
}

#[tokio::test]
async fn a_lying_request_length_ends_the_connection() {
    let mut master = start(config(1)).await;
    let rogue = registered_rogue(&mut master).await;
    assert!(!rogue.is_served(Proto::Call, &call_request(0, u32::MAX, b"x")).await);
    let reason = master.until_down(rogue.key).await;
    assert!(matches!(reason, DownReason::ProtocolViolation { .. }), "{reason:?}");
    timeout(PATIENCE, rogue.closed.cancelled()).await.unwrap();
}

#[tokio::test]
async fn a_lying_message_length_ends_the_connection() {
    let mut master = start(config(1)).await;
    let rogue = registered_rogue(&mut master).await;
    assert!(!rogue.is_served(Proto::Raft, &u32::MAX.to_be_bytes()).await);
    let reason = master.until_down(rogue.key).await;
    assert!(matches!(reason, DownReason::ProtocolViolation { .. }), "{reason:?}");
}

#[tokio::test]
async fn an_unknown_class_is_refused_and_the_connection_lives() {
    let mut master = start(config(1)).await;
    let rogue = registered_rogue(&mut master).await;
    assert!(!rogue.is_served(Proto::Call, &call_request(77, 1, b"x")).await);
    let mut stream = rogue.open(Proto::Call).await.unwrap();
    stream.write_all(&call_request(0, 1, b"x")).await.unwrap();
    stream.flush().await.unwrap();
    master.until_call().await.reply.send("ok".into()).unwrap();
    let mut response = [0; 7];
    timeout(PATIENCE, stream.read_exact(&mut response)).await.unwrap().unwrap();
    assert_eq!(response, [0, 0, 0, 0, 2, b'o', b'k']);
}

#[tokio::test]
async fn a_frame_on_a_lane_without_the_right_never_reaches_the_owner() {
    let mut master = start(config(1)).await;
    let rogue = rogue_with(Rights::AUTHOR_STATUS, &mut master).await;
    assert!(!rogue.is_served(Proto::Raft, &[0, 0, 0, 1, 9]).await);
    // No other lane leads there.
    let other = format!("/ipfs-kit/{CLUSTER}/feed/{WIRE_VERSION}");
    let other = StreamProtocol::try_from_owned(other).unwrap();
    assert!(!rogue.is_served_named(other, &[0, 0, 0, 1, 9]).await);
    // It is a member all the same.
    let mut stream = rogue.open(Proto::Call).await.unwrap();
    stream.write_all(&call_request(0, 1, b"x")).await.unwrap();
    stream.flush().await.unwrap();
    master.until_call().await.reply.send("ok".into()).unwrap();
    assert!(!master.has_message());
}

#[tokio::test]
async fn a_second_lane_stream_takes_the_lane_over() {
    let mut master = start(config(1)).await;
    let rogue = registered_rogue(&mut master).await;
    let mut streams = Vec::new();
    for byte in [1, 2] {
        let mut stream = rogue.open(Proto::Raft).await.unwrap();
        stream.write_all(&[0, 0, 0, 1, byte]).await.unwrap();
        stream.flush().await.unwrap();
        let got = master
            .until("message", |event| match event {
                Event::Message { bytes, .. } => Break(bytes),
                other => Continue(other),
            })
            .await;
        assert_eq!(got, [byte][..]);
        streams.push(stream);
    }
    // The first stream has no reader any more.
    let first = &mut streams[0];
    eventually("the first stream is reset", async || {
        first.write_all(&[0; 1]).await.is_err() || first.flush().await.is_err()
    })
    .await;
}

/// A gossip message as it stands on the wire, field by field.
#[derive(Clone)]
struct Signed {
    author: Vec<u8>,
    data: &'static str,
    seqno: u64,
    signature: Option<Vec<u8>>,
}

impl Signed {
    /// Unsigned.
    fn new(author: PeerKey, data: &'static str) -> Self {
        let seqno = u64::from(data.len() as u32) + 1;
        Self { author: author.to_peer_id().to_bytes(), data, seqno, signature: None }
    }

    fn sign(mut self, seed: u8) -> Self {
        let signed = [b"libp2p-pubsub:".as_slice(), &self.encode()].concat();
        self.signature = Some(config(seed).keypair.to_libp2p().sign(&signed).unwrap());
        self
    }

    fn encode(&self) -> Vec<u8> {
        let topic = format!("/ipfs-kit/{CLUSTER}/pins/1");
        let seqno = self.seqno.to_be_bytes();
        let fields = [
            (1, Some(&self.author[..])),
            (2, Some(self.data.as_bytes())),
            (3, Some(&seqno[..])),
            (4, Some(topic.as_bytes())),
            (5, self.signature.as_deref()),
        ];
        let present = fields.iter().filter_map(|(number, bytes)| Some((number, (*bytes)?)));
        present.flat_map(|(number, bytes)| field(*number, bytes)).collect()
    }

    /// In a frame of its own.
    fn frame(&self) -> Vec<u8> {
        let rpc = field(2, &self.encode());
        [varint(rpc.len()), rpc].concat()
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(bytes.len()), bytes.to_vec()].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[tokio::test]
async fn unsigned_and_wrongly_signed_gossip_never_reaches_the_owner() {
    let mut master = start(config(1)).await;
    let rogue = registered_rogue(&mut master).await;
    // A third member, in whose name the rogue would speak.
    let victim = Keypair::from_seed([3; 32]).peer_key();
    let entry = || PeerEntry { addrs: Vec::new(), rights: Rights::ALL, link: Link::OnDemand };
    register(&master, &[(rogue.key, entry()), (victim, entry())]).await;
    let name = format!("/ipfs-kit/{CLUSTER}/{}/gossip/1.1.0", config(1).epoch);
    let mut stream = rogue.open_named(StreamProtocol::try_from_owned(name).unwrap()).await.unwrap();
    let of_another = Signed::new(victim, "signed by another").sign(2);
    let mut altered = Signed::new(rogue.key, "altered afterwards").sign(2);
    altered.data = "ALTERED AFTERWARDS";
    for forged in [Signed::new(rogue.key, "unsigned"), of_another, altered] {
        stream.write_all(&forged.frame()).await.unwrap();
    }
    // Signed as it should be, so that it is the signature which made the difference.
    stream.write_all(&Signed::new(rogue.key, "its own word").sign(2).frame()).await.unwrap();
    stream.write_all(&Signed::new(victim, "the other's word").sign(3).frame()).await.unwrap();
    stream.flush().await.unwrap();
    for (author, word) in [(rogue.key, "its own word"), (victim, "the other's word")] {
        let message = master.until_gossip().await;
        assert_eq!((message.author, &message.bytes[..]), (author, word.as_bytes()));
        message.validate.accept();
    }
}
