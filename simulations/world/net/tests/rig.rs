//! A few machines whose nodes log what comes in and answer calls.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ipfs_kit_actors::ports::{PeerEntry, Registry};
use ipfs_kit_core::id::PeerKey;
use ipfs_kit_core::member::RaftStanding;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::trace::Lines;

/// Runs a test in virtual time.
pub fn run<T, F: Future<Output = T>>(test: impl FnOnce(Trace) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let trace = Trace::begin(Lines::Recent);
        test(trace).await
    })
}

pub async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub fn key(host: usize) -> PeerKey {
    PeerKey([host as u8 + 1; 32])
}

pub fn addr(host: usize) -> String {
    format!("10.0.0.{host}:4001")
}

pub struct Rig {
    pub net: SimNetwork,
    pub ports: Vec<SimPort>,
    logs: Vec<Arc<Mutex<Vec<String>>>>,
    courier: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

impl Rig {
    /// Machines that know each other, with the network of none started.
    pub fn new(seed: u64, hosts: usize, keep: Keep, trace: Trace) -> Self {
        let net = SimNetwork::new(seed, trace);
        let courier = tokio::task::spawn_local(net.clone().courier());
        let ports = (0..hosts).map(|host| net.attach(key(host), addr(host))).collect();
        let logs = (0..hosts).map(|_| Arc::default()).collect();
        let rig = Self { net, ports, logs, courier };
        let all: Vec<usize> = (0..hosts).collect();
        for host in 0..hosts {
            rig.ports[host].set_registry(rig.registry(host, &all, keep));
        }
        rig
    }

    /// Machines that are all connected.
    pub async fn started(seed: u64, hosts: usize, trace: Trace) -> Self {
        let rig = Self::new(seed, hosts, Keep::Connected, trace);
        let _detached = rig.start_all();
        sleep_ms(1_000).await;
        rig
    }

    pub fn registry(&self, me: usize, members: &[usize], keep: Keep) -> Registry {
        let peers = members.iter().map(|host| PeerEntry {
            node: NodeId(*host as u64 + 1),
            key: key(*host),
            role: Role::Master,
            raft: RaftStanding::Voter,
            addrs: vec![addr(*host)],
            keep,
        });
        Registry {
            me: Some(NodeId(me as u64 + 1)),
            peers: peers.collect(),
            removed: BTreeSet::new(),
        }
    }

    pub fn start_all(&self) -> Vec<JoinHandle<()>> {
        (0..self.ports.len()).map(|host| self.start_node(host)).collect()
    }

    pub fn log(&self, host: usize) -> Vec<String> {
        self.logs[host].lock().unwrap().clone()
    }

    pub fn start_node(&self, host: usize) -> JoinHandle<()> {
        let (port, log) = (self.ports[host].clone(), Arc::clone(&self.logs[host]));
        tokio::task::spawn_local(async move {
            let mut run = port.start().await.unwrap();
            // Questions that are never answered.
            let mut hanging = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    _ = &mut run.driver => return,
                    inbound = run.inbound.recv() => {
                        let Some(inbound) = inbound else { return };
                        let line = take(inbound, &mut hanging);
                        log.lock().unwrap().push(line);
                    }
                }
            }
        })
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn take(inbound: Inbound, hanging: &mut Vec<tokio::sync::oneshot::Sender<Bytes>>) -> String {
    match inbound {
        Inbound::Call { from, request, reply } => {
            if text(&request) == "hang" {
                hanging.push(reply);
            } else {
                let _ = reply.send(bytes(&format!("{from} said {}", text(&request))));
            }
            text(&request)
        }
        Inbound::Frame { frame, .. } => text(&frame),
        Inbound::Gossip { author, topic, message, verdict } => {
            let bad = text(&message) == "bad";
            let _ = verdict.send(if bad { Verdict::Reject } else { Verdict::Accept });
            format!("{topic:?} {author} {}", text(&message))
                .replace("Pins", "pins")
                .replace("Status", "status")
        }
        Inbound::Join { reply, .. } => {
            let _ = reply.send(bytes("welcome"));
            "join".into()
        }
        Inbound::Connected { node } => format!("+{node}"),
        Inbound::Disconnected { node, .. } => format!("-{node}"),
        Inbound::Mismatch { reason, .. } => format!("mismatch {reason}"),
        Inbound::Removed { by } => format!("removed, says {by}"),
        Inbound::IdentityTaken { reason, .. } => format!("identity taken: {reason}"),
    }
}
