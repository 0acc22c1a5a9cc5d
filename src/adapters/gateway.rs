//! A trustless gateway over HTTP.
//!
//! The [specification](https://specs.ipfs.tech/http-gateways/trustless-gateway/) asks for the form both in
//! the query and in `Accept`; some servers look at one, some at the other.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures_util::future::BoxFuture;
use ipfs_kit_actors::causes::with_causes;
use ipfs_kit_actors::ports::{Gateway, GatewayError};
use ipfs_kit_core::limits::BLOCK_BYTES_MAX;
use reqwest::header::ACCEPT;
use reqwest::{Client, Response, StatusCode, redirect};

use crate::config::GatewayUrl;
use crate::http;
use crate::http::pipe::{PipeSender, pipe};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long nothing may come: public gateways look for a block themselves first.
const QUIET_MAX: Duration = Duration::from_secs(20);
/// How long one block may take.
const BLOCK_MAX: Duration = Duration::from_secs(30);
/// Gateways that give each CID an origin of its own redirect to it.
const REDIRECTS_MAX: usize = 4;

const RAW: (&str, &str) = ("format=raw", "application/vnd.ipld.raw");
/// Depth first, so that a block's parent is known when it comes, and each block once.
const CAR: (&str, &str) = (
    "format=car&dag-scope=all&car-version=1&car-order=dfs&car-dups=n",
    "application/vnd.ipld.car; version=1; order=dfs; dups=n",
);

/// A server that gives blocks to anybody.
#[derive(Debug)]
pub struct HttpGateway {
    name: String,
    url: GatewayUrl,
    http: Client,
}

/// Why there is no answer with content.
enum Refused {
    /// The server says so.
    Status(StatusCode),
    /// There was none.
    Broken(GatewayError),
}

impl From<GatewayError> for Refused {
    fn from(error: GatewayError) -> Self {
        Self::Broken(error)
    }
}

impl From<Refused> for GatewayError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Status(status) => Self { reason: format!("it answered {status}") },
            Refused::Broken(error) => error,
        }
    }
}

/// The gateways at these URLs; they share connections.
pub fn gateways(urls: &[GatewayUrl]) -> Result<Vec<Arc<dyn Gateway>>, GatewayError> {
    if urls.is_empty() {
        return Ok(Vec::new());
    }
    let http = http::client::of_internet(urls.iter().any(GatewayUrl::is_https))
        .connect_timeout(CONNECT_MAX)
        .read_timeout(QUIET_MAX)
        .redirect(redirect::Policy::limited(REDIRECTS_MAX))
        .build()
        .map_err(trouble)?;
    let gateway = |url: &GatewayUrl| {
        let (name, url, http) = (url.to_string(), url.clone(), http.clone());
        Arc::new(HttpGateway { name, url, http }) as Arc<dyn Gateway>
    };
    Ok(urls.iter().map(gateway).collect())
}

impl Gateway for HttpGateway {
    fn name(&self) -> &str {
        &self.name
    }

    fn block(&self, cid: Cid) -> BoxFuture<'static, Result<Option<Bytes>, GatewayError>> {
        let asked = self.ask(cid, RAW);
        Box::pin(async move {
            let within = tokio::time::timeout(BLOCK_MAX, async {
                match asked.await? {
                    None => Ok(None),
                    Some(response) => bounded(response).await.map(Some),
                }
            });
            within.await.unwrap_or_else(|_| {
                Err(failed(format!("no whole block within {} s", BLOCK_MAX.as_secs())))
            })
        })
    }

    fn car(
        &self,
        root: Cid,
    ) -> BoxFuture<'static, Result<Option<Box<dyn Read + Send>>, GatewayError>> {
        let asked = self.ask(root, CAR);
        Box::pin(async move {
            let response = match asked.await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(None),
                // It makes no CARs, or not of this; that says nothing about single blocks.
                Err(Refused::Status(status)) if status.is_client_error() => return Ok(None),
                Err(refused) => return Err(refused.into()),
            };
            let (sender, receiver) = pipe();
            tokio::spawn(pump(response, sender));
            Ok(Some(Box::new(receiver.into_blocking()) as Box<dyn Read + Send>))
        })
    }
}

impl HttpGateway {
    /// The answer, or `None` if there is no such content.
    fn ask(
        &self,
        cid: Cid,
        (query, accept): (&str, &'static str),
    ) -> impl Future<Output = Result<Option<Response>, Refused>> + Send + use<> {
        let request = self.http.get(self.url.of(&cid.to_string(), query)).header(ACCEPT, accept);
        async move {
            let response = request.send().await.map_err(trouble)?;
            match response.status() {
                StatusCode::OK => Ok(Some(response)),
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
                status => Err(Refused::Status(status)),
            }
        }
    }
}

async fn bounded(mut response: Response) -> Result<Bytes, GatewayError> {
    let mut block = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(trouble)? {
        if block.len() + chunk.len() > BLOCK_BYTES_MAX {
            return Err(failed(format!("it sent more than {BLOCK_BYTES_MAX} bytes as a block")));
        }
        block.extend_from_slice(&chunk);
    }
    Ok(block.freeze())
}

/// Hands an answer on until it ends or nobody reads it. An answer that breaks off leaves the pipe without
/// its end, and the reader notices.
async fn pump(mut response: Response, sender: PipeSender) {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                // Whoever reads no more has all it wanted.
                let _ = sender.end().await;
                return;
            }
            Err(error) => {
                tracing::debug!(error = with_causes(&error), "a gateway's answer broke off");
                return;
            }
        }
    }
}

fn failed(reason: String) -> GatewayError {
    GatewayError { reason }
}

fn trouble(error: reqwest::Error) -> GatewayError {
    // The URL is in the gateway's name.
    failed(with_causes(&error.without_url()))
}
