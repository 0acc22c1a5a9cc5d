//! The table itself.

use super::{Component, OpInfo, Shape, Site};
use crate::member::Role;

const EVERYONE: &[Role] = &[Role::Master, Role::Worker, Role::Leecher];
const MEMBERS: &[Role] = &[Role::Master, Role::Worker];

const fn op(
    name: &'static str,
    summary: &'static str,
    example: &'static str,
    component: Component,
    site: Site,
) -> OpInfo {
    OpInfo { name, summary, example, roles: EVERYONE, component, site, shape: Shape::Unary }
}

const fn for_members(info: OpInfo) -> OpInfo {
    OpInfo { roles: MEMBERS, ..info }
}

const fn streamed(info: OpInfo) -> OpInfo {
    OpInfo { shape: Shape::Stream, ..info }
}

const CID: &str = r#"{"cid":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}"#;
const PATH: &str = r#"{"path":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}"#;
const NODE: &str = r#"{"node":"n2"}"#;

/// Every operation, by name.
pub static ALL: &[OpInfo] = &[
    op("actors", "the live supervision tree", "{}", Component::Node, Site::Local),
    streamed(op("add", "import files and pin them", "{}", Component::Ipfs, Site::Local)),
    streamed(op("block.get", "a block's bytes", CID, Component::Ipfs, Site::Local)),
    streamed(op("block.put", "store a block", "{}", Component::Ipfs, Site::Local)),
    op("block.rm", "delete a block here that nothing keeps", CID, Component::Ipfs, Site::Local),
    op("block.stat", "a block's size", CID, Component::Ipfs, Site::Local),
    streamed(op("cat", "a file's bytes", PATH, Component::Ipfs, Site::Local)),
    for_members(op(
        "cluster.token.create",
        "make a one-time join token",
        r#"{"role":"worker","expires_in_ms":3600000}"#,
        Component::Cluster,
        Site::Leader,
    )),
    for_members(op(
        "cluster.token.ls",
        "join tokens that exist",
        "{}",
        Component::Cluster,
        Site::Master,
    )),
    for_members(op(
        "cluster.token.revoke",
        "end a join token",
        r#"{"id":"0011223344556677"}"#,
        Component::Cluster,
        Site::Leader,
    )),
    streamed(op("dag.export", "a DAG as CAR", CID, Component::Ipfs, Site::Local)),
    streamed(op("dag.get", "a value in a DAG", PATH, Component::Ipfs, Site::Local)),
    streamed(op(
        "dag.import",
        "take in a CAR and pin its roots",
        "{}",
        Component::Ipfs,
        Site::Local,
    )),
    streamed(op("dag.put", "store a value as a block", "{}", Component::Ipfs, Site::Local)),
    op("dag.stat", "a DAG's blocks and size", CID, Component::Ipfs, Site::Local),
    streamed(op("get", "a file or directory as TAR", PATH, Component::Ipfs, Site::Local)),
    op("health", "whether this node is live and ready", "{}", Component::Node, Site::Local),
    for_members(op(
        "index.find",
        "what was added, by name",
        r#"{"name":"report"}"#,
        Component::Index,
        Site::Local,
    )),
    op("ls", "a directory's entries", PATH, Component::Ipfs, Site::Local),
    op("metrics", "this node in figures", "{}", Component::Node, Site::Local),
    op("node.clock", "this node's wall clock", "{}", Component::Cluster, Site::Any),
    op(
        "node.leave",
        "move a member's pins away, then let it go",
        NODE,
        Component::Cluster,
        Site::Leader,
    ),
    op("node.ls", "all members", "{}", Component::Cluster, Site::Leader),
    op(
        "node.probe",
        "dial every address of a member from here",
        r#"{"node":2}"#,
        Component::Cluster,
        Site::Any,
    ),
    op(
        "node.reach",
        "how this node and the others reach each other",
        "{}",
        Component::Cluster,
        Site::Local,
    ),
    for_members(op(
        "node.rm",
        "take a member out for good, at once",
        NODE,
        Component::Cluster,
        Site::Leader,
    )),
    for_members(op(
        "node.role",
        "change a member's role",
        r#"{"node":"n2","role":"worker"}"#,
        Component::Cluster,
        Site::Leader,
    )),
    op("node.show", "one member", NODE, Component::Cluster, Site::Leader),
    op(
        "pin.add",
        "keep a CID on members, or here without a cluster",
        CID,
        Component::Ipfs,
        Site::Leader,
    ),
    op("pin.ls", "pins, a page at a time", r#"{"limit":100}"#, Component::Ipfs, Site::Master),
    op("pin.rm", "end a pin", CID, Component::Ipfs, Site::Leader),
    op("pin.status", "one pin and its copies", CID, Component::Ipfs, Site::Leader),
    op(
        "pins.add",
        "pin many CIDs or change many pins, each with its own answer",
        r#"{"pins":[{"cid":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}]}"#,
        Component::Ipfs,
        Site::Leader,
    ),
    op(
        "pins.status",
        "many pins and their copies",
        r#"{"pins":[{"cid":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}]}"#,
        Component::Ipfs,
        Site::Leader,
    ),
    op("stat", "what a path is", PATH, Component::Ipfs, Site::Local),
    op("status", "this node at a glance", "{}", Component::Node, Site::Local),
    op("store.gc", "delete now what nothing keeps", "{}", Component::Ipfs, Site::Local),
    op("store.stat", "the block store in figures", "{}", Component::Ipfs, Site::Local),
    streamed(op("store.verify", "read and check every block", "{}", Component::Ipfs, Site::Local)),
];

/// The operation with this name.
pub fn find(name: &str) -> Option<&'static OpInfo> {
    ALL.binary_search_by(|info| info.name.cmp(name)).ok().map(|at| &ALL[at])
}
