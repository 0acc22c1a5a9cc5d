//! CacheActor: a bounded memory cache of blocks that were fetched and are not stored here.

use std::collections::BTreeMap;

use actix::{Actor, Handler, Message};
use bytes::Bytes;
use cid::Cid;
use ipfs_kit_core::cache::{Admission, CachePolicy, Stats};

use crate::shared::Shared;
use crate::supervised;
use crate::supervision::Ctx;

/// What the actor is made of; everything in it survives its restarts. The blocks do not: they are fetched
/// again.
#[derive(Clone)]
pub struct Deps {
    /// Bytes that the cache may take, overhead included.
    pub max_bytes: u64,
    /// Counts; shown to users.
    pub stats: Shared<Stats>,
}

/// See the module.
pub struct CacheActor {
    deps: Deps,
    policy: CachePolicy,
    blocks: BTreeMap<ipfs_kit_core::id::Cid, Bytes>,
}

/// Which of these are there?
#[derive(Message, Debug, Clone)]
#[rtype(result = "Vec<(Cid, Bytes)>")]
pub struct CacheGet {
    /// Which.
    pub cids: Vec<Cid>,
}

/// Blocks that were fetched and verified.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct CachePut {
    /// Which, with their bytes.
    pub blocks: Vec<(Cid, Bytes)>,
}

impl CacheActor {
    /// An empty cache.
    pub fn new(deps: Deps) -> Self {
        let policy = CachePolicy::new(deps.max_bytes);
        Self { deps, policy, blocks: BTreeMap::new() }
    }
}

impl Actor for CacheActor {
    type Context = Ctx<Self>;
}

supervised!(CacheActor);

impl Handler<CacheGet> for CacheActor {
    type Result = Vec<(Cid, Bytes)>;

    fn handle(&mut self, get: CacheGet, _: &mut Ctx<Self>) -> Self::Result {
        let mut found = Vec::new();
        for cid in get.cids {
            let key = ipfs_kit_core::id::Cid::from(&cid);
            if self.policy.read(&key)
                && let Some(bytes) = self.blocks.get(&key)
            {
                found.push((cid, bytes.clone()));
            }
        }
        self.deps.stats.write(|shown| *shown = self.policy.stats());
        found
    }
}

impl Handler<CachePut> for CacheActor {
    type Result = ();

    fn handle(&mut self, put: CachePut, _: &mut Ctx<Self>) {
        let mut evicted = Vec::new();
        for (cid, bytes) in put.blocks {
            let key = ipfs_kit_core::id::Cid::from(cid);
            let admission = self.policy.insert(&key, bytes.len() as u64, &mut evicted);
            for gone in evicted.drain(..) {
                self.blocks.remove(&gone);
            }
            if admission == Admission::Admitted {
                self.blocks.insert(key, bytes);
            }
        }
        self.deps.stats.write(|shown| *shown = self.policy.stats());
    }
}
