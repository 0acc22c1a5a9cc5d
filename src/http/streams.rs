//! The streams of `/api/v1`: an archive in, bytes and archives and lines out. Nothing is held whole.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use ipfs_kit_actors::api::{
    AddOptions, ByteRange, Failure, ImportError, ImportSink, ImportSource, OpenFile, WalkEntry,
    WalkKind, run,
};
use ipfs_kit_core::ops::{ContentStat, PathRequest};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::handover::HandedFiles;
use super::pipe::{PipeSender, pipe};
use super::range::{self, Range};
use super::server::{Api, failure_response, usage};
use super::tar_source::TarSource;
use super::tarball::{self, EntryKind};
use super::upload::{self, LINES_MAX, line, lines_response};
use super::wire::{self, LsLine};

/// `PUT /add`: an archive, or the bytes of one file, in; events out, the last of which says how it ended.
pub(super) async fn add(
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // First, so that a client which is refused hears that nobody takes its files.
    let handed = handed(&api, &headers);
    let options = match Query::<AddOptions>::try_from_uri(&uri) {
        Ok(Query(options)) => options,
        Err(error) => {
            return failure_response(&usage(format!("the options are not valid: {error}")));
        }
    };
    let is_file = headers.get(CONTENT_TYPE).is_some_and(|value| value == wire::OCTETS);
    upload::answer(body, api.patience, move |bytes, events| {
        let source: Box<dyn ImportSource> = match is_file {
            true => Box::new(FileSource(bytes)),
            false => Box::new(TarSource::new(bytes).handed(handed)),
        };
        api.node.add(source, options, events)
    })
}

/// What the client hands over for its request.
fn handed(api: &Api, headers: &HeaderMap) -> Option<HandedFiles> {
    let ticket = headers.get(wire::TICKET_HEADER).and_then(|ticket| ticket.to_str().ok());
    ticket.and_then(|ticket| api.handovers.take(ticket))
}

/// A single file whose length nobody knows before its end.
struct FileSource<R>(R);

impl<R: io::Read + Send> ImportSource for FileSource<R> {
    fn drive(mut self: Box<Self>, sink: &mut dyn ImportSink) -> Result<(), ImportError> {
        sink.file(b"", &mut self.0)
    }
}

/// The range as query parameters, for clients that find headers awkward.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    #[serde(default)]
    offset: Option<u64>,
    #[serde(default)]
    length: Option<u64>,
}

/// `GET /cat/PATH`: a file's bytes, or the range that the header or the query asks for. They go to the output
/// that the client has handed over, if it has.
pub(super) async fn cat(
    State(api): State<Api>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let output = handed(&api, &headers);
    let (file, range, partial) = match open_range(&api, path, &uri, &headers).await {
        Ok(opened) => opened,
        Err(failure) => return failure_response(&failure),
    };
    let OpenFile { cid, size_bytes, mut bytes } = file;
    if let Some(output) = output {
        return match output.fill(bytes).await {
            Ok(written) => {
                let headers = [
                    (wire::CID_HEADER, cid.to_string()),
                    (wire::WRITTEN_HEADER, written.to_string()),
                ];
                headers.into_response()
            }
            Err(failure) => failure_response(&failure),
        };
    }
    // The first chunk decides between an error with a status code and a stream.
    let first = match bytes.next().await {
        Some(Err(failure)) => return failure_response(&failure),
        first => first,
    };
    let bytes = futures_util::stream::iter(first).chain(bytes).boxed();
    file_response(api, headers, OpenFile { cid, size_bytes, bytes }, range, partial)
}

/// Whether the answer is marked as a part (206).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Partial {
    Yes,
    No,
}

async fn open_range(
    api: &Api,
    path: String,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(OpenFile, ByteRange, Partial), Failure> {
    let Query(query) = Query::<RangeQuery>::try_from_uri(uri)
        .map_err(|error| usage(format!("the range is not valid: {error}")))?;
    let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (range, partial) = match header.and_then(range::parse) {
        Some(Range::From(range)) => (range, Partial::Yes),
        Some(Range::Last(count)) => {
            let request = PathRequest { path: path.clone() };
            let info = run::<ContentStat>(api.node.as_ref(), request).await?;
            let size_bytes = info.size_bytes.unwrap_or(0);
            let offset = size_bytes.saturating_sub(count);
            (ByteRange { offset, length: None }, Partial::Yes)
        }
        None => {
            let offset = query.offset.unwrap_or(0);
            (ByteRange { offset, length: query.length }, Partial::No)
        }
    };
    let file = api.node.cat(path, range).await?;
    Ok((file, range, partial))
}

fn file_response(
    api: Api,
    request: HeaderMap,
    file: OpenFile,
    range: ByteRange,
    partial: Partial,
) -> Response {
    let OpenFile { cid, size_bytes, bytes } = file;
    let len_bytes = range::covered_bytes(range, size_bytes);
    let mut headers = HeaderMap::new();
    let cid = cid.to_string();
    let value = |text: String| HeaderValue::try_from(text).expect("it is ASCII without controls");
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ETAG, value(format!("\"{cid}\"")));
    headers.insert(wire::CID_HEADER, value(cid));
    if partial == Partial::Yes && len_bytes == 0 {
        headers.insert(CONTENT_RANGE, value(format!("bytes */{size_bytes}")));
        return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
    }
    headers.insert(CONTENT_LENGTH, len_bytes.into());
    let status = if partial == Partial::Yes {
        let last = range.offset + len_bytes - 1;
        let content_range = format!("bytes {}-{last}/{size_bytes}", range.offset);
        headers.insert(CONTENT_RANGE, value(content_range));
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    (status, headers, Body::from_stream(remembering(api, request, bytes))).into_response()
}

/// Passes bytes on; a failure is remembered for the client and then breaks the stream off.
pub(super) fn remembering(
    api: Api,
    request: HeaderMap,
    bytes: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    bytes.map(move |item| {
        item.map_err(|failure| {
            api.remember(&request, &failure);
            io::Error::other(failure.message)
        })
    })
}

/// How an archive is to be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveQuery {
    /// The name of its root; `.` without one.
    #[serde(default)]
    root: Option<String>,
}

/// `GET /get/PATH`: everything at and below a path as TAR, with `.` or `root` as its root.
pub(super) async fn get(
    State(api): State<Api>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let root_name = match Query::<ArchiveQuery>::try_from_uri(&uri) {
        Ok(Query(query)) => query.root,
        Err(error) => return failure_response(&usage(format!("the query is not valid: {error}"))),
    };
    if root_name.as_deref().is_some_and(|name| !tarball::is_name(name)) {
        return failure_response(&usage("the root is to have a name without slashes".into()));
    }
    let mut entries = api.node.walk(path);
    // The first entry decides between an error with a status code and a stream.
    let first = match entries.next().await {
        Some(Ok(entry)) => entry,
        Some(Err(failure)) => return failure_response(&failure),
        None => return failure_response(&usage("there is nothing at the path".into())),
    };
    let root = first.cid.to_string();
    let entries = futures_util::stream::iter([Ok(first)]).chain(entries);
    let (sender, receiver) = pipe();
    tokio::spawn(async move {
        let result = tokio::select! {
            biased;
            () = sender.gone() => return,
            result = write_archive(&api, entries, root_name, &sender) => result,
        };
        match result {
            // The client is gone if the end can't be sent.
            Ok(()) => drop(sender.end().await),
            Err(failure) => api.remember(&headers, &failure),
        }
    });
    let tar = HeaderValue::from_static(wire::TAR);
    let cid = HeaderValue::try_from(root).expect("a CID is ASCII");
    let body = Body::from_stream(receiver.into_stream());
    ([(CONTENT_TYPE.as_str(), tar), (wire::CID_HEADER, cid)], body).into_response()
}

async fn write_archive(
    api: &Api,
    entries: impl Stream<Item = Result<WalkEntry, Failure>>,
    root_name: Option<String>,
    sender: &PipeSender,
) -> Result<(), Failure> {
    let mut entries = std::pin::pin!(entries);
    while let Some(entry) = entries.next().await {
        let WalkEntry { path, kind, cid } = entry?;
        let path: Vec<_> = root_name.iter().cloned().chain(path).collect();
        let (kind, whole) = match kind {
            WalkKind::File { size_bytes, bytes } => (EntryKind::File { size_bytes }, bytes),
            WalkKind::Directory => (EntryKind::Directory, None),
            WalkKind::Symlink { target } => {
                (EntryKind::Symlink { target: target.into_bytes() }, None)
            }
        };
        send(sender, tarball::entry_header(&path, &kind).into()).await?;
        let EntryKind::File { size_bytes } = kind else { continue };
        let mut bytes = match whole {
            Some(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
            None => api.node.cat(cid.to_string(), ByteRange::default()).await?.bytes,
        };
        let mut left_bytes = size_bytes;
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            left_bytes =
                left_bytes.checked_sub(chunk.len() as u64).ok_or_else(|| odd_size(&cid))?;
            send(sender, chunk).await?;
        }
        if left_bytes > 0 {
            return Err(odd_size(&cid));
        }
        send(sender, Bytes::from_static(tarball::padding(size_bytes))).await?;
    }
    send(sender, Bytes::from_static(&tarball::END)).await
}

async fn send(sender: &PipeSender, bytes: Bytes) -> Result<(), Failure> {
    sender.send(bytes).await.map_err(|gone| Failure {
        code: "E_CANCELLED".into(),
        message: gone.to_string(),
        hint: None,
        retryable: false,
    })
}

fn odd_size(cid: &ipfs_kit_core::id::Cid) -> Failure {
    Failure {
        code: "E_CORRUPT".into(),
        message: format!("{cid} has another size than its folder says"),
        hint: None,
        retryable: false,
    }
}

/// `GET /ls/PATH`: a folder's entries as lines, however many there are.
pub(super) async fn ls(State(api): State<Api>, Path(path): Path<String>) -> Response {
    let mut entries = api.node.list(path);
    // The first entry decides between an error with a status code and a stream.
    let first = match entries.next().await {
        Some(Err(failure)) => return failure_response(&failure),
        first => first,
    };
    let (lines, answer) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let mut entries = futures_util::stream::iter(first).chain(entries);
        while let Some(entry) = entries.next().await {
            let entry = match entry {
                Ok(entry) => LsLine::Entry(entry),
                Err(error) => LsLine::Failed { error },
            };
            if lines.send(line(&entry)).await.is_err() {
                return;
            }
        }
    });
    lines_response(answer)
}
