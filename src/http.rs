//! The local HTTP API: a rendering of the operation registry, the streams that move content, and what
//! watches over the node: `/healthz`, `/readyz`, `/metrics`.

mod body;
pub mod client;
pub mod codes;
mod connections;
mod dag;
#[cfg(test)]
pub(crate) mod fake;
pub mod folder;
pub mod handover;
mod listener;
mod meter;
mod metrics;
mod pins;
pub mod pipe;
mod probes;
mod range;
mod server;
mod streams;
mod tar_source;
pub mod tarball;
mod upload;
pub mod wire;

pub use connections::serve;
pub use listener::{BindError, Exposure, Listener};
pub use server::{MetricsAccess, router};
