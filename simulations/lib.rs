//! Whole clusters in virtual time from one seed.
//!
//! Only the network, the disk, the clock and entropy are simulated ([`world`]); the actors, Raft and the
//! stores are the product's own. A run is a function of its seed: every event goes into the
//! [`trace`], whose hash is equal for equal seeds, so that a seed is a complete bug report.

pub mod checkers;
pub mod cluster;
pub mod content;
pub mod faults;
pub mod ledger;
pub mod rng;
pub mod runner;
pub mod scenarios;
pub mod stage;
pub mod trace;
pub mod world;
