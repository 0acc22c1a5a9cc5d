//! The tree of a node, declared: who lives where, who knows whom, who hears what.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipfs_kit_core::cache::Stats;
use ipfs_kit_core::follow::{Scope, View};
use ipfs_kit_core::id::{Incarnation, NodeId};
use ipfs_kit_core::member::Role;
use ipfs_kit_core::{failure, limits, pin_tracker};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Cluster, End, Ended, Parts, StartError, Stores, World, first_role, no_state};
use crate::admission::Admissions;
use crate::cache::{self, CacheActor};
use crate::cluster_ctl::{self, ClusterCtlActor};
use crate::cluster_manager::coordination::{self, Coordination};
use crate::cluster_manager::dynamic_role::{self, DynamicRole};
use crate::cluster_manager::monitoring::{self, Monitoring};
use crate::cluster_manager::state_sync::{self, AppliedWaiting, Inbox, StateSync};
use crate::consensus::{self, ConsensusHandle};
use crate::events::{Applied, LeadershipChanged, ViewMoved};
use crate::follow::{self, FollowActor, RootDamaged};
use crate::index::{self, IndexActor};
use crate::ipfs::{self, IpfsActor};
use crate::operations::Operations;
use crate::outcomes::Outcomes;
use crate::pace::Pace;
use crate::ports::{FrameSink, Inbound, Keep, Lane, Network, PeerEntry, Peers, Registry, apart};
use crate::request_ids::RequestIds;
use crate::roles;
use crate::router::Router;
use crate::rpc::Rpc;
use crate::settings::{Membership, NodeSettings};
use crate::shared::{Shared, SharedView};
use crate::store::{self, Flights, StoreActor};
use crate::supervision::{
    ActorRef, ChildSpec, Fault, Strategy, SupervisorRef, SupervisorSpec, Tree,
};
use crate::transfer::Transfer;

/// Messages that may wait for a shell on a hot path.
const BUSY_MAILBOX: usize = 4096;
/// The name of consensus' place; it is the same for every role.
const CONSENSUS: &str = "consensus";

/// A node's tree, ready to be launched.
pub(super) struct Wired {
    pub spec: SupervisorSpec,
    pub operations: Arc<Operations>,
    pub judge_lease: Shared<Option<store::LeaseJudge>>,
    pub farewell: Option<(Rpc, NodeId, Incarnation, Shared<Option<NodeId>>)>,
}

/// References to every shell, made before any of them.
#[derive(Clone, Default)]
pub(crate) struct Refs {
    pub store: ActorRef<StoreActor>,
    pub ipfs: ActorRef<IpfsActor>,
    pub coordination: ActorRef<Coordination>,
    pub state_sync: ActorRef<StateSync>,
    pub monitoring: ActorRef<Monitoring>,
    pub dynamic_role: ActorRef<DynamicRole>,
    pub cluster_ctl: ActorRef<ClusterCtlActor>,
    pub follow: ActorRef<FollowActor>,
    pub index: ActorRef<IndexActor>,
    pub cache: ActorRef<CacheActor>,
}

/// What the role children are made of.
#[derive(Clone)]
pub(crate) struct RoleDeps {
    pub refs: Refs,
    pub cluster_ctl: Option<cluster_ctl::Deps>,
    pub follow: Option<follow::Deps>,
    pub index: Option<index::Deps>,
    pub cache: cache::Deps,
}

#[expect(
    clippy::too_many_lines,
    reason = "the whole tree, declared from top to bottom in one place"
)]
pub(super) fn wire(
    settings: &NodeSettings,
    world: World,
    stores: Stores,
    tree: Tree,
    end: End,
) -> Result<Wired, StartError> {
    let refs = Refs::default();
    let spec = Shared::new(settings.spec.clone());
    let usage = Shared::new(Default::default());
    let flights = Flights::default();
    let cache_deps =
        cache::Deps { max_bytes: settings.cache_bytes_max, stats: Shared::new(Stats::default()) };
    let view = stores.view.clone().map(Shared::new);
    let role = Shared::new(first_role(settings, view.as_ref()));
    let mut part = match (&settings.membership, &view, &world.network) {
        (Some(membership), Some(view), Some((network, peers))) => Some(ClusterPart::new(
            settings,
            membership,
            &world,
            &stores,
            view,
            (Arc::clone(network), Arc::clone(peers)),
            &refs,
            (&spec, &usage),
            Arc::clone(&end),
        )),
        (Some(_), _, None) => return Err(StartError::NoNetwork),
        _ => None,
    };
    let parts = Parts {
        cluster: part.as_ref().map(|part| part.cluster.clone()),
        blocks: stores.blocks.clone(),
        store: refs.store.clone(),
        holdings: stores.holdings.clone(),
        flights: flights.clone(),
        ipfs: refs.ipfs.clone(),
        gateways: world.gateways.clone(),
        index: refs.index.clone(),
        executor: Arc::clone(&world.executor),
        clock: Arc::clone(&world.clock),
        entropy: Arc::clone(&world.entropy),
        spec,
        usage: usage.clone(),
        tree,
        started: Instant::now(),
        replicas: (settings.replicas_min, settings.replicas_max),
        profile: settings.profile.clone(),
        hash_threads: settings.hash_threads,
    };
    let operations = Arc::new(Operations::new(parts, role.clone()));
    let role_deps = RoleDeps {
        refs: refs.clone(),
        cluster_ctl: part.as_ref().map(|part| part.cluster_ctl.clone()),
        follow: part.as_ref().map(|part| part.follow.clone()),
        index: part.as_ref().map(|part| part.index.clone()),
        cache: cache_deps,
    };
    let judge_lease = Shared::new(None);
    let store_deps = store::Deps {
        blocks: stores.blocks.clone(),
        holdings: stores.holdings.clone(),
        view: view.clone(),
        flights,
        executor: Arc::clone(&world.executor),
        gc: Duration::from_millis(settings.timing.gc_ms),
        usage,
        judge_lease: judge_lease.clone(),
        log: stores.log.as_ref().map(|(log, _)| Arc::clone(log)),
        end,
        damaged: on_damaged(&refs),
    };
    let ipfs_deps = ipfs::Deps {
        blocks: stores.blocks,
        executor: Arc::clone(&world.executor),
        cache: refs.cache.clone(),
        members: part.as_ref().map(|part| ipfs::Members {
            node: part.cluster.node,
            rpc: part.rpc.clone(),
            view: part.cluster.view.clone(),
        }),
        gateways: world.gateways.clone(),
    };
    let control = SupervisorRef::vacant();
    let mut root = SupervisorSpec::new("node", Strategy::RestForOne)
        .intensity(6, Duration::from_secs(60))
        .control(&control)
        .child(ChildSpec::actor("store", &refs.store, move |_| {
            StoreActor::new(store_deps.clone())
        }));
    if let Some(part) = &mut part {
        root = root.child(part.network_spec(&operations, &refs));
    }
    root = root.child(
        ChildSpec::actor("ipfs", &refs.ipfs, move |_| IpfsActor::new(ipfs_deps.clone()))
            .capacity(BUSY_MAILBOX),
    );
    if let Some(part) = &part {
        let running = role.clone();
        root = root
            .child(part.cluster_spec(&refs, &control, &role_deps, running))
            .child(consensus_spec(role.read(|role| *role), &part.consensus));
    }
    root = root.child(roles::role_spec(role.read(|role| *role), &role_deps));
    let handle = super::handle::node(Arc::clone(&operations));
    for interface in &world.interfaces {
        root = root.child(interface(Arc::clone(&handle)));
    }
    let farewell = part.map(|part| {
        let cluster = part.cluster;
        (part.rpc, cluster.node, settings.incarnation, cluster.leader_hint)
    });
    Ok(Wired { spec: root, operations, judge_lease, farewell })
}

/// Everything of a node that belongs to a cluster.
struct ClusterPart {
    cluster: Cluster,
    rpc: Rpc,
    network: Arc<dyn Network>,
    coordination: coordination::Deps,
    state_sync: state_sync::Deps,
    monitoring: monitoring::Deps,
    consensus: consensus::Deps,
    cluster_ctl: cluster_ctl::Deps,
    follow: follow::Deps,
    index: index::Deps,
}

impl ClusterPart {
    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "the one place where everything that a member consists of meets"
    )]
    fn new(
        settings: &NodeSettings,
        membership: &Membership,
        world: &World,
        stores: &Stores,
        view: &SharedView,
        (network, peers): (Arc<dyn Network>, Arc<dyn Peers>),
        refs: &Refs,
        (spec, usage): (
            &Shared<ipfs_kit_core::member::MemberSpec>,
            &Shared<ipfs_kit_core::proto::Usage>,
        ),
        end: End,
    ) -> Self {
        let node = membership.node;
        let rpc = Rpc::new(Arc::clone(&peers));
        let handle = ConsensusHandle::new(no_state());
        let leader_hint = Shared::new(None);
        let requests = RequestIds::new(node, settings.incarnation);
        let arrivals = Shared::new(Default::default());
        let heard = Shared::new(BTreeMap::new());
        let planner = Shared::new(None);
        let unreachable = Shared::new(None);
        let session = Shared::new(None);
        let outcomes = Outcomes::new(handle.clone(), refs.coordination.clone());
        let timing = settings.timing;
        let (log, checkpoints) = stores.log.clone().expect("a member has a raft log");
        let coordination = coordination::Deps {
            node,
            rpc: rpc.clone(),
            view: view.clone(),
            consensus: handle.clone(),
            leader_hint: leader_hint.clone(),
            requests: requests.clone(),
        };
        let inbox = Inbox::default();
        let state_sync = state_sync::Deps {
            node,
            rpc: rpc.clone(),
            view: view.clone(),
            consensus: handle.clone(),
            beacon: Duration::from_millis(timing.beacon_ms),
            journal: stores.journal.clone(),
            membership: membership.clone(),
            listeners: Shared::new(listeners(refs, view, &handle, &peers, node)),
            arrivals: arrivals.clone(),
            leader_hint: leader_hint.clone(),
            inbox: inbox.clone(),
        };
        let sink = outcomes.clone();
        let monitoring = monitoring::Deps {
            node,
            incarnation: settings.incarnation,
            spec: spec.clone(),
            heartbeat: Duration::from_millis(timing.heartbeat_ms),
            failure: failure::Config {
                interval_ms: timing.heartbeat_ms,
                lease_ms: timing.lease_ms,
                grace_ms: timing.repair_grace_ms,
                proposal_timeout_ms: 2_000,
            },
            rpc: rpc.clone(),
            clock: Arc::clone(&world.clock),
            view: view.clone(),
            consensus: handle.clone(),
            coordination: refs.coordination.clone(),
            state_sync: refs.state_sync.clone(),
            usage: usage.clone(),
            heard: heard.clone(),
            outcomes: Arc::new(move |node, reports| sink.heard_by_heartbeat(node, reports)),
            unreachable: unreachable.clone(),
            expelled: Arc::new(move |expelled| end(Ended::Expelled(expelled))),
            leader_hint: leader_hint.clone(),
            accepted: Shared::new(None),
            session: session.clone(),
        };
        let consensus = consensus::Deps {
            node,
            incarnation: settings.incarnation,
            seed: settings.seed,
            settings: settings.raft,
            log,
            checkpoints,
            handle: handle.clone(),
            rpc: rpc.clone(),
            view: view.clone(),
            clock: Arc::clone(&world.clock),
            executor: Arc::clone(&world.executor),
            requests: requests.clone(),
            on_applied: on_applied(refs, inbox),
            on_leadership: on_leadership(refs),
        };
        let cluster_ctl = cluster_ctl::Deps {
            consensus: handle.clone(),
            coordination: refs.coordination.clone(),
            clock: Arc::clone(&world.clock),
            config: settings.replication,
            glance: planner.clone(),
        };
        let transfer = Transfer {
            node,
            view: view.clone(),
            rpc: rpc.clone(),
            blocks: stores.blocks.clone(),
            executor: Arc::clone(&world.executor),
            gateways: world.gateways.clone(),
            pace: Pace::new(settings.transfer_bytes_s, settings.repair_bytes_s),
        };
        let follow = follow::Deps {
            node,
            incarnation: settings.incarnation,
            seed: settings.seed,
            config: pin_tracker::Config::default(),
            view: view.clone(),
            transfer,
            holdings: stores.holdings.clone(),
            rpc: rpc.clone(),
            monitoring: refs.monitoring.clone(),
            glance: Shared::new(Default::default()),
        };
        let cluster = Cluster {
            id: membership.cluster,
            node,
            view: view.clone(),
            rpc: rpc.clone(),
            consensus: handle.clone(),
            coordination: refs.coordination.clone(),
            requests,
            outcomes,
            arrivals,
            heard,
            planner,
            leader_hint,
            unreachable,
            session,
            lease: Duration::from_millis(timing.lease_ms),
        };
        Self {
            cluster,
            rpc,
            network,
            coordination,
            state_sync,
            monitoring,
            consensus,
            cluster_ctl,
            follow,
            index: index::Deps { consensus: handle, view: view.clone() },
        }
    }

    /// The network: its driver, and the router that takes what comes in. They fall together.
    fn network_spec(&self, operations: &Arc<Operations>, refs: &Refs) -> ChildSpec {
        let inbox: Rc<RefCell<Option<tokio::sync::mpsc::Receiver<Inbound>>>> = Rc::default();
        let (network, peers) = (Arc::clone(&self.network), Arc::clone(self.rpc.peers()));
        let (view, node, slot) = (self.cluster.view.clone(), self.cluster.node, Rc::clone(&inbox));
        let (spec, consensus) = (self.monitoring.spec.clone(), self.cluster.consensus.clone());
        // Nobody said where this node is reached: where it listens, known once it does.
        let advertise_bound = spec.read(|spec| spec.addrs.is_empty());
        let swarm = ChildSpec::task("swarm", move |ctx| {
            let (network, peers, slot) =
                (Arc::clone(&network), Arc::clone(&peers), Rc::clone(&slot));
            let (view, spec, consensus) = (view.clone(), spec.clone(), consensus.clone());
            let frames = frame_sink(&consensus);
            async move {
                peers.hand_frames_to(frames);
                let run = network.start().await?;
                if advertise_bound {
                    spec.write(|spec| spec.addrs = peers.listening());
                }
                *slot.borrow_mut() = Some(run.inbound);
                peers.set_registry(registry_of(&view, &consensus, node));
                ctx.ready();
                tokio::select! {
                    biased;
                    () = ctx.stopped() => Ok(()),
                    ended = run.driver => match ended {
                        Ok(()) => Err(Fault::new("network", "the network ended by itself")),
                        Err(error) => Err(error.into()),
                    },
                }
            }
        });
        let router = Router {
            view: self.cluster.view.clone(),
            consensus: self.cluster.consensus.clone(),
            ipfs: refs.ipfs.clone(),
            state_sync: refs.state_sync.clone(),
            monitoring: refs.monitoring.clone(),
            admissions: Admissions {
                consensus: self.cluster.consensus.clone(),
                coordination: refs.coordination.clone(),
                peers: Arc::clone(self.rpc.peers()),
            },
            operations: Arc::clone(operations),
            outcomes: self.cluster.outcomes.clone(),
        };
        let routing = ChildSpec::task("router", move |ctx| {
            let (router, inbox) = (router.clone(), inbox.borrow_mut().take());
            async move {
                let inbox =
                    inbox.ok_or_else(|| Fault::new("router", "the network has no inbox"))?;
                ctx.ready();
                tokio::select! {
                    biased;
                    () = ctx.stopped() => Ok(()),
                    () = router.run(inbox) => Err(Fault::new("router", "the network closed its inbox")),
                }
            }
        });
        ChildSpec::supervisor(
            SupervisorSpec::new("network", Strategy::OneForAll)
                .intensity(5, Duration::from_secs(30))
                .child(swarm)
                .child(routing),
        )
    }

    /// The ClusterManager: everything by which the node takes part in its cluster.
    fn cluster_spec(
        &self,
        refs: &Refs,
        control: &SupervisorRef,
        role_deps: &RoleDeps,
        running: Shared<Role>,
    ) -> ChildSpec {
        let coordination = self.coordination.clone();
        let state_sync = self.state_sync.clone();
        let monitoring = self.monitoring.clone();
        let dynamic_role = dynamic_role::Deps {
            node: self.cluster.node,
            view: self.cluster.view.clone(),
            running,
            swap: self.swap(control, role_deps),
        };
        ChildSpec::supervisor(
            SupervisorSpec::new("cluster", Strategy::OneForOne)
                .intensity(8, Duration::from_secs(30))
                .child(
                    ChildSpec::actor("coordination", &refs.coordination, move |_| {
                        Coordination::new(coordination.clone())
                    })
                    .capacity(BUSY_MAILBOX),
                )
                .child(
                    ChildSpec::actor("state-sync", &refs.state_sync, move |_| {
                        StateSync::new(state_sync.clone())
                    })
                    .capacity(BUSY_MAILBOX),
                )
                .child(
                    ChildSpec::actor("monitoring", &refs.monitoring, move |_| {
                        Monitoring::new(monitoring.clone())
                    })
                    .capacity(BUSY_MAILBOX),
                )
                .child(ChildSpec::actor("dynamic-role", &refs.dynamic_role, move |_| {
                    DynamicRole::new(dynamic_role.clone())
                })),
        )
    }

    /// The ordered swap of the role child. A new master starts consensus first; a former one stops it
    /// last. Both places are filled whole: what a group was given at run time would not outlive its
    /// supervisor's restart. A swap that stopped half-way can be done again.
    fn swap(&self, control: &SupervisorRef, role_deps: &RoleDeps) -> dynamic_role::Swap {
        let (control, role_deps) = (control.clone(), role_deps.clone());
        let (consensus, view, node) =
            (self.consensus.clone(), self.cluster.view.clone(), self.cluster.node);
        let state_sync = role_deps.refs.state_sync.clone();
        Rc::new(move |to| {
            let (control, view, state_sync) = (control.clone(), view.clone(), state_sync.clone());
            let (role_spec, consensus_spec) =
                (roles::role_spec(to, &role_deps), consensus_spec(to, &consensus));
            let mut places = [(CONSENSUS, consensus_spec), (roles::ROLE, role_spec)];
            if to != Role::Master {
                places.reverse();
            }
            Box::pin(async move {
                for (place, spec) in places {
                    let replaced = control.replace(place, spec).await;
                    replaced.map_err(|error| error.to_string())?;
                }
                let scope = crate::shared::scope_of(node, to);
                if view.read(View::scope) != scope {
                    rescope(&state_sync, scope).await?;
                }
                Ok(())
            })
        })
    }
}

/// Another role keeps another part of the pins: the view is asked for anew.
async fn rescope(state_sync: &ActorRef<StateSync>, scope: Scope) -> Result<(), String> {
    state_sync.ask(state_sync::Rescope(scope)).await.map_err(|error| error.to_string())
}

/// Consensus: one task while the node is a master, none otherwise.
fn consensus_spec(role: Role, deps: &consensus::Deps) -> ChildSpec {
    let spec =
        SupervisorSpec::new(CONSENSUS, Strategy::OneForOne).intensity(4, Duration::from_secs(60));
    ChildSpec::supervisor(match role {
        Role::Master => spec.child(raft_spec(deps)),
        Role::Worker | Role::Leecher => spec,
    })
}

fn raft_spec(deps: &consensus::Deps) -> ChildSpec {
    let deps = deps.clone();
    ChildSpec::task("raft", move |ctx| {
        let deps = deps.clone();
        async move {
            ctx.ready();
            let executor = Arc::clone(&deps.executor);
            let (stop, stopped) = oneshot::channel::<()>();
            let mut run = pin!(apart(&*executor, move || async move {
                tokio::select! {
                    biased;
                    _ = stopped => Ok(()),
                    ended = consensus::run(deps) => ended,
                }
            }));
            let ended = tokio::select! {
                biased;
                () = ctx.stopped() => {
                    drop(stop);
                    // Whoever opens the log next must find it at rest.
                    run.await
                }
                ended = &mut run => ended,
            };
            ended.map_err(Fault::from)?.map_err(Fault::from)
        }
    })
}

/// Who hears that the view moved, in this order.
fn listeners(
    refs: &Refs,
    view: &SharedView,
    consensus: &ConsensusHandle,
    peers: &Arc<dyn Peers>,
    node: NodeId,
) -> Vec<Arc<dyn Fn(ViewMoved) + Send + Sync>> {
    let told: Shared<Option<Registry>> = Shared::new(None);
    let (view, consensus, peers) = (view.clone(), consensus.clone(), Arc::clone(peers));
    let registry = move |moved: ViewMoved| {
        if !concerns_members(&moved) {
            return;
        }
        let registry = registry_of(&view, &consensus, node);
        if told.write(|told| told.replace(registry.clone())) != Some(registry.clone()) {
            peers.set_registry(registry);
        }
    };
    let monitoring = tell(refs.monitoring.recipient::<ViewMoved>(), "monitoring");
    let dynamic_role = tell(refs.dynamic_role.recipient::<ViewMoved>(), "dynamic-role");
    let cluster_ctl = tell(refs.cluster_ctl.recipient::<ViewMoved>(), "cluster-ctl");
    let follow = tell(refs.follow.recipient::<ViewMoved>(), "follow");
    let index = tell(refs.index.recipient::<ViewMoved>(), "index");
    let of_members = move |moved: ViewMoved| {
        if concerns_members(&moved) {
            monitoring(moved.clone());
            dynamic_role(moved);
        }
    };
    vec![
        Arc::new(registry),
        Arc::new(of_members),
        Arc::new(cluster_ctl),
        Arc::new(follow),
        Arc::new(index),
    ]
}

fn concerns_members(moved: &ViewMoved) -> bool {
    moved.changes.as_ref().is_none_or(|changes| {
        changes.iter().any(|c| matches!(c, ipfs_kit_core::delta::Change::Member { .. }))
    })
}

/// Tells a shell of a move. A shell that is not there starts from the view itself; one whose mailbox is
/// full is told that everything may have changed as soon as there is room.
fn tell(
    to: crate::supervision::Recipient<ViewMoved>,
    name: &'static str,
) -> impl Fn(ViewMoved) + Send + Sync {
    let missed = Shared::new(false);
    move |moved: ViewMoved| {
        let missed_before = missed.read(|missed| *missed);
        let moved = if missed_before { ViewMoved { changes: None, ..moved } } else { moved };
        match to.tell(moved) {
            Ok(()) => missed.write(|missed| *missed = false),
            Err(crate::supervision::TellError::Overloaded { .. }) => {
                tracing::warn!(name, "a shell is overloaded; it will look at everything anew");
                missed.write(|missed| *missed = true);
            }
            Err(crate::supervision::TellError::Unavailable { .. }) => {}
        }
    }
}

/// Raft's messages need nothing from the actors and do not wait for them.
fn frame_sink(consensus: &ConsensusHandle) -> FrameSink {
    let consensus = consensus.clone();
    Arc::new(move |from, Lane::Raft, frame| {
        if let Err(reason) = consensus.raft(from, frame) {
            tracing::debug!(%from, %reason, "raft message dropped");
        }
    })
}

fn on_damaged(refs: &Refs) -> Arc<dyn Fn(ipfs_kit_core::id::Cid) + Send + Sync> {
    let follow = refs.follow.clone();
    Arc::new(move |cid| {
        // The next collection finds it again.
        if let Err(reason) = follow.tell(RootDamaged { cid }) {
            tracing::debug!(%reason, "a damaged root waits for the next collection");
        }
    })
}

fn on_applied(refs: &Refs, inbox: Inbox) -> Arc<dyn Fn(Applied) + Send + Sync> {
    let state_sync = refs.state_sync.clone();
    Arc::new(move |applied| {
        inbox.put(applied, || {
            let told = state_sync.tell(AppliedWaiting);
            told.inspect_err(|reason| tracing::debug!(%reason, "state-sync is told later")).is_ok()
        });
    })
}

fn on_leadership(refs: &Refs) -> Arc<dyn Fn(LeadershipChanged) -> bool + Send + Sync> {
    let (state_sync, monitoring) = (refs.state_sync.clone(), refs.monitoring.clone());
    let cluster_ctl = refs.cluster_ctl.clone();
    Arc::new(move |changed| {
        let told = [
            state_sync.tell(changed).map_err(|error| error.to_string()),
            monitoring.tell(changed).map_err(|error| error.to_string()),
            cluster_ctl.tell(changed).map_err(|error| error.to_string()),
        ];
        let unheard = told.into_iter().filter_map(Result::err);
        // A shell that starts later asks the glance.
        unheard.inspect(|reason| tracing::debug!(%reason, "told of the leadership later")).count()
            == 0
    })
}

/// Everybody whom this node may talk to, and who was removed.
fn registry_of(view: &SharedView, consensus: &ConsensusHandle, me: NodeId) -> Registry {
    let removed = consensus.state.read(|state| state.removed_last(limits::REMOVED_KNOWN_MAX));
    Registry { me: Some(me), peers: view.read(|view| peers_of(view, me)), removed }
}

/// Everybody whom this node may talk to. Masters stay connected to all masters, others to the masters.
fn peers_of(view: &View, me: NodeId) -> Vec<PeerEntry> {
    let own_role = view.members().get(&me).map(|member| member.spec.role);
    view.members()
        .values()
        .filter(|member| member.id != me)
        .map(|member| {
            let keep = match (own_role, member.spec.role) {
                (Some(Role::Leecher), Role::Master) | (_, Role::Master) => Keep::Connected,
                (Some(Role::Worker), Role::Worker) => Keep::Connected,
                _ => Keep::OnDemand,
            };
            PeerEntry {
                node: member.id,
                key: member.spec.key,
                role: member.spec.role,
                raft: member.raft,
                addrs: member.spec.addrs.clone(),
                keep,
            }
        })
        .collect()
}
