//! DAGs of any codec over HTTP: CARs in and out.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use ipfs_kit_actors::api::{CarOptions, Failure};
use ipfs_kit_core::id::{Cid, ParseError};

use super::server::{Api, failure_response, usage};
use super::streams::remembering;
use super::{upload, wire};

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
    upload::answer(body, move |car, events| api.node.import_car(Box::new(car), options, events))
}

fn parse(cid: &str) -> Result<Cid, Failure> {
    cid.parse().map_err(|error: ParseError| usage(error.to_string()))
}
