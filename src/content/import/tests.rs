//! Published vectors, determinism, refusals and shapes of imports.

mod support;
mod tree;
mod vectors;

pub(crate) use support::{Keystream, MemoryStore};
