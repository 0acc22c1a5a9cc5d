//! The composition root: the only file that knows the ports and the adapters.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipfs_kit_actors::gateways::Gateways;
use ipfs_kit_actors::journal::{self, Journal, JournalError};
use ipfs_kit_actors::membership::{self, Admission, JoinFailure};
use ipfs_kit_actors::node::{self, Interface, RunningNode, StartError, World};
use ipfs_kit_actors::ports::{Clock, GatewayError, Network, NetworkError, Peers};
use ipfs_kit_actors::settings::{Membership, NodeSettings, RaftSettings, Timing};
use ipfs_kit_actors::supervision::{ChildSpec, Fault};
use ipfs_kit_core::id::{ClusterId, Incarnation, PeerKey};
use ipfs_kit_core::member::{HoldPolicy, MemberSpec, Role};
use ipfs_kit_core::replication;
use ipfs_kit_core::token::JoinToken;
use ipfs_kit_net as net;
use ipfs_kit_store::disk::{Disk, DiskError, RealDisk};
use ipfs_kit_store::files::{FileError, read_bounded, write_atomic};
use ipfs_kit_store::folder::{Folder, FolderError};

use crate::adapters::clock::SystemClock;
use crate::adapters::entropy::SystemEntropy;
use crate::adapters::executor::Threads;
use crate::adapters::gateway::gateways;
use crate::adapters::network::Libp2pNetwork;
use crate::adapters::rival;
use crate::config::{ApiAddress, HostPort, Settings};
use crate::http::folder::{self as api_folder, ApiToken};
use crate::http::handover::Handovers;
use crate::http::{self, BindError, Exposure, Listener, MetricsAccess};

pub mod init;
pub mod secrets;

/// Makes the disk of a node's folder.
pub type DiskMaker = fn(&Path) -> Result<Arc<dyn Disk>, DiskError>;

/// The disk that the folder lies on.
pub fn real_disk(folder: &Path) -> Result<Arc<dyn Disk>, DiskError> {
    Ok(Arc::new(RealDisk::new(folder)?))
}

/// The node's secret key: 64 hexadecimal digits, readable by its owner only.
pub const KEY_FILE: &str = "identity.key";
/// The join token between `init --join` and the first `up`.
pub const JOIN_TOKEN_FILE: &str = "join.token";
const INCARNATION_FILE: &str = "incarnation";
const INCARNATION_BYTES_MAX: u64 = 64;
const SMALL_FILE_BYTES_MAX: u64 = 16 * 1024;
/// How long requests in flight may take when the node stops.
const API_DRAIN: Duration = Duration::from_secs(15);
/// How long the first `up` of a joining node asks the masters.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

/// Why a node could not be made or started. What is stored is intact.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder can't be used.
    #[error("the folder {} can't be used", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: FolderError,
    },
    /// A file of the folder can't be written or read.
    #[error("{} can't be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the folder holds something else.
    #[error("{} does not hold {expected}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// A file that holds a secret is open to others.
    #[error("{} is no secret: {exposure}", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// To whom.
        exposure: secrets::Exposure,
    },
    /// What the node remembers can't be read.
    #[error("what the node remembers can't be read")]
    Journal(#[from] JournalError),
    /// A small file can't be read or written.
    #[error("a small file in the node's folder can't be used")]
    SmallFile(#[from] FileError),
    /// The address can't be listened on: in use, or not of this machine.
    #[error("{address} can't be listened on")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The local API can't listen.
    #[error("the local API can't listen")]
    Api(#[from] BindError),
    /// The API's files can't be written.
    #[error("the local API's files can't be used")]
    ApiFolder(#[from] api_folder::FolderError),
    /// The network can't start.
    #[error("the network can't start")]
    Network(#[from] NetworkError),
    /// Another running node has this node's identity.
    #[error("another running node has this node's identity and answers at {addr}")]
    IdentityInUse {
        /// Where.
        addr: String,
    },
    /// The folder's token is for another cluster than the folder.
    #[error(
        "this folder's node belongs to cluster {folder}, and its join token to cluster {token}"
    )]
    OtherCluster {
        /// The folder's cluster.
        folder: ClusterId,
        /// The token's.
        token: ClusterId,
    },
    /// No master admitted this node.
    #[error("this node was not admitted")]
    Join(#[from] JoinFailure),
    /// What the node says of itself is not acceptable.
    #[error("this node can't found a cluster: {0}")]
    Spec(ipfs_kit_core::command::Refusal),
    /// The tree did not start.
    #[error("the node did not start")]
    Start(#[from] StartError),
    /// The gateways' client can't be set up.
    #[error("gateways can't be asked")]
    Gateways(#[from] GatewayError),
    /// The threads could not be started.
    #[error("threads can't be started")]
    Threads(#[source] io::Error),
}

/// A node that is being run; holds the folder's lock.
pub struct Running {
    /// The node.
    pub node: RunningNode,
    /// Where its API listens.
    pub api: ApiAddress,
    /// Where members reach it.
    pub addrs: Vec<String>,
    /// Whether it was admitted just now, and where it can't be reached.
    pub admission: Option<Admission>,
    folder: PathBuf,
    _lock: Folder,
}

impl Running {
    /// Stops in order and lets the folder go.
    pub async fn stop(mut self) {
        let exit = self.node.stop().await;
        tracing::info!(?exit, "stopped");
        if let Err(reason) = api_folder::remove_address(&self.folder) {
            tracing::debug!(%reason, "the API's address file stays");
        }
    }
}

/// Starts the node of a folder; must run within a `LocalSet`, on a runtime with worker threads.
pub async fn start(settings: &Settings, disk: DiskMaker) -> Result<Running, EngineError> {
    let folder = settings.folder.clone();
    let disk = open_disk(&folder, disk)?;
    let lock = Folder::open(Arc::clone(&disk)).map_err(|source| folder_error(&folder, source))?;
    secrets::refuse_exposed(&folder)?;
    let keypair = read_key(&folder.join(KEY_FILE))?;
    let key = PeerKey(keypair.peer_key().into());
    let incarnation = next_incarnation(&folder, &*disk)?;
    let token = ApiToken::read(&folder.join(api_folder::TOKEN_FILE))?;
    let runtime = tokio::runtime::Handle::current();
    let executor = Arc::new(Threads::start(runtime.clone()).map_err(EngineError::Threads)?);
    let (api, address) = bind_api(settings).await?;
    let mut membership = journal::load_membership(&*disk)?;
    let mut network = None;
    let mut admission = None;
    let joining = read_join_token(&folder)?;
    if let (Some(Membership { cluster, .. }), Some(token)) = (&membership, &joining)
        && *cluster != token.cluster
    {
        return Err(EngineError::OtherCluster { folder: *cluster, token: token.cluster });
    }
    if membership.is_some() || joining.is_some() {
        check_ports(&settings.listen)?;
        refuse_rival(settings, &disk, &executor, membership.as_ref(), key).await?;
        let cluster = membership.as_ref().map(|m| (m.cluster, m.epoch));
        let cluster = cluster.or(joining.as_ref().map(|token| (token.cluster, token.epoch)));
        let config = net_config(settings, keypair, incarnation, cluster.unwrap_or_default_pair());
        network = Some(Arc::new(Libp2pNetwork::new(config, runtime, executor.apart_runtime())));
    }
    if let (None, Some(token), Some(network)) = (&membership, &joining, &network) {
        let admitted = join(settings, key, token, network).await?;
        journal::save_membership(&*disk, &admitted.membership)?;
        membership = Some(admitted.membership.clone());
        admission = Some(admitted);
    }
    if membership.is_some() {
        remove_join_token(&folder)?;
    }
    let role = role_of(settings, membership.as_ref());
    let node_settings = node_settings(settings, key, role, membership, incarnation);
    let world = World {
        network: network.map(|n| (Arc::clone(&n) as Arc<dyn Network>, n as Arc<dyn Peers>)),
        clock: Arc::new(SystemClock),
        executor,
        disk,
        entropy: Arc::new(SystemEntropy),
        gateways: Gateways::new(gateways(&settings.gateways)?),
        interfaces: vec![api_interface(settings, api, token)],
    };
    let node = node::start(node_settings, world).await?;
    let addrs = node.parts().spec.read(|spec| spec.addrs.clone());
    Ok(Running { node, api: address, addrs, admission, folder, _lock: lock })
}

/// Refuses to start while another run of this node answers where the cluster reaches it.
async fn refuse_rival(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    executor: &Arc<Threads>,
    membership: Option<&Membership>,
    key: PeerKey,
) -> Result<(), EngineError> {
    let Some(membership) = membership else { return Ok(()) };
    let executor = Arc::clone(executor) as Arc<dyn ipfs_kit_actors::ports::Executor>;
    let view = Journal::new(Arc::clone(disk), executor).load_view();
    let known = view.iter().flat_map(|view| view.members().values()).chain(&membership.members);
    let own = known.filter(|member| member.id == membership.node);
    let mut addrs: BTreeSet<String> = own.flat_map(|member| member.spec.addrs.clone()).collect();
    addrs.extend(advertised(&settings.listen, &settings.advertise));
    match rival::answers_at(membership.cluster, key, addrs.into_iter().collect()).await {
        Some(addr) => Err(EngineError::IdentityInUse { addr }),
        None => Ok(()),
    }
}

/// Asks the token's masters over a network run of its own, before there is anything to supervise.
async fn join(
    settings: &Settings,
    key: PeerKey,
    token: &JoinToken,
    network: &Arc<Libp2pNetwork>,
) -> Result<Admission, EngineError> {
    let run = network.start().await?;
    let mut spec = spec_of(settings, key, settings.role);
    if spec.addrs.is_empty() {
        spec.addrs = network.listening();
    }
    // Nobody knows this node yet; whatever comes in is not for it.
    let _inbound = run.inbound;
    tokio::select! {
        biased;
        ended = run.driver => {
            ended?;
            Err(NetworkError { reason: "the network ended while joining".into() }.into())
        }
        joined = membership::join(&**network, token, &spec, JOIN_WITHIN) => Ok(joined?),
    }
}

fn role_of(settings: &Settings, membership: Option<&Membership>) -> Role {
    let known = membership.and_then(|m| m.members.iter().find(|member| member.id == m.node));
    known.map_or(settings.role, |member| member.spec.role)
}

fn node_settings(
    settings: &Settings,
    key: PeerKey,
    role: Role,
    membership: Option<Membership>,
    incarnation: Incarnation,
) -> NodeSettings {
    let ms = |duration: Duration| duration.as_millis() as u64;
    let cluster = &settings.cluster;
    let timing = Timing {
        heartbeat_ms: ms(cluster.heartbeat),
        lease_ms: ms(cluster.lease),
        repair_grace_ms: ms(cluster.repair_grace),
        beacon_ms: (ms(cluster.heartbeat) / 2).max(50),
        ..Timing::default()
    };
    let hash_threads = settings.import.hash_threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        |threads| threads as usize,
    );
    let mut seed = [0; 8];
    seed.copy_from_slice(&key.0[..8]);
    NodeSettings {
        spec: match membership {
            Some(_) => spec_of(settings, key, role),
            // A node without a cluster listens to no member.
            None => MemberSpec { addrs: Vec::new(), ..spec_of(settings, key, role) },
        },
        membership,
        incarnation,
        seed: u64::from_le_bytes(seed) ^ incarnation.0,
        timing,
        raft: RaftSettings {
            tick_ms: ms(settings.raft.tick),
            election_ticks: settings.raft.election_ticks as usize,
            heartbeat_ticks: settings.raft.heartbeat_ticks as usize,
            ..RaftSettings::default()
        },
        replication: replication::Config {
            trim_settle_ms: timing.lease_ms.min(5_000),
            ..replication::Config::default()
        },
        replicas_min: settings.pins.replicas_min,
        replicas_max: settings.pins.replicas_max,
        cache_bytes_max: settings.cache.max_bytes,
        storage_bytes_max: settings.storage.max_bytes,
        storage_reserve_bytes: settings.storage.reserve_bytes,
        transfer_bytes_s: settings.transfer.max_bytes_s,
        repair_bytes_s: settings.transfer.repair_max_bytes_s,
        profile: settings.import.profile.as_str().to_owned(),
        hash_threads,
    }
}

/// What the node says of itself. No address: where it listens, known once it does.
fn spec_of(settings: &Settings, key: PeerKey, role: Role) -> MemberSpec {
    let gib = settings.storage.max_bytes >> 30;
    MemberSpec {
        key,
        name: settings.name.clone(),
        role,
        addrs: advertised(&settings.listen, &settings.advertise),
        zone: settings.zone.clone(),
        weight: settings.weight.unwrap_or(u32::try_from(gib).unwrap_or(u32::MAX).max(1)),
        hold: match role {
            Role::Master => settings.pins.masters_hold,
            Role::Worker | Role::Leecher => HoldPolicy::Auto,
        },
    }
}

/// What was set, or what is listened on; a wildcard stands for the address that leads out of this
/// machine. A port that the kernel chooses is not known yet.
pub fn advertised(listen: &[HostPort], advertise: &[HostPort]) -> Vec<String> {
    if !advertise.is_empty() {
        return advertise.iter().map(ToString::to_string).collect();
    }
    if listen.iter().any(|address| address.port == 0) {
        return Vec::new();
    }
    let mut addrs = Vec::new();
    for address in listen {
        let text = if address.is_wildcard() {
            match outward_ip(&address.to_string()) {
                Some(ip) => SocketAddr::new(ip, address.port).to_string(),
                None => continue,
            }
        } else {
            address.to_string()
        };
        if !addrs.contains(&text) {
            addrs.push(text);
        }
    }
    addrs
}

/// The address that packets to the outside would carry; nothing is sent. Loopback on a machine without
/// a way out.
fn outward_ip(wildcard: &str) -> Option<std::net::IpAddr> {
    let v6 = wildcard.starts_with('[');
    // Documentation prefixes (RFC 5737, RFC 3849): they are routed like any other and belong to nobody.
    let (local, remote) =
        if v6 { ("[::]:0", "[2001:db8::1]:9") } else { ("0.0.0.0:0", "192.0.2.1:9") };
    let socket = UdpSocket::bind(local).ok()?;
    match socket.connect(remote).and_then(|()| socket.local_addr()) {
        Ok(addr) => Some(addr.ip()),
        Err(_) if v6 => None,
        Err(_) => Some(std::net::Ipv4Addr::LOCALHOST.into()),
    }
}

/// Finds out before anything is started whether somebody else listens there.
fn check_ports(listen: &[HostPort]) -> Result<(), EngineError> {
    let mut bound = Vec::new();
    for address in listen {
        if address.port == 0 {
            continue;
        }
        let text = address.to_string();
        match TcpListener::bind(&text) {
            Ok(listener) => bound.push(listener),
            // `[::]` covers IPv4 too on most systems; then the second bind meets the first.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !bound.is_empty() => {}
            Err(source) => return Err(EngineError::Listen { address: text, source }),
        }
    }
    Ok(())
}

fn net_config(
    settings: &Settings,
    keypair: net::Keypair,
    incarnation: Incarnation,
    (cluster, epoch): (ClusterId, u64),
) -> net::NetConfig {
    let to_net = |address: &HostPort| address.to_string().parse().ok();
    let mut config = net::NetConfig::new(keypair, net::ClusterId(cluster.0));
    config.epoch = epoch;
    config.incarnation = incarnation.0;
    config.listen = settings.listen.iter().filter_map(to_net).collect();
    config.advertise = settings.advertise.iter().filter_map(to_net).collect();
    if !settings.gossip.enabled {
        config.gossip = net::GossipMode::Disabled;
    }
    config.limits.control_calls.concurrent_per_peer = 256;
    config
}

trait PairOrDefault {
    fn unwrap_or_default_pair(self) -> (ClusterId, u64);
}

impl PairOrDefault for Option<(ClusterId, u64)> {
    fn unwrap_or_default_pair(self) -> (ClusterId, u64) {
        self.unwrap_or((ClusterId([0; 16]), 0))
    }
}

async fn bind_api(settings: &Settings) -> Result<(Listener, ApiAddress), EngineError> {
    let listener = Listener::bind(&settings.api.listen, exposure(settings)).await?;
    let address = listener.address().clone();
    Ok((listener, address))
}

fn exposure(settings: &Settings) -> Exposure {
    if settings.api.expose { Exposure::Anywhere } else { Exposure::Local }
}

/// The local API as a child of the tree: started last, stopped first. The first run takes the listener
/// that was bound before the node started, later ones bind anew.
fn api_interface(settings: &Settings, first: Listener, token: ApiToken) -> Interface {
    let first = Rc::new(RefCell::new(Some(first)));
    let (folder, exposure) = (settings.folder.clone(), exposure(settings));
    let (address, body_idle) = (settings.api.listen.clone(), settings.api.body_idle);
    let access = match settings.api.open_metrics {
        true => MetricsAccess::Anybody,
        false => MetricsAccess::Token,
    };
    Box::new(move |handle| {
        let (first, folder, address) = (Rc::clone(&first), folder.clone(), address.clone());
        let token = token.clone();
        ChildSpec::task("api", move |ctx| {
            let (bound, folder, address) =
                (first.borrow_mut().take(), folder.clone(), address.clone());
            let (token, handle) = (token.clone(), Arc::clone(&handle));
            async move {
                let (handovers, _listening) = Handovers::listen(&folder);
                let router = http::router(handle, token, access, body_idle, handovers);
                let listener = match bound {
                    Some(listener) => listener,
                    None => Listener::bind(&address, exposure).await?,
                };
                api_folder::write_address(&folder, listener.address())?;
                ctx.ready();
                let serving = tokio::spawn(http::serve(listener, router, ctx.stopped()));
                match serving.await {
                    Ok(()) if ctx.is_stopped() => Ok(()),
                    Ok(()) => Err(Fault::new("api", "the API ended by itself")),
                    Err(error) => Err(error.into()),
                }
            }
        })
        .stop_deadline(API_DRAIN)
    })
}

fn open_disk(folder: &Path, disk: DiskMaker) -> Result<Arc<dyn Disk>, EngineError> {
    disk(folder).map_err(|source| EngineError::Folder {
        path: folder.to_owned(),
        source: FolderError::Disk(source),
    })
}

fn folder_error(path: &Path, source: FolderError) -> EngineError {
    EngineError::Folder { path: path.to_owned(), source }
}

fn file_error(path: PathBuf, source: io::Error) -> EngineError {
    EngineError::File { path, source }
}

fn read_text(path: &Path) -> Result<Option<String>, EngineError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file_error(path.to_owned(), source)),
        Ok(metadata) if metadata.len() > SMALL_FILE_BYTES_MAX => {
            return Err(EngineError::Malformed { path: path.to_owned(), expected: "a short text" });
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path);
    text.map(Some).map_err(|source| file_error(path.to_owned(), source))
}

fn read_key(path: &Path) -> Result<net::Keypair, EngineError> {
    let malformed =
        || EngineError::Malformed { path: path.to_owned(), expected: "a node's secret key" };
    let text = read_text(path)?.ok_or_else(malformed)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| malformed())?;
    Ok(net::Keypair::from_seed(seed))
}

fn read_join_token(folder: &Path) -> Result<Option<JoinToken>, EngineError> {
    let path = folder.join(JOIN_TOKEN_FILE);
    let Some(text) = read_text(&path)? else { return Ok(None) };
    JoinToken::from_text(&text)
        .map(Some)
        .map_err(|_| EngineError::Malformed { path, expected: "a join token" })
}

fn remove_join_token(folder: &Path) -> Result<(), EngineError> {
    let path = folder.join(JOIN_TOKEN_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path, error)),
        _ => Ok(()),
    }
}

/// A number for this run that no earlier one had, whatever the clock did; durable on return. A file that does
/// not say which was the last one is refused: a smaller number would be another node's to the members.
fn next_incarnation(folder: &Path, disk: &dyn Disk) -> Result<Incarnation, EngineError> {
    let malformed = || EngineError::Malformed {
        path: folder.join(INCARNATION_FILE),
        expected: "the number of this node's last run",
    };
    let least = match read_bounded(disk, INCARNATION_FILE, INCARNATION_BYTES_MAX)? {
        None => 1,
        Some(bytes) => {
            let last = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
            last.and_then(|last: u64| last.checked_add(1)).ok_or_else(malformed)?
        }
    };
    let next = SystemClock.wall_ms().max(least);
    write_atomic(disk, INCARNATION_FILE, next.to_string().as_bytes())
        .map_err(|error| EngineError::SmallFile(error.into()))?;
    Ok(Incarnation(next))
}
