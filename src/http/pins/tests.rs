//! Streams of pins as a client sees them.

use reqwest::{Body, StatusCode};
use serde_json::{Value, json};

use crate::http::fake::{self, Served, cid, failure};
use crate::http::folder::{ApiToken, TOKEN_FILE};

async fn answer_of(served: &Served, body: impl Into<Body>) -> reqwest::Response {
    let token = ApiToken::read(&served.folder.path().join(TOKEN_FILE)).unwrap();
    let client = crate::http::client::of_api().build().unwrap();
    let url = format!("http://{}/api/v1/pins/add", served.address);
    client.post(url).header("authorization", token.authorization()).body(body).send().await.unwrap()
}

async fn lines_of(response: reqwest::Response) -> Vec<Value> {
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn request(path: &str) -> String {
    format!("{}\n", json!({ "cid": cid(path), "name": path }))
}

fn committed(path: &str, index: u64) -> Value {
    json!({ "cid": cid(path), "index": index })
}

#[tokio::test]
async fn what_came_together_is_asked_together_and_answered_in_order() {
    let served = fake::serve().await;
    let items = json!([committed("a", 7), {"error": failure("E_TOO_FEW_HOLDERS")}]);
    served.node.answer("pins.add", Ok(json!({ "items": items })));
    // The empty line is no request, the broken one is answered in its place, the last one needs no end.
    let body = format!("{}\n{{broken\n{}", request("a"), request("b").trim_end());
    let lines = lines_of(answer_of(&served, body).await).await;
    assert_eq!(lines[0], committed("a", 7));
    assert_eq!(lines[1]["error"]["code"], "E_USAGE");
    assert_eq!(lines[2]["error"]["code"], "E_TOO_FEW_HOLDERS");
    assert_eq!(lines.len(), 3);
    let calls = served.node.calls.lock().unwrap();
    assert_eq!(calls.len(), 1, "one call for both");
    assert_eq!(calls[0].1["pins"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_failure_of_all_is_said_of_each() {
    let served = fake::serve().await;
    served.node.answer("pins.add", Err(failure("E_NO_QUORUM")));
    let body = [request("a"), request("b")].concat();
    let lines = lines_of(answer_of(&served, body).await).await;
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["error"]["code"] == "E_NO_QUORUM"));
}

#[tokio::test]
async fn an_overlong_line_ends_the_stream_behind_what_came_before() {
    let served = fake::serve().await;
    served.node.answer("pins.add", Ok(json!({ "items": [committed("a", 7)] })));
    let body = format!("{}{}\n{}", request("a"), "x".repeat(1 << 20), request("b"));
    let lines = lines_of(answer_of(&served, body).await).await;
    assert_eq!(lines[0], committed("a", 7));
    assert_eq!(lines[1]["error"]["code"], "E_TOO_LARGE");
    assert_eq!(lines.len(), 2, "nothing behind it is run");
}

#[tokio::test]
async fn answers_come_while_the_client_still_sends() {
    let served = fake::serve().await;
    served.node.answer("pins.add", Ok(json!({ "items": [committed("a", 7)] })));
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<String>>(1);
    let body = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let mut response = answer_of(&served, Body::wrap_stream(body)).await;
    for _ in 0..3 {
        sender.send(Ok(request("a"))).await.unwrap();
        let line = response.chunk().await.unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), committed("a", 7));
    }
    drop(sender);
    assert_eq!(response.chunk().await.unwrap(), None);
}
