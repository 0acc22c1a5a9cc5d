//! Every bound in one file, asserted against each other where they depend on each other.

/// Folders inside one another, in what is added and in what is read as a tree. Deeper ones are an
/// error; walks on both sides may recurse this far.
pub const TREE_DEPTH_MAX: usize = 256;
/// One kibibyte, for the sizes below.
const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

/// Largest Raft log entry; also what a proposal of one request may encode to.
pub const ENTRY_BYTES_MAX: usize = MIB - 64 * KIB;
/// Most commands in one entry.
pub const ENTRY_COMMANDS_MAX: usize = 4096;
/// Largest unary request between members.
pub const REQUEST_BYTES_MAX: usize = MIB;
/// Largest unary answer between members.
pub const RESPONSE_BYTES_MAX: usize = 16 * MIB;
/// Largest gossip message, envelope included.
pub const GOSSIP_BYTES_MAX: usize = 32 * KIB;
/// Largest join request or answer.
pub const JOIN_BYTES_MAX: usize = 16 * KIB;
/// Largest join token in its binary form.
pub const TOKEN_BYTES_MAX: usize = 4 * KIB;
/// Largest state that a checkpoint or snapshot may hold.
pub const STATE_BYTES_MAX: usize = 1024 * MIB;
/// Largest answer to a feed request before it is cut and continued.
pub const FEED_BYTES_MAX: usize = 4 * MIB;
/// Bytes of deltas that a master keeps for followers that lag.
pub const FEED_RING_BYTES_MAX: usize = 64 * MIB;
/// Deltas that a master keeps for followers that lag.
pub const FEED_RING_DELTAS_MAX: usize = 65_536;

/// Most members, of all roles.
pub const MEMBERS_MAX: usize = 4096;
/// Most removed identities that a master knows by sight; the others are strangers to it.
pub const REMOVED_KNOWN_MAX: usize = 4096;
/// Most masters: more voters make every commit slower and nothing safer.
pub const MASTERS_MAX: usize = 7;
/// Most addresses of one member.
pub const ADDRS_MAX: usize = 16;
/// Longest address.
pub const ADDR_LEN_BYTES_MAX: usize = 280;
/// Longest name of a node or zone.
pub const NODE_NAME_LEN_BYTES_MAX: usize = 64;
/// Most join tokens that are neither used nor expired.
pub const TOKENS_MAX: usize = 1024;
/// Longest a join token may live.
pub const TOKEN_LIFE_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Longest name of a pin.
pub const PIN_NAME_LEN_BYTES_MAX: usize = 255;
/// Metadata entries of a pin.
pub const PIN_METADATA_MAX: usize = 32;
/// Longest metadata key or value.
pub const PIN_METADATA_LEN_BYTES_MAX: usize = 1024;
/// Most pins in one command.
pub const PIN_MANY_MAX: usize = 1024;
/// Most copies one pin may ask for.
pub const REPLICAS_MAX: u16 = 64;
/// Most holders recorded for one pin, surplus and lost ones included.
pub const ALLOCATIONS_MAX: usize = 128;
/// Longest reason of a failed replica that is replicated.
pub const REASON_LEN_BYTES_MAX: usize = 256;
/// Largest encoded pin.
pub const PIN_BYTES_MAX: usize = 128 * KIB;

/// Requests of one client that are remembered for deduplication; an item that a request was refused for
/// counts like a request.
pub const DEDUP_WINDOW: u64 = 4096;

/// Blocks asked for in one request.
pub const BLOCKS_PER_REQUEST_MAX: usize = 512;
/// Block bytes in one answer; one larger block still travels alone.
pub const BLOCKS_ANSWER_BYTES_MAX: usize = 4 * MIB;
/// Largest block.
pub const BLOCK_BYTES_MAX: usize = 2 * MIB;

/// Outcomes of one node in one report.
pub const REPORTS_MAX: usize = 512;
/// Committed entries that a node may lag behind and still be called ready.
pub const READY_LAG_MAX: u64 = 1000;
/// Longest one actor may hold the thread of all actors before its node is called dead, in milliseconds.
pub const STALL_MS_MAX: u64 = 30_000;
/// Members that one look at who reaches whom takes in.
pub const REACH_MEMBERS_MAX: usize = 64;
/// Items in one page of a listing.
pub const PAGE_MAX: usize = 1000;

const _: () = {
    assert!(ENTRY_BYTES_MAX < REQUEST_BYTES_MAX);
    assert!(FEED_BYTES_MAX + ENTRY_BYTES_MAX < RESPONSE_BYTES_MAX);
    assert!(BLOCKS_ANSWER_BYTES_MAX + BLOCK_BYTES_MAX < RESPONSE_BYTES_MAX);
    assert!(GOSSIP_BYTES_MAX < REQUEST_BYTES_MAX);
    assert!(REPLICAS_MAX as usize <= ALLOCATIONS_MAX);
    const METADATA_BYTES_MAX: usize = PIN_METADATA_MAX * 2 * (PIN_METADATA_LEN_BYTES_MAX + 9);
    const COPIES_BYTES_MAX: usize = ALLOCATIONS_MAX * (REASON_LEN_BYTES_MAX + 4 * 9);
    assert!(METADATA_BYTES_MAX + COPIES_BYTES_MAX + KIB < PIN_BYTES_MAX);
    assert!((PIN_MANY_MAX as u64) < DEDUP_WINDOW);
};
