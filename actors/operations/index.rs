//! The index.

use ipfs_kit_core::ops::{IndexFindRequest, IndexPage};

use super::{Operations, busy, failure};
use crate::api::Failure;
use crate::index::Find;

impl Operations {
    pub(super) async fn index_find(&self, request: IndexFindRequest) -> Result<IndexPage, Failure> {
        let found = self.parts.index.ask(Find(request)).await.map_err(|error| busy(&error))?;
        found.map_err(|error| failure("E_USAGE", error.to_string()))
    }
}
