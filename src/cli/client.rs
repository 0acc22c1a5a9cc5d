//! The client side of the local API: finds the node, carries the token, and turns every way in which it
//! can fail into the one form of error.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use ipfs_kit_actors::api::{AddEvent, AddOptions, Added, ByteRange, Failure};
use ipfs_kit_core::ops::{ContentInfo, Operation};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::args::Globals;
use super::error::CliError;
use crate::config::{self, ApiAddress, Loaded};
use crate::http;
use crate::http::folder::{self, ApiToken, FolderError};
use crate::http::pipe::{BlockingWriter, pipe};
use crate::http::wire::{self, AddEnd, AddLine, LsLine};

mod dag;
mod handing;

use handing::EndOnDrop;

/// How long a connection may take; the node is on this machine.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Random bytes of a request id.
const REQUEST_ID_LEN_BYTES: usize = 16;

/// A running node's API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: ApiToken,
    target: Target,
}

/// Which node is meant, for messages.
#[derive(Clone, Debug)]
struct Target {
    folder: PathBuf,
    address: ApiAddress,
}

impl Client {
    /// Finds the node that flags, environment and configuration mean. Nothing is sent yet.
    pub fn open(globals: &Globals) -> Result<Self, CliError> {
        Self::of(globals, &config::load(&globals.sources(Vec::new()))?)
    }

    /// The same, with the configuration at hand.
    pub fn of(globals: &Globals, loaded: &Loaded) -> Result<Self, CliError> {
        let folder = loaded.settings.folder.clone();
        let address = find_address(globals, loaded)?;
        let token_path = match &globals.token_file {
            Some(path) => path.clone(),
            None => folder.join(folder::TOKEN_FILE),
        };
        let token = ApiToken::read(&token_path).map_err(|error| no_token(&error, &folder))?;
        Self::new(Target { folder, address }, token)
    }

    fn new(target: Target, token: ApiToken) -> Result<Self, CliError> {
        let builder = http::client::of_api().connect_timeout(CONNECT_MAX);
        let (builder, host) = match &target.address {
            ApiAddress::Tcp(address) => (builder, address.to_string()),
            ApiAddress::Unix(path) => (builder.unix_socket(path.as_path()), "localhost".to_owned()),
        };
        let internal = |error: &(dyn std::error::Error + 'static)| {
            CliError::new("E_INTERNAL", "cannot set up the API client").because(error)
        };
        let http = builder.build().map_err(|error| internal(&error))?;
        let base = Url::parse(&format!("http://{host}")).map_err(|error| internal(&error))?;
        Ok(Self { http, base, token, target })
    }

    /// Runs a unary operation by name.
    pub async fn call(&self, operation: &str, request: &Value) -> Result<Value, CliError> {
        let path = format!("/call/{}", wire::encode_path(operation));
        let response = self.send(self.request(Method::POST, &path).json(request)).await?;
        self.read_json(response).await
    }

    /// Runs a unary operation with its types.
    pub async fn run<O: Operation>(&self, request: &O::Request) -> Result<O::Response, CliError> {
        let request = serde_json::to_value(request).map_err(|error| {
            CliError::new("E_INTERNAL", format!("cannot write the request of {}", O::NAME))
                .because(&error)
        })?;
        let answer = self.call(O::NAME, &request).await?;
        serde_json::from_value(answer).map_err(|error| odd_answer().because(&error))
    }

    /// The registry of the node, as JSON.
    pub async fn operations(&self) -> Result<Value, CliError> {
        let response = self.send(self.request(Method::GET, "/operations")).await?;
        self.read_json(response).await
    }

    /// Uploads what `produce` writes, on a thread of its own, and adds it. Returns when the node is done.
    ///
    /// An error of `produce` cuts the upload off, and the node adds nothing.
    pub async fn add<T: Send + 'static>(
        &self,
        options: &AddOptions,
        produce: impl FnOnce(&mut BlockingWriter) -> Result<T, CliError> + Send + 'static,
        on_event: impl FnMut(AddEvent),
    ) -> Result<(Added, T), CliError> {
        self.upload(self.adding(options, wire::TAR), produce, on_event, None).await
    }

    /// The same for the bytes of a single file, however many they will be.
    pub async fn add_file<T: Send + 'static>(
        &self,
        options: &AddOptions,
        produce: impl FnOnce(&mut BlockingWriter) -> Result<T, CliError> + Send + 'static,
        on_event: impl FnMut(AddEvent),
    ) -> Result<(Added, T), CliError> {
        self.upload(self.adding(options, wire::OCTETS), produce, on_event, None).await
    }

    fn adding(&self, options: &AddOptions, content_type: &str) -> RequestBuilder {
        self.request(Method::PUT, "/add").query(options).header(CONTENT_TYPE, content_type)
    }

    /// `end` is what `produce` may wait for besides room for its bytes: with the answer there, or the upload
    /// given up, it waits for nothing more.
    async fn upload<T: Send + 'static, R: DeserializeOwned>(
        &self,
        mut request: RequestBuilder,
        produce: impl FnOnce(&mut BlockingWriter) -> Result<T, CliError> + Send + 'static,
        on_event: impl FnMut(AddEvent),
        end: Option<EndOnDrop>,
    ) -> Result<(R, T), CliError> {
        // Says what is wrong with address or token before a large upload is under way.
        self.operations().await?;
        let (sender, receiver) = pipe();
        let (done, produced) = oneshot::channel();
        let producing = move || {
            let mut writer = sender.into_blocking();
            let result = produce(&mut writer);
            if result.is_ok() {
                // The node may stop at the archive's own end; whether it has all is in its answer.
                let _ = writer.finish();
            }
            // Nobody hears it if the command has ended.
            let _ = done.send(result);
        };
        // The runtime's own threads are waited for at its end, and a source such as standard input may say
        // nothing for ever.
        std::thread::Builder::new().name("upload".to_owned()).spawn(producing).map_err(
            |error| CliError::new("E_INTERNAL", "cannot start the upload").because(&error),
        )?;
        request = request.body(reqwest::Body::wrap_stream(receiver.into_stream()));
        let answered = self.follow_add(request, on_event).await;
        drop(end);
        let produced = produced.await.map_err(|error| {
            CliError::new("E_INTERNAL", "the upload stopped unexpectedly").because(&error)
        })?;
        match (answered, produced) {
            (Ok(added), Ok(produced)) => Ok((added, produced)),
            // A source that can't be read is the cause of whatever the node then says, and a node that
            // refused is the cause of an upload that it stopped taking.
            (_, Err(error)) if error.code() != "E_UPLOAD" => Err(error),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    }

    async fn follow_add<R: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        mut on_event: impl FnMut(AddEvent),
    ) -> Result<R, CliError> {
        let response = self.send(request).await?;
        let mut lines = std::pin::pin!(lines(response));
        while let Some(line) = lines.next().await {
            match parse_line::<AddLine<R>>(&line?)? {
                AddLine::Event(event) => on_event(event),
                AddLine::End(AddEnd::Added(added)) => return Ok(added),
                AddLine::End(AddEnd::Failed { error }) => return Err(error.into()),
            }
        }
        Err(CliError::new("E_PROTOCOL", "the node's answer ended without a result"))
    }

    /// A file's bytes.
    pub async fn cat(&self, path: &str, range: ByteRange) -> Result<Download, CliError> {
        self.answered(self.catting(path, range)).await
    }

    fn catting(&self, path: &str, range: ByteRange) -> RequestBuilder {
        let offset = (range.offset > 0).then_some(("offset", range.offset));
        let length = range.length.map(|length| ("length", length));
        let query: Vec<_> = offset.into_iter().chain(length).collect();
        self.request(Method::GET, &format!("/cat/{}", content_path(path))).query(&query)
    }

    /// Everything at and below a path, as TAR, below the name `root` or, without one, below `.`.
    pub async fn get(&self, path: &str, root: Option<&str>) -> Result<Download, CliError> {
        let query: Vec<_> = root.map(|root| ("root", root)).into_iter().collect();
        self.download(&format!("/get/{}", content_path(path)), &query).await
    }

    async fn download(&self, path: &str, query: &impl Serialize) -> Result<Download, CliError> {
        self.answered(self.request(Method::GET, path).query(query)).await
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Download, CliError> {
        let request_id = request_id()?;
        let request = request.header(wire::REQUEST_ID_HEADER, &request_id);
        let response = match request.send().await {
            Ok(response) => self.checked(response).await?,
            Err(error) if error.is_connect() => return Err(self.unreachable(&error)),
            Err(error) => return Err(self.why_broken(&request_id, &error).await),
        };
        Ok(Download { client: self.clone(), request_id, response })
    }

    /// A folder's entries, one by one.
    pub async fn ls(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<ContentInfo, CliError>> + use<>, CliError> {
        let path = format!("/ls/{}", content_path(path));
        let response = self.send(self.request(Method::GET, &path)).await?;
        Ok(lines(response).map(|line| match parse_line(&line?)? {
            LsLine::Entry(entry) => Ok(entry),
            LsLine::Failed { error } => Err(error.into()),
        }))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        // Callers have encoded the path; setting it keeps what is encoded already.
        url.set_path(&format!("{}{path}", wire::PREFIX));
        self.http.request(method, url).header("authorization", self.token.authorization())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    async fn checked(&self, response: Response) -> Result<Response, CliError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = bounded_body(response).await?;
        match serde_json::from_slice::<Failure>(&bytes) {
            Ok(failure) if status == StatusCode::UNAUTHORIZED => Err(self.wrong_token(&failure)),
            Ok(failure) => Err(failure.into()),
            Err(_) => {
                let message = format!(
                    "{} answers with status {status} and no error that ipfs-kit knows",
                    self.target.address
                );
                Err(CliError::new("E_PROTOCOL", message)
                    .hint("check that --api leads to an ipfs-kit node"))
            }
        }
    }

    async fn read_json(&self, response: Response) -> Result<Value, CliError> {
        let bytes = bounded_body(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| odd_answer().because(&error))
    }

    fn wrong_token(&self, failure: &Failure) -> CliError {
        let Target { folder, address } = &self.target;
        let message = format!("the node at {address} refuses the token: {}", failure.message);
        CliError::new("E_UNAUTHORISED", message).hint(format!(
            "another node may have that address; check api.listen in {}",
            folder.display()
        ))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let Target { folder, address } = &self.target;
        if error.is_connect() {
            return no_node(folder).because(innermost(error));
        }
        CliError::new("E_IO", format!("the connection to the node at {address} broke"))
            .because(innermost(error))
    }

    /// Why a download broke off: the node remembers it for a while.
    async fn why_broken(&self, request_id: &str, error: &reqwest::Error) -> CliError {
        let asked = self.send(self.request(Method::GET, &format!("/failures/{request_id}"))).await;
        if let Ok(response) = asked
            && let Ok(bytes) = bounded_body(response).await
            && let Ok(failure) = serde_json::from_slice::<Failure>(&bytes)
        {
            return failure.into();
        }
        self.unreachable(error)
    }
}

/// Bytes on their way here.
#[derive(Debug)]
pub struct Download {
    client: Client,
    request_id: String,
    response: Response,
}

impl Download {
    /// Whether the node has written all of it to the output that was handed over.
    fn is_written(&self) -> bool {
        self.response.headers().contains_key(wire::WRITTEN_HEADER)
    }

    /// How many bytes come, if the node has said so.
    pub fn len_bytes(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` at the end. A stream that breaks off is an error that says why.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        match self.response.chunk().await {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(self.client.why_broken(&self.request_id, &error).await),
        }
    }
}

fn find_address(globals: &Globals, loaded: &Loaded) -> Result<ApiAddress, CliError> {
    if let Some(text) = &globals.api {
        return text.parse().map_err(|error: config::address::AddressError| {
            CliError::new("E_USAGE", "the API's address is not valid").because(&error)
        });
    }
    let written = folder::read_address(&loaded.settings.folder)
        .map_err(|error| CliError::new("E_IO", error.to_string()).because_source(&error))?;
    match (written, &loaded.settings.api.listen) {
        (Some(address), _) => Ok(address),
        // Only a running node knows which port the kernel chose.
        (None, ApiAddress::Tcp(address)) if address.port == 0 => {
            Err(no_node(&loaded.settings.folder))
        }
        (None, listen) => Ok(listen.clone()),
    }
}

fn no_node(folder: &Path) -> CliError {
    let folder = folder.display();
    CliError::new("E_NO_NODE", format!("no node is running in {folder}"))
        .hint(format!("start it: ipfs-kit up --folder {folder}"))
}

/// What really happened, below the layers of the HTTP client.
fn innermost(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

fn no_token(error: &FolderError, folder: &Path) -> CliError {
    if !error.is_absent() {
        return CliError::new("E_UNAUTHORISED", error.to_string()).because_source(error);
    }
    if folder.exists() {
        let message = format!("there is no API token in {}", folder.display());
        return CliError::new("E_UNAUTHORISED", message).because(error).hint(format!(
            "give --token-file FILE, or make a node: ipfs-kit init --folder {}",
            folder.display()
        ));
    }
    CliError::new("E_NO_NODE", format!("there is no node in {}", folder.display()))
        .hint(format!("make one: ipfs-kit init --folder {}", folder.display()))
}

/// A path as part of a URL, with or without `/ipfs/` before it.
fn content_path(path: &str) -> String {
    let path = path.strip_prefix("ipfs://").unwrap_or(path);
    let path = path.strip_prefix("/ipfs/").unwrap_or(path);
    wire::encode_path(path.trim_start_matches('/'))
}

fn request_id() -> Result<String, CliError> {
    let mut bytes = [0u8; REQUEST_ID_LEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::new("E_INTERNAL", "cannot draw a request id").because(&error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn odd_answer() -> CliError {
    CliError::new("E_PROTOCOL", "the node's answer was not understood")
        .hint("node and command may have different versions; compare `ipfs-kit version` and `ipfs-kit status`")
}

fn broken(error: &reqwest::Error) -> CliError {
    CliError::new("E_IO", "the node's answer broke off").because(error)
}

async fn bounded_body(mut response: Response) -> Result<BytesMut, CliError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > wire::ANSWER_BYTES_MAX {
            return Err(CliError::new("E_TOO_LARGE", "the node's answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The lines of an answer, each bounded.
fn lines(response: Response) -> impl Stream<Item = Result<Bytes, CliError>> {
    futures_util::stream::unfold(Some((response, BytesMut::new())), |state| async {
        let (mut response, mut buffer) = state?;
        // What was searched before holds no line end; searching it again would be quadratic.
        let mut searched = 0;
        loop {
            if let Some(at) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(searched + at).freeze();
                buffer.advance(1);
                return Some((Ok(line), Some((response, buffer))));
            }
            searched = buffer.len();
            if searched > wire::ANSWER_BYTES_MAX {
                let error =
                    CliError::new("E_TOO_LARGE", "a line of the node's answer is too large");
                return Some((Err(error), None));
            }
            match response.chunk().await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
                Ok(None) if buffer.is_empty() => return None,
                Ok(None) => return Some((Ok(buffer.freeze()), Some((response, BytesMut::new())))),
                Err(error) => return Some((Err(broken(&error)), None)),
            }
        }
    })
}

fn parse_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(line).map_err(|error| odd_answer().because(&error))
}

#[cfg(test)]
mod tests;
