//! The local HTTP API.

pub mod codes;
pub mod tarball;
