//! Uploads that are imported while they come, with lines about it as the answer.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use ipfs_kit_actors::api::{AddEvent, Failure};
use serde::Serialize;
use tokio::sync::mpsc;

use super::pipe::{BlockingReader, PipeSender, pipe};
use super::wire::{self, AddEnd, AddLine};

/// Events and lines that wait for a slow client.
pub(super) const LINES_MAX: usize = 64;
/// How long the rest of an upload that failed is taken in, so that the client reads why instead of
/// stumbling over a closed connection.
const DRAIN: Duration = Duration::from_secs(5);

/// An import under way.
pub(super) type Importing<T> = BoxFuture<'static, Result<T, Failure>>;

pub(super) type Line = Result<Bytes, io::Error>;

pub(super) fn line(value: &impl Serialize) -> Line {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

pub(super) fn lines_response(lines: mpsc::Receiver<Line>) -> Response {
    let stream = futures_util::stream::unfold(lines, |mut lines| async {
        lines.recv().await.map(|line| (line, lines))
    });
    let ndjson = HeaderValue::from_static(wire::NDJSON);
    ([(CONTENT_TYPE, ndjson)], Body::from_stream(stream)).into_response()
}

/// Runs an import of `body` and answers with its events, the last of which says how it ended. An import that
/// has waited for `patience` for the next byte fails.
pub(super) fn answer<T: Serialize + Send + 'static>(
    body: Body,
    patience: Duration,
    start: impl FnOnce(BlockingReader, mpsc::Sender<AddEvent>) -> Importing<T>,
) -> Response {
    let (sender, receiver) = pipe();
    let upload = AbortOnDrop(tokio::spawn(take_in(body, sender)));
    let (events, heard) = mpsc::channel(LINES_MAX);
    let importing = start(receiver.into_blocking_for(patience), events);
    let (lines, answer) = mpsc::channel(LINES_MAX);
    tokio::spawn(follow(importing, heard, upload, lines));
    lines_response(answer)
}

/// Passes events on. The import ends early, and unpinned, when the client goes away.
async fn follow<T: Serialize>(
    mut importing: Importing<T>,
    mut heard: mpsc::Receiver<AddEvent>,
    upload: AbortOnDrop,
    lines: mpsc::Sender<Line>,
) {
    let result = loop {
        tokio::select! {
            biased;
            () = lines.closed() => return,
            Some(event) = heard.recv() => {
                if lines.send(line(&AddLine::<T>::Event(event))).await.is_err() {
                    return;
                }
            }
            result = &mut importing => break result,
        }
    };
    drop(importing);
    while let Ok(event) = heard.try_recv() {
        if lines.send(line(&AddLine::<T>::Event(event))).await.is_err() {
            return;
        }
    }
    let end = match result {
        Ok(added) => AddEnd::Added(added),
        Err(error) => AddEnd::Failed { error },
    };
    // A client that is gone by now has no use for the answer, nor has anybody else.
    let _ = lines.send(line(&AddLine::End(end))).await;
    tokio::select! {
        biased;
        () = lines.closed() => {}
        () = upload.finished() => {}
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl AbortOnDrop {
    async fn finished(mut self) {
        // It is never aborted before this, and a panic in it has been reported by the hook.
        let _ = (&mut self.0).await;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves an upload into the importer's pipe. One that breaks off leaves the pipe without its end mark.
async fn take_in(body: Body, sender: PipeSender) {
    let mut data = body.into_data_stream();
    loop {
        let chunk = tokio::select! {
            biased;
            // It has failed, and says so itself.
            () = sender.gone() => break,
            chunk = data.next() => chunk,
        };
        match chunk {
            Some(Ok(bytes)) => {
                if sender.send(bytes).await.is_err() {
                    break;
                }
            }
            Some(Err(_)) => return,
            None => {
                // As above.
                let _ = sender.end().await;
                return;
            }
        }
    }
    let drain = async { while let Some(Ok(_)) = data.next().await {} };
    // The deadline is what bounds a client that never stops, or says nothing.
    let _ = tokio::time::timeout(DRAIN, drain).await;
}
