//! The API as any HTTP client sees it.

use std::io::Read;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::http::MetricsAccess;
use crate::http::fake::{self, Item, Served, cid, failure};
use crate::http::folder::{ApiToken, TOKEN_FILE};
use crate::http::handover::take_up;
use crate::http::tarball::{END, EntryKind, entry_header, padding};
use crate::http::wire::{HandoverOffer, TICKET_HEADER};

struct Curl {
    served: Served,
    client: Client,
    authorization: String,
}

impl Curl {
    async fn new() -> Self {
        let served = fake::serve().await;
        let token = ApiToken::read(&served.folder.path().join(TOKEN_FILE)).unwrap();
        let client = crate::http::client::of_api().build().unwrap();
        Self { served, client, authorization: token.authorization() }
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.served.address))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("authorization", &self.authorization)
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.unwrap()
    }
}

async fn code(response: reqwest::Response) -> (StatusCode, String) {
    let status = response.status();
    let object: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (status, object["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let curl = Curl::new().await;
    for path in ["/api/v1/operations", "/api/v1/cat/x", "/nowhere"] {
        let response = curl.bare(Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(code(response).await, (StatusCode::UNAUTHORIZED, "E_UNAUTHORISED".into()));
        for wrong in ["Bearer wrong", "Basic abc", "Bearer ", "Bearer"] {
            let request = curl.bare(Method::GET, path).header("authorization", wrong);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{wrong}");
        }
    }
    assert!(curl.served.node.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unary_calls_pass_through_and_failures_have_their_status() {
    let curl = Curl::new().await;
    let node = &curl.served.node;
    node.answer("status", Ok(json!({"name": "a"})));
    for (name, failure_code) in [
        ("pin.ls", "E_NOT_RUNNING"),
        ("pin.rm", "E_NOT_FOUND"),
        ("node.ls", "E_NO_QUORUM"),
        ("node.rm", "E_CONFLICT"),
        ("index.find", "E_NOT_PERMITTED"),
        ("stat", "E_TIMEOUT"),
        ("actors", "E_FROM_THE_FUTURE"),
    ] {
        node.answer(name, Err(failure(failure_code)));
    }
    let call = async |name: &str, body: &str| {
        let path = format!("/api/v1/call/{name}");
        curl.request(Method::POST, &path).body(body.to_owned()).send().await.unwrap()
    };
    let answer: Value =
        serde_json::from_str(&call("status", "").await.text().await.unwrap()).unwrap();
    assert_eq!(answer, json!({"name": "a"}));
    assert_eq!(node.calls.lock().unwrap()[0], ("status".into(), json!({})));

    for (name, status) in [
        ("pin.ls", 403),
        ("pin.rm", 404),
        ("node.ls", 503),
        ("node.rm", 409),
        ("index.find", 403),
        ("stat", 504),
        ("actors", 500),
        ("unknown", 400),
    ] {
        assert_eq!(call(name, "{}").await.status().as_u16(), status, "{name}");
    }
    assert_eq!(code(call("status", "{broken").await).await.1, "E_USAGE");
    assert_eq!(code(call("status", &" ".repeat(2 << 20)).await).await.1, "E_TOO_LARGE");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_errors_in_the_same_form() {
    let curl = Curl::new().await;
    assert_eq!(code(curl.get("/api/v1/nothing").await).await.1, "E_UNKNOWN_OPERATION");
    assert_eq!(code(curl.get("/").await).await.1, "E_UNKNOWN_OPERATION");
    assert_eq!(code(curl.get("/api/v1/call/status").await).await.1, "E_UNKNOWN_OPERATION");
    let operations: Value =
        serde_json::from_str(&curl.get("/api/v1/operations").await.text().await.unwrap()).unwrap();
    assert!(operations.as_array().unwrap().iter().any(|op| op["name"] == "pin.add"));
}

#[tokio::test]
async fn cat_serves_ranges_as_the_standard_says() {
    let curl = Curl::new().await;
    let content: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
    curl.served.node.put("bafy/a b?", Item::File(content.clone()));
    let path = "/api/v1/cat/bafy/a%20b%3F";

    let whole = curl.get(path).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()["content-length"], "5000");
    assert_eq!(whole.headers()["x-ipfs-kit-cid"], cid("bafy/a b?").to_string().as_str());
    assert_eq!(whole.bytes().await.unwrap(), content);

    for (range, content_range, expected) in [
        ("bytes=10-19", "bytes 10-19/5000", &content[10..20]),
        ("bytes=4990-", "bytes 4990-4999/5000", &content[4990..]),
        ("bytes=-7", "bytes 4993-4999/5000", &content[4993..]),
        ("bytes=4000-99999", "bytes 4000-4999/5000", &content[4000..]),
    ] {
        let part = curl.request(Method::GET, path).header("range", range).send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.headers()["content-range"], content_range);
        assert_eq!(part.bytes().await.unwrap(), expected, "{range}");
    }
    let beyond =
        curl.request(Method::GET, path).header("range", "bytes=5000-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], "bytes */5000");

    let query = curl.get(&format!("{path}?offset=4995&length=100")).await;
    assert_eq!(query.bytes().await.unwrap(), &content[4995..]);
    assert_eq!(curl.get(&format!("{path}?offset=9999")).await.bytes().await.unwrap().len(), 0);
    assert_eq!(code(curl.get(&format!("{path}?ofset=1")).await).await.1, "E_USAGE");
    assert_eq!(code(curl.get("/api/v1/cat/nowhere").await).await.1, "E_NOT_FOUND");
}

#[tokio::test]
async fn why_a_stream_broke_off_can_be_asked() {
    let curl = Curl::new().await;
    curl.served.node.put("a", Item::File(vec![1; 5000]));
    *curl.served.node.cat_fails_after.lock().unwrap() = Some(2500);
    for route in ["cat", "get"] {
        let request = curl.request(Method::GET, &format!("/api/v1/{route}/a"));
        // The connection may break before or after the header of the answer has gone out.
        let whole = match request.header("x-request-id", route).send().await {
            Ok(response) => response.bytes().await,
            Err(error) => Err(error),
        };
        assert!(whole.is_err(), "{route}: a part is never a whole");
        let why = curl.get(&format!("/api/v1/failures/{route}")).await;
        assert_eq!(code(why).await, (StatusCode::OK, "E_NOT_FOUND".into()));
    }
    assert_eq!(curl.get("/api/v1/failures/other").await.status(), StatusCode::NOT_FOUND);
    *curl.served.node.cat_fails_after.lock().unwrap() = Some(0);
    assert_eq!(code(curl.get("/api/v1/cat/a").await).await.0, StatusCode::NOT_FOUND);
}

fn upload(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = entry_header(&[] as &[&str], &EntryKind::Directory);
    for (name, content) in files {
        let size_bytes = content.len() as u64;
        bytes.extend(entry_header(&[name], &EntryKind::File { size_bytes }));
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(padding(size_bytes));
    }
    bytes.extend_from_slice(&END);
    bytes
}

async fn lines(response: reqwest::Response) -> Vec<Value> {
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn add_takes_an_archive_and_tells_how_it_ended() {
    let curl = Curl::new().await;
    let large = vec![9; 3 << 20];
    let request = curl
        .request(Method::PUT, "/api/v1/add?name=my%20data&replicas_min=2&ack=local")
        .body(upload(&[("a", b"hello"), ("b", &large)]));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = lines(response).await;
    assert_eq!(lines[0], json!({"event": "progress", "files": 1, "bytes": 5}));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["files"], &last["copies"]),
        (&json!("added"), &json!(2), &json!(2))
    );
    assert_eq!(curl.served.node.items()["root/b"], Item::File(large));
    let options = curl.served.node.added_with.lock().unwrap().clone().unwrap();
    assert_eq!((options.name.as_str(), options.replicas_min), ("my data", Some(2)));
}

#[tokio::test]
async fn a_failed_add_says_why_even_to_a_client_that_keeps_sending() {
    let curl = Curl::new().await;
    *curl.served.node.add_fails_at.lock().unwrap() = Some("a".into());
    let large = vec![9; 20 << 20];
    let body = upload(&[("a", b"x"), ("b", &large)]);
    let response = curl.request(Method::PUT, "/api/v1/add").body(body).send().await.unwrap();
    let lines = lines(response).await;
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["error"]["code"]), (&json!("failed"), &json!("E_SOURCE")));
    assert!(!curl.served.node.items().contains_key("root/b"));
}

#[tokio::test]
async fn an_upload_that_is_cut_is_no_tree() {
    let curl = Curl::new().await;
    let mut body = upload(&[("a", &[7; 4000])]);
    body.truncate(2000);
    let response = curl.request(Method::PUT, "/api/v1/add").body(body).send().await.unwrap();
    assert_eq!(lines(response).await.last().unwrap()["event"], "failed");
    let response = curl.request(Method::PUT, "/api/v1/add?colour=red").send().await.unwrap();
    assert_eq!(code(response).await.1, "E_USAGE");
}

#[tokio::test]
async fn a_large_listing_comes_line_by_line() {
    let curl = Curl::new().await;
    curl.served.node.put("d", Item::Directory);
    for i in 0..2500 {
        curl.served.node.put(&format!("d/{i:05}"), Item::File(Vec::new()));
    }
    let lines = lines(curl.get("/api/v1/ls/d").await).await;
    assert_eq!(lines.len(), 2500);
    assert_eq!(lines[2499]["name"], "02499");
    assert!(curl.served.node.calls.lock().unwrap().is_empty(), "the folder is read once");
    assert_eq!(code(curl.get("/api/v1/ls/nowhere").await).await.1, "E_NOT_FOUND");
}

#[tokio::test]
async fn an_upload_that_is_refused_lets_go_of_whoever_would_hand_files_over() {
    let curl = Curl::new().await;
    let offer = curl.request(Method::POST, "/api/v1/handover").send().await.unwrap();
    let offer: HandoverOffer = serde_json::from_slice(&offer.bytes().await.unwrap()).unwrap();
    let mut client = take_up(&offer, None).await.unwrap();
    let upload = curl.request(Method::PUT, "/api/v1/add?from=the-future");
    let refused = upload.header(TICKET_HEADER, &offer.ticket).send().await.unwrap();
    assert_eq!(code(refused).await, (StatusCode::BAD_REQUEST, "E_USAGE".into()));
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is let go");
}

/// What a node with little patience answers to the head of a request and a part of its body, until it closes
/// the connection.
async fn stalled(head: &str, part: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let patience = Duration::from_millis(50);
    let served =
        fake::serve_with(|_| "127.0.0.1:0".to_owned(), MetricsAccess::Token, patience).await;
    let token = ApiToken::read(&served.folder.path().join(TOKEN_FILE)).unwrap();
    let address = served.address.to_string();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let authorization = token.authorization();
    let head = format!("{head} HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(b"content-length: 100000\r\n\r\n").await.unwrap();
    connection.write_all(part).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = connection.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_stalls_ends_its_request_with_a_reason() {
    let part = upload(&[("a", &[7; 4000])]);
    let why = "nothing has come for 0.05 s";
    for head in ["PUT /api/v1/add", "PUT /api/v1/dag/import"] {
        let answer = stalled(head, &part[..2000]).await;
        assert!(answer.contains("\"event\":\"failed\""), "{answer}");
    }
    for head in ["POST /api/v1/call/pin.status", "PUT /api/v1/block"] {
        let answer = stalled(head, b"{").await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("E_READ") && answer.contains(why), "{answer}");
    }
}
