//! Raft without I/O: the ready loop, membership and snapshots.
