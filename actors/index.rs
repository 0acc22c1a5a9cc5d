//! IndexActor: what was added, by name. A master's index is the cluster's, a worker's is its own part.

use actix::{Actor, Handler, Message};
use ipfs_kit_core::id::ParseError;
use ipfs_kit_core::index::Index;
use ipfs_kit_core::ops::{IndexFindRequest, IndexPage};

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
        deps.consensus.state.read(|state| Index::of(state.pins().values()))
    } else {
        deps.view.read(|view| Index::of(view.pins().values()))
    }
}

impl Actor for IndexActor {
    type Context = Ctx<Self>;
}

supervised!(IndexActor);

impl Handler<Find> for IndexActor {
    type Result = Result<IndexPage, ParseError>;

    fn handle(&mut self, Find(request): Find, _: &mut Ctx<Self>) -> Self::Result {
        self.index.find(&request)
    }
}

impl Handler<ViewMoved> for IndexActor {
    type Result = ();

    fn handle(&mut self, moved: ViewMoved, _: &mut Ctx<Self>) {
        let Some(changes) = moved.changes else {
            self.index = build(&self.deps);
            return;
        };
        let cluster_wide = self.is_cluster_wide();
        for change in changes.iter() {
            let ipfs_kit_core::delta::Change::Pin { cid, .. } = change else { continue };
            let mine = || self.deps.view.read(|view| view.pins().contains_key(cid));
            if cluster_wide || mine() {
                self.index.apply(change);
            } else {
                self.index.remove(cid);
            }
        }
    }
}
