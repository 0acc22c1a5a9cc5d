//! Pure IPFS formats: content identifiers, dag-pb, dag-cbor, dag-json, CAR, UnixFS import and reading, walks over DAGs.
//!
//! Nothing here is asynchronous or touches a disk or the network. Writers take [`std::io::Read`] and
//! give blocks to an [`import::BlockSink`]; readers and walks ask for blocks and are given them, so the
//! same code serves a local store, a network and a simulation. Everything that is parsed is bounded
//! first, see [`limits`].

pub mod car;
pub mod cid;
pub mod dag_pb;
mod hamt;
pub mod import;
pub mod ipld;
pub mod limits;
pub mod profile;
mod protobuf;
pub mod read;
pub mod unixfs;
pub mod walk;

pub use protobuf::WireError;
