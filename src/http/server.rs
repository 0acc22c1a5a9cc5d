//! The router: authentication, the unary calls of `/api/v1`, errors in one form.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use ipfs_kit_actors::api::{Failure, Node};
use ipfs_kit_core::ops;
use serde::Serialize;

use super::folder::ApiToken;
use super::handover::Handovers;
use super::meter::{self, Meter};
use super::{body, codes, dag, metrics, pins, probes, streams, wire};

/// Failures of broken-off streams that are kept for whoever asks.
const FAILURES_MAX: usize = 64;

/// What every handler has.
#[derive(Clone)]
pub(super) struct Api {
    pub node: Arc<dyn Node>,
    token: Arc<ApiToken>,
    pub meter: Meter,
    pub handovers: Arc<Handovers>,
    failures: Arc<Failures>,
    /// How long no byte may come of a body that is waited for.
    pub patience: Duration,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever has the token.
    Token,
    /// Whoever reaches the API: the operator has said so.
    Anybody,
}

/// The local API over a node. Large files of clients on this machine are taken through `handovers`; of other
/// bodies no byte may fail to come for `patience`. Every route needs the token, but for the probes, and
/// `/metrics` where the operator has opened it.
pub fn router(
    node: Arc<dyn Node>,
    token: ApiToken,
    access: MetricsAccess,
    patience: Duration,
    handovers: Arc<Handovers>,
) -> Router {
    let (token, meter, failures) = (Arc::new(token), Meter::default(), Arc::default());
    let api = Api { node, token, meter, handovers, failures, patience };
    let routes = Router::new()
        .route("/operations", get(operations))
        .route("/call/{operation}", post(call))
        .route("/failures/{request}", get(failure_of))
        .route("/handover", post(handover))
        .route("/add", put(streams::add))
        .route("/cat/{*path}", get(streams::cat))
        .route("/get/{*path}", get(streams::get))
        .route("/ls/{*path}", get(streams::ls))
        .route("/pins/add", post(pins::add))
        .route("/pins/status", post(pins::status))
        .route("/dag/export/{cid}", get(dag::export))
        .route("/dag/import", put(dag::import))
        .route("/dag/value/{*path}", get(dag::value))
        .route("/block/{cid}", get(dag::block))
        .route("/block", put(dag::put_block))
        .route("/store/verify", get(dag::verify));
    let open =
        Router::new().route("/healthz", get(probes::healthz)).route("/readyz", get(probes::readyz));
    let figures = Router::new().route("/metrics", get(metrics::metrics));
    let (open, closed) = match access {
        MetricsAccess::Token => (open, figures),
        MetricsAccess::Anybody => (open.merge(figures), Router::new()),
    };
    closed
        .nest(wire::PREFIX, routes)
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(middleware::from_fn_with_state(api.clone(), authenticate))
        .merge(open)
        .layer(middleware::from_fn_with_state(api.meter.clone(), meter::count))
        .with_state(api)
}

async fn authenticate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| {
        let value = value.as_bytes();
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    if given.is_some_and(|token| api.token.matches(token)) {
        return next.run(request).await;
    }
    let message = match given {
        Some(_) => "the token is not this node's",
        None => "a token is needed",
    };
    let mut response = failure_response(&Failure {
        code: "E_UNAUTHORISED".into(),
        message: message.into(),
        hint: Some("send the content of api.token in the node's folder as bearer token".into()),
        retryable: false,
    });
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

async fn operations() -> Response {
    json_response(StatusCode::OK, &ops::ALL)
}

/// `POST /handover`: how large files come in without going through here.
async fn handover(State(api): State<Api>) -> Response {
    match api.handovers.offer() {
        Some(offer) => json_response(StatusCode::OK, &offer),
        None => failure_response(&Failure {
            code: "E_NOT_FOUND".into(),
            message: "no file can be handed over to this node just now".into(),
            hint: Some("send its bytes".into()),
            retryable: false,
        }),
    }
}

async fn call(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Response {
    let request = match read_json(body, api.patience).await {
        Ok(request) => request,
        Err(failure) => return failure_response(&failure),
    };
    match api.node.call(name, request).await {
        Ok(answer) => json_response(StatusCode::OK, &answer),
        Err(failure) => failure_response(&failure),
    }
}

async fn read_json(body: Body, patience: Duration) -> Result<serde_json::Value, Failure> {
    let bytes = body::whole(body, wire::REQUEST_BYTES_MAX, patience).await;
    let bytes = bytes.map_err(|unread| unread.failure("the request", wire::REQUEST_BYTES_MAX))?;
    if bytes.is_empty() {
        return Ok(serde_json::Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| usage(format!("the request is no JSON: {error}")))
}

/// Why a stream broke off, for the client that saw it end too early.
async fn failure_of(State(api): State<Api>, Path(request): Path<String>) -> Response {
    match api.failures.find(&request) {
        Some(failure) => json_response(StatusCode::OK, &failure),
        None => failure_response(&Failure {
            code: "E_NOT_FOUND".into(),
            message: "no failure of such a request is remembered".into(),
            hint: None,
            retryable: false,
        }),
    }
}

async fn no_route(request: Request) -> Response {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    let hint = format!("{} {}/operations lists what there is", "GET", wire::PREFIX);
    failure_response(&Failure {
        code: "E_UNKNOWN_OPERATION".into(),
        message,
        hint: Some(hint),
        retryable: false,
    })
}

pub(super) fn usage(message: String) -> Failure {
    Failure { code: "E_USAGE".into(), message, hint: None, retryable: false }
}

/// The error object with the status code of its class.
pub(super) fn failure_response(failure: &Failure) -> Response {
    let status = codes::class_of(&failure.code).http_status();
    let status = StatusCode::from_u16(status).expect("the table holds valid status codes");
    json_response(status, failure)
}

pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let json = HeaderValue::from_static("application/json");
            (status, [(CONTENT_TYPE, json)], bytes).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer can't be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Api {
    /// Remembers why the stream of a request breaks off, if the request has a name.
    pub(super) fn remember(&self, headers: &HeaderMap, failure: &Failure) {
        let id = headers.get(wire::REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        if let Some(id) = id.filter(|id| id.len() <= wire::REQUEST_ID_LEN_BYTES_MAX) {
            self.failures.push(id, failure);
        }
    }
}

/// The last failures of streams, by request.
#[derive(Default)]
struct Failures(Mutex<VecDeque<(String, Failure)>>);

impl Failures {
    fn push(&self, id: &str, failure: &Failure) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.truncate(FAILURES_MAX - 1);
        failures.push_front((id.to_owned(), failure.clone()));
    }

    fn find(&self, id: &str) -> Option<Failure> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().find(|(of, _)| of == id).map(|(_, failure)| failure.clone())
    }
}

#[cfg(test)]
mod tests;
