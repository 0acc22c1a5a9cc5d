//! Blocks, the Raft log and checkpoints over the Disk port.
