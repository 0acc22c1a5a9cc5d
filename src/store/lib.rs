//! Everything a node keeps: blocks, the Raft log and checkpoints, over one [`disk::Disk`] port.
//!
//! All calls are synchronous; the caller decides on which thread they run. Nothing else touches
//! files, so the same store runs over real files and over a simulated disk that tears its writes.

pub mod blocks;
pub mod checkpoint;
pub mod disk;
pub mod files;
pub mod folder;
pub mod raft_log;
#[cfg(any(test, feature = "testkit"))]
pub mod trials;
pub mod wal;

mod codec;
#[cfg(test)]
mod test_support;
