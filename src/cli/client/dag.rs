//! DAGs and CARs, as the node's API has them.

use ipfs_kit_actors::api::{AddEvent, CarImported, CarOptions};
use ipfs_kit_core::id::Cid;
use reqwest::Method;

use super::{Client, Download};
use crate::cli::error::CliError;
use crate::http::pipe::BlockingWriter;

impl Client {
    /// A DAG as CAR.
    pub async fn export_car(&self, root: &Cid) -> Result<Download, CliError> {
        self.download(&format!("/dag/export/{root}"), &[]).await
    }

    /// Uploads the CAR that `produce` writes, on a thread of its own. Returns when the node is done.
    pub async fn import_car(
        &self,
        options: &CarOptions,
        produce: impl FnOnce(&mut BlockingWriter) -> Result<(), CliError> + Send + 'static,
        on_event: impl FnMut(AddEvent),
    ) -> Result<CarImported, CliError> {
        let request = self.request(Method::PUT, "/dag/import").query(options);
        let (imported, ()) = self.upload(request, produce, on_event).await?;
        Ok(imported)
    }
}
