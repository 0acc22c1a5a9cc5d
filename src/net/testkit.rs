//! The readers of the wire over bytes in memory, for fuzzing. Each runs both ends' readers over the same
//! bytes and gives nothing back: what matters is that it ends, and what it reserves meanwhile.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::AllowStdIo;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::calls::serve::{self, CallServer};
use crate::calls::{self, ClassGates};
use crate::config::NetLimits;
use crate::hello::{self, Hello, Standing};
use crate::identity::Keypair;
use crate::join::{self, JoinServer};
use crate::lanes::{self, LaneInlet};
use crate::rate::JoinRate;
use crate::{CallClass, ClusterId, Lane, NetAddr, WIRE_VERSION};

/// The cluster of this end.
pub const CLUSTER: ClusterId = ClusterId([7; 16]);
/// Longer than anything in memory takes.
const LIMIT: Duration = Duration::from_secs(3600);

/// Reads what is there and forgets what is written.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wire(bytes: &[u8]) -> AllowStdIo<Wire<'_>> {
    AllowStdIo::new(Wire(bytes))
}

fn ours() -> Hello {
    let wire_version = u16::try_from(WIRE_VERSION).expect("it is a small number");
    Hello { cluster_id: CLUSTER, epoch: 1, wire_version, incarnation: 5 }
}

/// The hello that this end would accept.
#[must_use]
pub fn hello_bytes() -> Vec<u8> {
    ours().encode().to_vec()
}

/// A hello that is heard, and the answer to one that was said.
pub async fn hello(bytes: &[u8]) {
    let known = Standing::Member { newest: Some(4) };
    for standing in [known, Standing::Removed, Standing::Stranger] {
        let answers = async { true };
        // Refusals are as good as any other end.
        let _ = hello::hear(&mut wire(bytes), ours(), standing, answers, LIMIT).await;
    }
    let _ = hello::say(&mut wire(bytes), ours(), LIMIT).await;
}

/// The messages of a lane.
pub async fn lane(bytes: &[u8]) {
    let (inlet, mut deliveries) = LaneInlet::new(Lane::Raft, NetLimits::default().raft_lane);
    let from = Keypair::from_seed([2; 32]).peer_key();
    let read = lanes::read_lane(inlet, from, wire(bytes), LIMIT);
    let take = async { while deliveries.recv().await.is_some() {} };
    let _ = futures_util::future::join(read, take).await;
}

/// A request that is served, and the answer to one that was sent.
pub async fn call(bytes: &[u8]) {
    let limits = NetLimits::default();
    let (queue, mut calls) = mpsc::channel(1);
    let server = Arc::new(CallServer::new(queue, &limits, LIMIT));
    let gates = ClassGates::new(&limits);
    let from = Keypair::from_seed([2; 32]).peer_key();
    let answer = async {
        if let Some(call) = calls.recv().await {
            // The asker may be gone.
            let _ = call.reply.send(Bytes::from_static(b"answer"));
        }
    };
    let serve = serve::serve(server, gates, from, wire(bytes));
    let _ = futures_util::future::join(serve, answer).await;
    let request = calls::Request {
        class: CallClass::Bulk,
        payload: Bytes::from_static(b"request"),
        max_response_bytes: crate::MAX_RESPONSE_BYTES,
        deadline: LIMIT,
    };
    let _ = calls::exchange(wire(bytes), &request, LIMIT, LIMIT).await;
}

/// A stranger's request to join, and the answer to one that was sent.
pub async fn join(bytes: &[u8]) {
    let (queue, mut joins) = mpsc::channel(1);
    let rate = Mutex::new(JoinRate::new(NetLimits::default().join, Instant::now()));
    let server = Arc::new(JoinServer { cluster_id: CLUSTER, queue, rate, limit: LIMIT });
    let from = Keypair::from_seed([2; 32]).peer_key();
    let answer = async {
        if let Some(join) = joins.recv().await {
            // The stranger may be gone.
            let _ = join.reply.send(Bytes::from_static(b"answer"));
        }
    };
    let serve = join::answer(server, from, None, wire(bytes));
    let _ = futures_util::future::join(serve, answer).await;
    let addr: NetAddr = "127.0.0.1:1".parse().expect("it is an address");
    let _ = join::ask(&mut wire(bytes), CLUSTER, &addr, b"request", LIMIT).await;
}
