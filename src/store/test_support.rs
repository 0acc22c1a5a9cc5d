//! What several test modules need.

use std::sync::Arc;

use crate::disk::{Disk, SimDisk};

/// A simulated disk as the stores take it.
pub(crate) fn port(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// `n` bytes that depend on `tag`.
pub(crate) fn filler(tag: u64, n: usize) -> Vec<u8> {
    let mut state = tag.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(n)
    .collect()
}
