//! The role trees: which shells a master, a worker and a leecher run.
//!
//! ```text
//! role/  master    cluster-ctl  follow  index  cache
//!        worker                 follow  index  cache
//!        leecher                               cache
//! ```

use std::time::Duration;

use ipfs_kit_core::member::Role;

use crate::cache::CacheActor;
use crate::cluster_ctl::ClusterCtlActor;
use crate::follow::FollowActor;
use crate::index::IndexActor;
use crate::node::RoleDeps;
use crate::supervision::{ChildSpec, Strategy, SupervisorSpec};

/// The role child's name; it is the same for every role, so that a swap takes its place.
pub const ROLE: &str = "role";

/// Messages that may wait for a shell that hears every change of the view.
const CHANGES_MAILBOX: usize = 4096;

/// The child that makes a node what it is.
pub(crate) fn role_spec(role: Role, deps: &RoleDeps) -> ChildSpec {
    let mut spec =
        SupervisorSpec::new(ROLE, Strategy::OneForOne).intensity(8, Duration::from_secs(30));
    if let (Role::Master, Some(cluster_ctl)) = (role, deps.cluster_ctl.clone()) {
        spec = spec.child(
            ChildSpec::actor("cluster-ctl", &deps.refs.cluster_ctl, move |_| {
                ClusterCtlActor::new(cluster_ctl.clone())
            })
            .capacity(CHANGES_MAILBOX),
        );
    }
    if let (Role::Master | Role::Worker, Some(follow)) = (role, deps.follow.clone()) {
        spec = spec.child(
            ChildSpec::actor("follow", &deps.refs.follow, move |_| {
                FollowActor::new(follow.clone())
            })
            .capacity(CHANGES_MAILBOX),
        );
    }
    if let (Role::Master | Role::Worker, Some(index)) = (role, deps.index.clone()) {
        spec = spec.child(
            ChildSpec::actor("index", &deps.refs.index, move |_| IndexActor::new(index.clone()))
                .capacity(CHANGES_MAILBOX),
        );
    }
    let cache = deps.cache.clone();
    ChildSpec::supervisor(spec.child(ChildSpec::actor("cache", &deps.refs.cache, move |_| {
        CacheActor::new(cache.clone())
    })))
}
