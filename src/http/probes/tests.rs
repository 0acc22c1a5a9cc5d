//! What a load balancer and a scraper see, with and without the token.

use ipfs_kit_core::health::{NodeHealth, Reason, ReasonCode};
use reqwest::Response;
use serde_json::{Value, json};

use crate::http::MetricsAccess;
use crate::http::fake::{self, PATIENCE, Served, failure};
use crate::http::folder::{ApiToken, TOKEN_FILE};
use crate::http::metrics::tests::a_master;

async fn served(access: MetricsAccess) -> Served {
    fake::serve_with(|_| "127.0.0.1:0".to_owned(), access, PATIENCE).await
}

async fn get(served: &Served, path: &str, token: Option<&ApiToken>) -> Response {
    let client = crate::http::client::of_api().build().unwrap();
    let mut request = client.get(format!("http://{}{path}", served.address));
    if let Some(token) = token {
        request = request.header("authorization", token.authorization());
    }
    request.send().await.unwrap()
}

async fn probe(served: &Served, path: &str) -> (u16, Value) {
    let response = get(served, path, None).await;
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn verdict(live: bool, ready: bool) -> NodeHealth {
    let reason = Reason {
        code: ReasonCode::NoLeader,
        message: "no leader is known".into(),
        hint: "wait".into(),
    };
    NodeHealth { live, ready, reasons: if ready { vec![] } else { vec![reason] } }
}

#[tokio::test]
async fn probes_answer_without_a_token_and_say_why() {
    let served = served(MetricsAccess::Token).await;
    for (live, ready, healthz, readyz) in
        [(true, true, 200, 200), (true, false, 200, 503), (false, false, 503, 503)]
    {
        let health = json!(verdict(live, ready));
        for _ in 0..2 {
            served.node.answer("health", Ok(health.clone()));
        }
        assert_eq!(probe(&served, "/healthz").await, (healthz, health.clone()));
        assert_eq!(probe(&served, "/readyz").await, (readyz, health.clone()));
        served.node.forget_answers();
    }
}

#[tokio::test]
async fn a_node_that_can_not_say_how_it_is_is_not_well() {
    let served = served(MetricsAccess::Token).await;
    served.node.answer("health", Err(failure("E_BUSY")));
    let (status, body) = probe(&served, "/healthz").await;
    assert_eq!((status, &body["live"]), (503, &json!(false)));
    assert_eq!(body["reasons"][0]["message"], "a test says E_BUSY");
}

#[tokio::test]
async fn figures_need_the_token_unless_the_operator_has_opened_them() {
    let closed = served(MetricsAccess::Token).await;
    closed.node.answer("metrics", Ok(json!(a_master())));
    assert_eq!(get(&closed, "/metrics", None).await.status(), 401);
    assert!(closed.node.calls.lock().unwrap().is_empty());
    let token = ApiToken::read(&closed.folder.path().join(TOKEN_FILE)).unwrap();
    let response = get(&closed, "/metrics", Some(&token)).await;
    assert_eq!(response.status(), 200);
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media.starts_with("application/openmetrics-text"), "{media}");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    // The request that was refused is counted, this one is still in flight.
    let refused = "ipfs_kit_http_requests_total{route=\"/metrics\",status=\"401\"} 1";
    assert!(text.contains(refused), "{text}");
    assert!(text.contains("ipfs_kit_http_requests_in_flight 1"), "{text}");

    let open = served(MetricsAccess::Anybody).await;
    open.node.answer("metrics", Ok(json!(a_master())));
    assert_eq!(get(&open, "/metrics", None).await.status(), 200);
    assert_eq!(get(&open, "/api/v1/operations", None).await.status(), 401, "only the figures");
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_never_by_what_they_name() {
    let served = served(MetricsAccess::Token).await;
    served.node.answer("metrics", Ok(json!(a_master())));
    let token = ApiToken::read(&served.folder.path().join(TOKEN_FILE)).unwrap();
    for path in ["/api/v1/cat/bafysecret/diary", "/secret", "/api/v1/call/secret"] {
        assert_ne!(get(&served, path, Some(&token)).await.status(), 200);
    }
    let client = crate::http::client::of_api().build().unwrap();
    let call = client.post(format!("http://{}/api/v1/call/pin.ls", served.address));
    call.header("authorization", token.authorization()).send().await.unwrap();
    let text = get(&served, "/metrics", Some(&token)).await.text().await.unwrap();
    for route in ["/api/v1/cat/{*path}", "none", "/api/v1/call/{operation}", "/api/v1/call/pin.ls"]
    {
        let line = format!("ipfs_kit_http_requests_total{{route=\"{route}\"");
        assert!(text.contains(&line), "{route}: {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}
