//! The local HTTP API: a rendering of the operation registry, plus the streams that move content.

pub mod codes;
mod dag;
#[cfg(test)]
pub(crate) mod fake;
pub mod folder;
mod listener;
pub mod pipe;
mod range;
mod server;
mod streams;
mod tar_source;
pub mod tarball;
mod upload;
pub mod wire;

pub use listener::{BindError, Connection, Exposure, Listener};
pub use server::{router, serve};
