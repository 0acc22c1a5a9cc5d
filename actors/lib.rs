//! Supervised shells around the pure machines, and the role trees.
//!
//! ```text
//! /node  rest-for-one
//!   store                       the block store's order: garbage, usage
//!   network/   one-for-all      swarm  router
//!   ipfs                        the embedded IPFS node
//!   cluster/   one-for-one      coordination  state-sync  monitoring  dynamic-role
//!   consensus/ one-for-one      raft (while the node is a master)
//!   role/      one-for-one      see [`roles`]
//!   …                           interfaces: started last, stopped first
//! ```
//!
//! How to read it: [`ports`] is the world as the shells need it, [`settings`] what they are told,
//! [`api`] what they offer; [`node`] puts a node together; [`supervision`] keeps it alive.

mod admission;
pub mod api;
pub mod cache;
pub mod causes;
pub mod cluster_ctl;
pub mod cluster_manager;
pub mod consensus;
pub mod events;
pub mod follow;
pub mod gateways;
mod holdings;
pub mod index;
pub mod ipfs;
pub mod journal;
pub mod membership;
pub mod node;
mod operations;
mod outcomes;
mod pace;
pub mod ports;
mod request_ids;
mod roles;
mod router;
pub mod rpc;
pub mod settings;
pub mod shared;
pub mod store;
pub mod supervision;
mod transfer;
