//! Pins as a stream: lines with requests in, a line with the answer to each out, in order.
//!
//! The client need not wait for answers, so that many requests share a commit. What came together is run
//! together; what is under way is bounded, and beyond it the body is not read.

use std::future::Future;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use ipfs_kit_actors::api::Failure;
use ipfs_kit_core::ops::{Each, Line, PinsAddRequest, PinsStatusRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::server::Api;
use super::upload::{LINES_MAX, lines_response};

mod lines;

use lines::{Asked, Lines};

/// Batches under way on one stream. Those of all streams together stay below the window of requests that
/// are remembered for deduplication.
const BATCHES_MAX: usize = 8;

/// `POST /pins/add`: each line is a request of `pin.add`; its answer is the root and the log index at
/// which it is committed.
pub(super) async fn add(State(api): State<Api>, body: Body) -> Response {
    respond(body, move |pins| api.node.add_pins(PinsAddRequest { pins }))
}

/// `POST /pins/status`: each line is a request of `pin.status`, and so is its answer.
pub(super) async fn status(State(api): State<Api>, body: Body) -> Response {
    respond(body, move |pins| api.node.look_at_pins(PinsStatusRequest { pins }))
}

fn respond<Q, A, R>(body: Body, ask: impl Fn(Vec<Q>) -> R + Send + Sync + 'static) -> Response
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    R: Future<Output = Result<Each<A>, Failure>> + Send + 'static,
{
    let (answers, lines) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let ask = &ask;
        let run = |batch| async move { answer(batch, ask).await };
        serve(body, run, answers).await;
    });
    lines_response(lines)
}

/// Runs the requests of `body` until it ends or the client is gone.
async fn serve<Q: DeserializeOwned, R: Future<Output = io::Result<Bytes>>>(
    body: Body,
    run: impl Fn(Vec<Asked<Q>>) -> R,
    answers: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut pieces = body.into_data_stream();
    let mut lines = Lines::default();
    let mut under_way = FuturesOrdered::new();
    loop {
        while under_way.len() < BATCHES_MAX
            && let Some(batch) = lines.next_batch()
        {
            under_way.push_back(run(batch));
        }
        if lines.is_over() && under_way.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            () = answers.closed() => return,
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
            piece = pieces.next(), if !lines.is_over() && under_way.len() < BATCHES_MAX => {
                lines.take(piece);
                // What is here already runs together.
                while lines.wants_more()
                    && let Some(piece) = pieces.next().now_or_never()
                {
                    lines.take(piece);
                }
            }
        }
    }
}

/// Runs what can be run of a batch; the answers come in its order.
async fn answer<Q, A, R>(
    batch: Vec<Asked<Q>>,
    ask: &(impl Fn(Vec<Q>) -> R + Sync),
) -> io::Result<Bytes>
where
    A: Serialize,
    R: Future<Output = Result<Each<A>, Failure>>,
{
    let mut requests = Vec::with_capacity(batch.len());
    let mut refused = Vec::with_capacity(batch.len());
    for asked in batch {
        refused.push(asked.map(|request| requests.push(request)).err());
    }
    let answered = if requests.is_empty() {
        Ok(Vec::new())
    } else {
        ask(requests).await.map(|each| each.items)
    };
    let (mut items, failed) = match answered {
        Ok(items) => (items.into_iter(), None),
        Err(failure) => (Vec::new().into_iter(), Some(failure)),
    };
    let mut out = Vec::new();
    for refusal in refused {
        let error = refusal.or_else(|| failed.clone());
        let line = match error {
            Some(error) => Some(Line::Failed { error }),
            None => items.next(),
        };
        let line = line.ok_or_else(|| io::Error::other("a request was not answered"))?;
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests;
