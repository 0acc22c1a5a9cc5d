//! Every bound of this package, with the reason for its value.

/// Largest block in bytes. Bitswap and most stores of the ecosystem refuse anything larger.
pub const MAX_BLOCK_LEN_BYTES: usize = 2 * 1024 * 1024;

/// Longest digest in bytes of an identity CID (IPIP-512).
///
/// [`cid::Cid`] itself holds at most 64 bytes of digest, so longer ones already fail to parse.
pub const MAX_IDENTITY_LEN_BYTES: usize = 128;

/// Most links of one dag-pb node. The widest known writers fill a 2 MiB block with about 45,000.
pub const MAX_LINKS_PER_NODE: usize = 65_536;

/// Most values that one dag-cbor or dag-json block becomes in memory; about 30 MB. A block of 2 MiB
/// can hold 2 million, which would take 250 MB.
pub const MAX_IPLD_VALUES: usize = 262_144;

/// Longest header of a CAR in bytes: room for about 25,000 roots.
pub const MAX_CAR_HEADER_LEN_BYTES: usize = 1024 * 1024;

/// Longest CID in a CAR: a digest of 64 bytes, and four numbers of up to nine.
pub const MAX_CAR_CID_LEN_BYTES: usize = 100;

/// Most levels of one file's DAG. A balanced file of 2^64 bytes has 7, a trickle file about 20.
pub const MAX_FILE_DEPTH: usize = 64;

/// Most file nodes that a cursor remembers for later; bounds its memory against hostile shapes.
pub const MAX_PENDING_FILE_NODES: usize = 262_144;

/// Most CIDs that a walk remembers for later; about 40 MB.
pub const MAX_WALK_FRONTIER: usize = 1_048_576;

/// Most CIDs that a walk hands out before it wants answers.
pub const MAX_WALK_IN_FLIGHT: usize = 4_096;

/// Most missing CIDs that a walk remembers by name; more are counted only.
pub const MAX_MISSING_NAMED: usize = 1_024;

/// Widest HAMT shard. Wider ones allocate without need (CVE-2023-23625).
pub const MAX_HAMT_FANOUT: u64 = 1_024;

/// Longest name in bytes of a directory entry on import; file systems stop at 765 or earlier.
pub const MAX_NAME_LEN_BYTES: usize = 1_024;

/// Most components of an imported path.
pub const MAX_PATH_DEPTH: usize = 1_024;

/// Longest symlink target in bytes (Linux `PATH_MAX`).
pub const MAX_SYMLINK_TARGET_LEN_BYTES: usize = 4_096;

/// Most components of a path that is resolved.
pub const MAX_RESOLVE_DEPTH: usize = 1_024;
