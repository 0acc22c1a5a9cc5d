//! Starting the network: transport, swarm, listeners.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::swarm::Config as SwarmConfig;
use libp2p::{PeerId, Swarm, Transport, dns, noise, tcp, yamux};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::addr::{Host, NetAddr};
use crate::behaviour;
use crate::bulk::{BulkServer, LaneServer, tls};
use crate::calls::CallServer;
use crate::config::NetConfig;
use crate::driver::{Driver, Inlets};
use crate::error::{NetFailure, StartError};
use crate::event::{LaneReceiver, NetEvents};
use crate::gossip::GossipCounters;
use crate::handle::{NetHandle, Shared};
use crate::hello::Hello;
use crate::join::JoinServer;
use crate::lanes::{Lane, LaneInlet};
use crate::links::Links;
use crate::rate::JoinRate;
use crate::registry::Membership;
use crate::tasks::Tasks;

/// The work of the network. Spawn it; it ends when the network is stopped, when every handle or
/// the events are dropped, or by a failure. Dropping it half-way stops everything as well.
pub type NetDriver = BoxFuture<'static, Result<(), NetFailure>>;

/// Streams of one connection, both ways: calls of all classes both ways, lanes, gossip, kad.
const YAMUX_STREAMS: usize = 384;
const COMMAND_QUEUE: usize = 256;
/// How long binding the listen addresses may take.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// The network of one node in one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Net;

impl Net {
    /// Binds the listen addresses and builds the network. Nothing is accepted or dialled before
    /// the driver runs. Needs a Tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: NetConfig) -> Result<(NetHandle, NetEvents, NetDriver), StartError> {
        check(&config)?;
        let listen = resolve(&config.listen).await?;
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let membership = Membership::default();
        let counters = Arc::new(GossipCounters::default());
        let behaviour = behaviour::build(&config, &membership, counters.clone())?;
        let local = config.keypair.to_libp2p().public().to_peer_id();
        let (inlets, events) = inlets(&config);
        let links = Links::default();
        let identity = Arc::new(tls::Identity::new(&config.keypair, config.cluster_id)?);
        let calls = inlets.calls.clone();
        let lanes = LaneServer {
            inlet: inlets.raft.clone(),
            membership: membership.clone(),
            stall: config.timing.stall(),
        };
        let bulk = BulkServer::new(identity.clone(), lanes, links.clone(), calls, tasks.clone());
        let bulk = Arc::new(bulk);
        let transport = transport(&config, Some(bulk))?;
        let swarm = Swarm::new(transport, behaviour, local, swarm_config(&config, &tasks));
        let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let handle = NetHandle {
            shared: Arc::new(Shared {
                local: config.keypair.peer_key(),
                commands: command_sender,
                links,
                identity,
                bound: Arc::default(),
                gossip: counters,
                limits: config.limits.clone(),
                timing: config.timing,
                stop,
            }),
        };
        let mut driver =
            Driver::new(&config, swarm, tasks, membership, inlets, commands, &handle.shared)?;
        driver.listen(&listen, LISTEN_LIMIT).await?;
        Ok((handle, events, Box::pin(driver.run())))
    }
}

fn check(config: &NetConfig) -> Result<(), StartError> {
    let timing = &config.timing;
    for (setting, value) in [
        ("timing.connect_ms", timing.connect_ms),
        ("timing.hello_ms", timing.hello_ms),
        ("timing.stall_ms", timing.stall_ms),
        ("timing.ping_ms", timing.ping_ms),
        ("limits.join.guest_ms", config.limits.join.guest_ms),
    ] {
        if value == 0 {
            return Err(StartError::Setting { setting, detail: "it must not be zero".to_owned() });
        }
    }
    Ok(())
}

/// The IP addresses of the listen addresses; a name listens on all of its addresses.
async fn resolve(listen: &[NetAddr]) -> Result<Vec<(NetAddr, SocketAddr)>, StartError> {
    let mut resolved = Vec::new();
    for addr in listen {
        match addr.host() {
            Host::Ip4(ip) => resolved.push((addr.clone(), (*ip, addr.port()).into())),
            Host::Ip6(ip) => resolved.push((addr.clone(), (*ip, addr.port()).into())),
            Host::Dns(name) => {
                let found = tokio::net::lookup_host((name.as_str(), addr.port()))
                    .await
                    .map_err(|source| StartError::Resolve { addr: addr.clone(), source })?;
                let mut found: Vec<SocketAddr> = found.collect();
                found.sort_unstable();
                found.dedup();
                resolved.extend(found.into_iter().map(|ip| (addr.clone(), ip)));
            }
        }
    }
    Ok(resolved)
}

/// TCP, Noise and Yamux. What comes in as a bulk connection leaves it after TCP.
pub(crate) fn transport(
    config: &NetConfig,
    bulk: Option<Arc<BulkServer>>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    let keypair = config.keypair.to_libp2p();
    let noise = noise::Config::new(&keypair)
        .map_err(|error| StartError::Setting { setting: "keypair", detail: error.to_string() })?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(YAMUX_STREAMS);
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let named = match dns::tokio::Transport::system(tcp()) {
        Ok(named) => named,
        Err(error) => {
            // Without a resolver configuration the hosts file still works, and so do addresses.
            tracing::warn!(%error, "no DNS configuration, names resolve by the hosts file only");
            let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            dns::tokio::Transport::custom(tcp(), nobody, dns::ResolverOpts::default())
        }
    };
    let divert = |stream, endpoint| async move {
        match bulk {
            Some(bulk) => bulk.divert(stream, endpoint).await,
            None => Ok(stream),
        }
    };
    Ok(named
        .and_then(divert)
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(Duration::from_millis(config.timing.connect_ms))
        .boxed())
}

pub(crate) fn swarm_config(config: &NetConfig, tasks: &Tasks) -> SwarmConfig {
    SwarmConfig::with_executor(tasks.clone())
        .with_idle_connection_timeout(Duration::from_millis(config.timing.idle_ms))
        .with_dial_concurrency_factor(NonZeroU8::new(8).expect("8 is not 0"))
        // One round trip less for each stream: every dialled protocol has one name.
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
}

/// The queues between the stream tasks and the owner.
fn inlets(config: &NetConfig) -> (Inlets, NetEvents) {
    let limits = &config.limits;
    let (status, status_events) = mpsc::channel(limits.status_queue.max(1));
    let (calls, call_events) = mpsc::channel(limits.call_queue.max(1));
    let (joins, join_events) = mpsc::channel(limits.join.guests.max(1));
    let (gossip, gossip_events) = mpsc::channel(limits.gossip_queue.max(1));
    let (raft, raft_events) = LaneInlet::new(Lane::Raft, limits.raft_lane);
    let sink = raft.sink.clone();
    let inlets = Inlets {
        status,
        gossip,
        raft,
        calls: Arc::new(CallServer::new(calls, limits, config.timing.stall())),
        joins: Arc::new(JoinServer {
            cluster_id: config.cluster_id,
            queue: joins,
            rate: Mutex::new(JoinRate::new(limits.join, Instant::now())),
            limit: Duration::from_millis(limits.join.guest_ms),
        }),
    };
    let events = NetEvents {
        status: status_events,
        joins: join_events,
        calls: call_events,
        raft: Some(LaneReceiver { lane: Lane::Raft, queue: raft_events, sink }),
        gossip: gossip_events,
        turn: 0,
    };
    (inlets, events)
}

impl From<&NetConfig> for Hello {
    fn from(config: &NetConfig) -> Self {
        Self {
            cluster_id: config.cluster_id,
            epoch: config.epoch,
            wire_version: config.wire_version,
            incarnation: config.incarnation,
        }
    }
}
