//! Every decoder that reads the network or a file, as functions of bytes.
//!
//! A target takes any bytes. It fails by a panic: the decoder's own, or that of an assertion that what
//! was decoded is encoded and decoded again the same. Its seeds are valid encodings; what was once found
//! lies in `regressions/` and is tried for ever.

#[path = "targets/consensus.rs"]
mod consensus;
#[path = "targets/content.rs"]
mod content;
#[path = "targets/core.rs"]
mod core;
#[cfg(feature = "program")]
#[path = "targets/net.rs"]
mod net;
#[cfg(feature = "program")]
#[path = "targets/program.rs"]
mod program;
#[path = "targets/store.rs"]
mod store;

/// One decoder, or one family of them.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, for the command line and for folders.
    pub name: &'static str,
    /// Decodes; panics where something is wrong with the decoder.
    pub run: fn(&[u8]),
    /// Valid encodings.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    target("car", content::car, content::car_seeds),
    target("cid", content::cid, content::cid_seeds),
    target("cluster_entry", core::entry, core::entry_seeds),
    target("cluster_gossip", core::gossip, core::gossip_seeds),
    target("cluster_join", core::join, core::join_seeds),
    target("cluster_request", core::request, core::request_seeds),
    target("cluster_response", core::response, core::response_seeds),
    target("cluster_state", core::state, core::state_seeds),
    #[cfg(feature = "program")]
    target("config_json", program::config_json, program::config_json_seeds),
    #[cfg(feature = "program")]
    target("config_yaml", program::config_yaml, program::config_yaml_seeds),
    target("dag_cbor", content::dag_cbor, content::dag_cbor_seeds),
    target("dag_json", content::dag_json, content::dag_json_seeds),
    target("dag_pb", content::dag_pb, content::dag_pb_seeds),
    #[cfg(feature = "program")]
    target("hello", net::hello, net::hello_seeds),
    #[cfg(feature = "program")]
    target("http_json", program::http_json, program::http_json_seeds),
    #[cfg(feature = "program")]
    target("join_exchange", net::join, net::join_seeds),
    target("join_token", core::token, core::token_seeds),
    #[cfg(feature = "program")]
    target("lane", net::lane, net::lane_seeds),
    #[cfg(feature = "program")]
    target("member_call", net::call, net::call_seeds),
    target("raft_conf", consensus::conf, consensus::conf_seeds),
    target("raft_message", consensus::message, consensus::message_seeds),
    target("store_blocks", store::blocks, store::blocks_seeds),
    target("store_checkpoint", store::checkpoint, store::checkpoint_seeds),
    target("store_files", store::files, store::files_seeds),
    target("store_raft_log", store::raft_log, store::raft_log_seeds),
    target("store_records", store::records, store::records_seeds),
    #[cfg(feature = "program")]
    target("tar", program::tar, program::tar_seeds),
    #[cfg(feature = "program")]
    target("texts", program::texts, program::texts_seeds),
    target("unixfs", content::unixfs, content::unixfs_seeds),
    target("unixfs_tree", content::tree, content::tree_seeds),
];

/// The target of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
