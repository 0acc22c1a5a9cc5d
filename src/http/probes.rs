//! `/healthz` and `/readyz`: for load balancers, service managers and people. They need no token: what
//! they say names parts of the node and nothing of the cluster or its content.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ipfs_kit_actors::api;
use ipfs_kit_core::health::{NodeHealth, Reason, ReasonCode};
use ipfs_kit_core::ops::{self, Nothing};

use super::server::{Api, json_response};

/// How long the node may take to say how it is.
const WITHIN: Duration = Duration::from_secs(3);

/// 200 while the process does its work or is about to; 503 if it should be restarted.
pub(super) async fn healthz(State(api): State<Api>) -> Response {
    let health = ask(&api).await;
    answer(health.live, &health)
}

/// 200 while work may be sent here; 503 with every reason otherwise.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let health = ask(&api).await;
    answer(health.ready, &health)
}

fn answer(good: bool, health: &NodeHealth) -> Response {
    json_response(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, health)
}

/// The node's verdict; a node that can't say how it is is not well.
async fn ask(api: &Api) -> NodeHealth {
    let asked = api::run::<ops::Health>(&*api.node, Nothing {});
    let message = match tokio::time::timeout(WITHIN, asked).await {
        Ok(Ok(health)) => return health,
        Ok(Err(failure)) => failure.message,
        Err(_) => format!("the node did not say how it is within {} s", WITHIN.as_secs()),
    };
    let reason =
        Reason { code: ReasonCode::Stalled, message, hint: "the node's log says more".into() };
    NodeHealth { live: false, ready: false, reasons: vec![reason] }
}

#[cfg(test)]
mod tests;
