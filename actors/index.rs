//! IndexActor: what was added, found by name: in the whole cluster on a master, in its own part on a worker.

use actix::{Actor, Handler, Message};
use ipfs_kit_core::id::ParseError;
use ipfs_kit_core::index::{self, Index};
use ipfs_kit_core::ops::{IndexFindRequest, IndexPage};
use ipfs_kit_core::pin::SharedPin;

use crate::consensus::ConsensusHandle;
use crate::events::ViewMoved;
use crate::shared::SharedView;
use crate::supervised;
use crate::supervision::Ctx;

/// What the actor is made of; everything in it survives its restarts. The index does not: it is made
/// again from the state.
#[derive(Clone)]
pub struct Deps {
    /// The whole state, where consensus runs here.
    pub consensus: ConsensusHandle,
    /// This node's own part.
    pub view: SharedView,
}

/// See the module.
pub struct IndexActor {
    deps: Deps,
    /// Empty on a master.
    index: Index,
}

/// A search.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<IndexPage, ParseError>")]
pub struct Find(pub IndexFindRequest);

impl IndexActor {
    /// An index of what is there now.
    pub fn new(deps: Deps) -> Self {
        let index = build(&deps);
        Self { deps, index }
    }

    fn is_cluster_wide(&self) -> bool {
        self.deps.consensus.glance.read(|glance| glance.running)
    }
}

fn build(deps: &Deps) -> Index {
    if deps.consensus.glance.read(|glance| glance.running) {
        // The state has it all.
        return Index::default();
    }
    deps.view.read(|view| Index::of(view.pins().values().map(SharedPin::read)))
}

impl Actor for IndexActor {
    type Context = Ctx<Self>;
}

supervised!(IndexActor);

impl Handler<Find> for IndexActor {
    type Result = Result<IndexPage, ParseError>;

    fn handle(&mut self, Find(request): Find, _: &mut Ctx<Self>) -> Self::Result {
        if self.is_cluster_wide() {
            return self.deps.consensus.state.read(|state| index::find_among(state, &request));
        }
        self.index.find(&request)
    }
}

impl Handler<ViewMoved> for IndexActor {
    type Result = ();

    fn handle(&mut self, moved: ViewMoved, _: &mut Ctx<Self>) {
        let Some(changes) = moved.changes.filter(|_| !self.is_cluster_wide()) else {
            self.index = build(&self.deps);
            return;
        };
        for change in changes.iter() {
            let ipfs_kit_core::delta::Change::Pin { cid, .. } = change else { continue };
            let mine = || self.deps.view.read(|view| view.pins().contains_key(cid));
            if mine() {
                self.index.apply(change);
            } else {
                self.index.remove(cid);
            }
        }
    }
}
