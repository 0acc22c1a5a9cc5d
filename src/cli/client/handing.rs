//! Trees whose large files are handed over open, and outputs, where the node is on this machine and lets us.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use ipfs_kit_actors::api::{AddEvent, AddOptions, Added, ByteRange};
use reqwest::Method;

use super::{Client, Download, odd_answer};
use crate::cli::error::CliError;
use crate::cli::walk::Walk;
use crate::http::handover;
use crate::http::pipe::BlockingWriter;
use crate::http::wire::{self, HandoverOffer};

/// Where files can be handed over for one upload.
pub(super) struct Handing {
    connection: UnixStream,
    end: EndOnDrop,
    ticket: String,
}

/// Ends a connection for all who wait at it.
pub(super) struct EndOnDrop(UnixStream);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Client {
    /// Uploads a walk and adds it, as [`Client::add`] does. Large files go from hand to hand if they can.
    pub async fn add_walk(
        &self,
        options: &AddOptions,
        walk: Walk,
        mut on_bytes: impl FnMut(u64) + Send + 'static,
        on_event: impl FnMut(AddEvent),
    ) -> Result<Added, CliError> {
        let mut request = self.adding(options, wire::TAR);
        let (mut connection, mut end) = (None, None);
        if let Some(handing) = self.handing().await {
            request = request.header(wire::TICKET_HEADER, handing.ticket);
            (connection, end) = (Some(handing.connection), Some(handing.end));
        }
        let produce = move |writer: &mut BlockingWriter| {
            walk.write_tar_handing(connection.as_ref(), writer, &mut on_bytes).map(drop)
        };
        Ok(self.upload(request, produce, on_event, end).await?.0)
    }

    /// Reads a file, as [`Client::cat`] does, into an output that the node is handed if it can be: then it is
    /// written there, and nothing is left to do.
    pub async fn cat_into(
        &self,
        path: &str,
        range: ByteRange,
        output: &File,
    ) -> Result<Option<Download>, CliError> {
        let mut request = self.catting(path, range);
        let mut lent = None;
        if handover::never_waits(output).unwrap_or(false)
            && let Some(Handing { connection, end, ticket }) = self.handing().await
            && handover::lend(&connection, output).is_ok()
        {
            request = request.header(wire::TICKET_HEADER, ticket);
            lent = Some(end);
        }
        let download = self.answered(request).await?;
        let is_done = lent.is_some() && download.is_written();
        Ok((!is_done).then_some(download))
    }

    /// What stands in the way only means that bytes are sent: if the node itself can't be reached, that
    /// fails too and says so.
    pub(super) async fn handing(&self) -> Option<Handing> {
        // What another machine answers names no socket of this one.
        if !self.target.address.leads_here() {
            return None;
        }
        let offer = self.offer().await;
        let offer =
            offer.inspect_err(|error| tracing::debug!(?error, "nothing was offered")).ok()?;
        let taken_up = self.take_up(&offer).await.and_then(|connection| {
            let end = EndOnDrop(connection.try_clone()?);
            Ok((connection, end))
        });
        match taken_up {
            Ok((connection, end)) => Some(Handing { connection, end, ticket: offer.ticket }),
            Err(error) => {
                tracing::debug!(%error, socket = %offer.socket, "an offer is not taken up");
                None
            }
        }
    }

    async fn offer(&self) -> Result<HandoverOffer, CliError> {
        let response = self.send(self.request(Method::POST, "/handover")).await?;
        let answer = self.read_json(response).await?;
        serde_json::from_value(answer).map_err(|error| odd_answer().because(&error))
    }

    async fn take_up(&self, offer: &HandoverOffer) -> io::Result<UnixStream> {
        // Its owner is who runs the node. Without a folder here, that is not known.
        let folder = std::fs::metadata(&self.target.folder);
        handover::take_up(offer, folder.ok().map(|folder| folder.uid())).await
    }
}

#[cfg(test)]
mod tests;
