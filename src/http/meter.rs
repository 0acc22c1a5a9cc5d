//! Counts the API's own requests.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use ipfs_kit_core::ops;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::wire;

/// Upper bounds of the buckets of answer times, in seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0];

/// What is told apart. Both are bounded: routes by the router and the registry, statuses by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: String,
    status: u16,
}

/// Requests in figures; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    requests: Family<Labels, Counter>,
    in_flight: Gauge,
    seconds: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            in_flight: Gauge::default(),
            seconds: Histogram::new(SECONDS),
        }
    }
}

impl Meter {
    /// Adds its figures to what is shown.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests answered by the local API",
            self.requests.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests whose answer has not begun",
            self.in_flight.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time until the answer began",
            self.seconds.clone(),
        );
    }
}

/// Takes the request off the gauge however it ends.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts one request.
#[expect(clippy::disallowed_methods, reason = "measures this process, which is never simulated")]
pub(super) async fn count(State(meter): State<Meter>, request: Request, next: Next) -> Response {
    let route = route_of(&request);
    meter.in_flight.inc();
    let in_flight = InFlight(meter.in_flight.clone());
    let begun = Instant::now();
    let response = next.run(request).await;
    drop(in_flight);
    meter.seconds.observe(begun.elapsed().as_secs_f64());
    let labels = Labels { route, status: response.status().as_u16() };
    meter.requests.get_or_create(&labels).inc();
    response
}

/// The route's pattern; for a call of a known operation its name, for everything else one word. Never
/// the path itself, which names content.
fn route_of(request: &Request) -> String {
    let Some(pattern) = request.extensions().get::<MatchedPath>() else { return "none".into() };
    let name = request.uri().path().strip_prefix(wire::PREFIX);
    match name.and_then(|path| path.strip_prefix("/call/")).and_then(ops::find) {
        Some(info) => format!("{}/call/{}", wire::PREFIX, info.name),
        None => pattern.as_str().to_owned(),
    }
}
