//! DAGs and CARs, as the node's API has them.

use futures_util::{Stream, StreamExt};
use ipfs_kit_actors::api::{AddEvent, CarImported, CarOptions, Put, PutOptions, VerifyLine};
use ipfs_kit_core::id::Cid;
use reqwest::Method;

use super::{Client, Download, bounded_body, content_path, lines, odd_answer, parse_line};
use crate::cli::error::CliError;
use crate::http::pipe::BlockingWriter;
use crate::http::wire::ANSWER_BYTES_MAX;

impl Client {
    /// A DAG as CAR.
    pub async fn export_car(&self, root: &Cid) -> Result<Download, CliError> {
        self.download(&format!("/dag/export/{root}"), &()).await
    }

    /// A block's bytes.
    pub async fn block(&self, cid: &Cid) -> Result<Vec<u8>, CliError> {
        whole(self.download(&format!("/block/{cid}"), &()).await?).await
    }

    /// The value at a path, in a codec by name.
    pub async fn value(&self, path: &str, codec: &str) -> Result<Vec<u8>, CliError> {
        let path = format!("/dag/value/{}", content_path(path));
        let request = self.request(Method::GET, &path).query(&[("codec", codec)]);
        Ok(bounded_body(self.send(request).await?).await?.to_vec())
    }

    /// Stores a block.
    pub async fn put(&self, data: Vec<u8>, options: &PutOptions) -> Result<Put, CliError> {
        let request = self.request(Method::PUT, "/block").query(options).body(data);
        let answer = self.read_json(self.send(request).await?).await?;
        serde_json::from_value(answer).map_err(|error| odd_answer().because(&error))
    }

    /// Checks every block that the node has stored.
    pub async fn verify(
        &self,
    ) -> Result<impl Stream<Item = Result<VerifyLine, CliError>> + use<>, CliError> {
        let response = self.send(self.request(Method::GET, "/store/verify")).await?;
        Ok(lines(response).map(|line| match parse_line(&line?)? {
            VerifyLine::Failed { error } => Err(error.into()),
            line => Ok(line),
        }))
    }

    /// Uploads the CAR that `produce` writes, on a thread of its own. Returns when the node is done.
    pub async fn import_car(
        &self,
        options: &CarOptions,
        produce: impl FnOnce(&mut BlockingWriter) -> Result<(), CliError> + Send + 'static,
        on_event: impl FnMut(AddEvent),
    ) -> Result<CarImported, CliError> {
        let request = self.request(Method::PUT, "/dag/import").query(options);
        let (imported, ()) = self.upload(request, produce, on_event, None).await?;
        Ok(imported)
    }
}

async fn whole(mut download: Download) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CliError::new("E_TOO_LARGE", "the node's answer is too large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
