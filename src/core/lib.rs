//! Pure cluster decisions: no clock, no entropy, no I/O.
//!
//! Every decision is a synchronous state machine: time, randomness and messages come in as values,
//! wishes go out as values. The shells around them live in the actors' package.
//!
//! How to read it: [`id`], [`member`] and [`pin`] are the nouns; [`command`] is what the log says and
//! [`state`] what it means; [`delta`] and [`follow`] carry that to the followers; [`proto`] is all that
//! members say to each other, [`rights`] which of them may; [`ops`] is all that users may ask. [`limits`] bounds every
//! one of them.
//!
//! The machines decide: [`placement`] who holds a pin, [`replication`] what has to be repaired, [`failure`]
//! who is there, [`pin_tracker`] what a holder does, [`role`] what a node runs, [`restart`] what a
//! supervisor does, [`cache`] what stays in memory. [`index`] and [`query`] answer questions, [`health`]
//! and [`metrics`] say how a node is, and [`invariant`] says what must hold whatever happens.

pub mod cache;
pub mod codec;
pub mod command;
pub mod delta;
pub mod failure;
#[cfg(test)]
mod fixture;
pub mod follow;
pub mod gateways;
pub mod health;
pub mod id;
pub mod index;
pub mod invariant;
pub mod limits;
pub mod masters_clock;
pub mod member;
pub mod metrics;
pub mod ops;
pub mod pin;
pub mod pin_tracker;
pub mod placement;
pub mod proto;
pub mod query;
pub mod replication;
pub mod restart;
pub mod rights;
pub mod role;
pub mod state;
pub mod throttle;
pub mod token;
