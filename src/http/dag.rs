//! DAGs of any codec over HTTP: CARs and blocks in and out, values, the check of the store.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use ipfs_kit_actors::api::{CarOptions, Failure, PutOptions, VerifyLine};
use ipfs_kit_core::id::{Cid, ParseError};
use ipfs_kit_core::limits::BLOCK_BYTES_MAX;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::body;
use super::server::{Api, failure_response, json_response, usage};
use super::streams::remembering;
use super::upload::{self, LINES_MAX, line, lines_response};
use super::wire;

/// `GET /dag/export/CID`: a DAG as CARv1.
pub(super) async fn export(
    State(api): State<Api>,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Response {
    let root: Cid = match parse(&cid) {
        Ok(root) => root,
        Err(failure) => return failure_response(&failure),
    };
    let mut car = api.node.export_car(root);
    // The first chunk decides between an error with a status code and a stream.
    let first = match car.next().await {
        Some(Err(failure)) => return failure_response(&failure),
        first => first,
    };
    let car = futures_util::stream::iter(first).chain(car);
    let value = |text: String| HeaderValue::try_from(text).expect("a CID is ASCII");
    let answer = [
        (CONTENT_TYPE.as_str(), HeaderValue::from_static(wire::CAR)),
        (ETAG.as_str(), value(format!("\"{cid}.car\""))),
        (wire::CID_HEADER, value(cid)),
    ];
    (answer, Body::from_stream(remembering(api, headers, car))).into_response()
}

/// `PUT /dag/import`: a CAR in, events out, the last of which says how it ended.
pub(super) async fn import(State(api): State<Api>, uri: Uri, body: Body) -> Response {
    let options = match Query::<CarOptions>::try_from_uri(&uri) {
        Ok(Query(options)) => options,
        Err(error) => {
            return failure_response(&usage(format!("the options are not valid: {error}")));
        }
    };
    upload::answer(body, api.patience, move |car, events| {
        api.node.import_car(Box::new(car), options, events)
    })
}

/// What is asked of a value.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueQuery {
    #[serde(default)]
    codec: Option<String>,
}

/// `GET /dag/value/PATH`: the value at a path, as dag-json unless `codec` names another one.
pub(super) async fn value(State(api): State<Api>, Path(path): Path<String>, uri: Uri) -> Response {
    let codec = match Query::<ValueQuery>::try_from_uri(&uri) {
        Ok(Query(query)) => query.codec.unwrap_or_else(|| "dag-json".into()),
        Err(error) => {
            return failure_response(&usage(format!("the codec is not valid: {error}")));
        }
    };
    let media = match &*codec {
        "dag-json" => "application/vnd.ipld.dag-json",
        "dag-cbor" => "application/vnd.ipld.dag-cbor",
        _ => "application/octet-stream",
    };
    match api.node.value(path, codec).await {
        Ok(bytes) => ([(CONTENT_TYPE, HeaderValue::from_static(media))], bytes).into_response(),
        Err(failure) => failure_response(&failure),
    }
}

/// `GET /block/CID`: a block's bytes.
pub(super) async fn block(State(api): State<Api>, Path(cid): Path<String>) -> Response {
    let cid: Cid = match parse(&cid) {
        Ok(cid) => cid,
        Err(failure) => return failure_response(&failure),
    };
    match api.node.block(cid).await {
        Ok(bytes) => {
            let raw = HeaderValue::from_static("application/vnd.ipld.raw");
            ([(CONTENT_TYPE, raw)], bytes).into_response()
        }
        Err(failure) => failure_response(&failure),
    }
}

/// `PUT /block`: the body becomes a block.
pub(super) async fn put_block(State(api): State<Api>, uri: Uri, body: Body) -> Response {
    let options = match Query::<PutOptions>::try_from_uri(&uri) {
        Ok(Query(options)) => options,
        Err(error) => {
            return failure_response(&usage(format!("the options are not valid: {error}")));
        }
    };
    let data = match body::whole(body, BLOCK_BYTES_MAX, api.patience).await {
        Ok(data) => data,
        Err(unread) => {
            let hint = (unread == body::Unread::TooLarge)
                .then(|| "larger data is split: ipfs-kit add".to_owned());
            let failure = unread.failure("the upload", BLOCK_BYTES_MAX);
            return failure_response(&Failure { hint, ..failure });
        }
    };
    match api.node.put(data, options).await {
        Ok(put) => json_response(StatusCode::OK, &put),
        Err(failure) => failure_response(&failure),
    }
}

/// `GET /store/verify`: what is found, as lines.
pub(super) async fn verify(State(api): State<Api>) -> Response {
    let (lines, answer) = mpsc::channel(LINES_MAX);
    tokio::spawn(async move {
        let mut found = api.node.verify();
        while let Some(item) = found.next().await {
            let item = item.unwrap_or_else(|error| VerifyLine::Failed { error });
            if lines.send(line(&item)).await.is_err() {
                return;
            }
        }
    });
    lines_response(answer)
}

fn parse(cid: &str) -> Result<Cid, Failure> {
    cid.parse().map_err(|error: ParseError| usage(error.to_string()))
}
