//! ClusterManager: the supervisor of everything by which a node takes part in its cluster.

pub mod coordination;
pub mod dynamic_role;
pub mod monitoring;
pub mod state_sync;
