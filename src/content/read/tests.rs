//! Reading back what was imported, and refusing what no importer makes.

mod directories;
mod files;
mod paths;
mod trees;

use super::{Flaw, ReadError};
use crate::cid::Cid;
use crate::dag_pb::{self, PbLink};
use crate::import::tests::MemoryStore;
use crate::unixfs::Data;

/// Stores a node; links are given by name (none if empty) and CID.
fn node(store: &MemoryStore, links: &[(&str, Cid)], data: &Data<'_>) -> Cid {
    let links: Vec<_> = links
        .iter()
        .map(|(name, cid)| PbLink {
            cid: *cid,
            name: (!name.is_empty()).then_some(name.as_bytes()),
            tsize: Some(1),
        })
        .collect();
    store.put_node(dag_pb::encode(&links, Some(&data.encode())))
}

fn flaw<T: std::fmt::Debug>(result: Result<T, ReadError>) -> Flaw {
    match result.unwrap_err() {
        ReadError::Malformed { flaw, .. } => flaw,
        other => panic!("{other:?}"),
    }
}
