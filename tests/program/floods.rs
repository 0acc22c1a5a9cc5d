//! Clients and strangers that mean no good: the rows of `docs/bad-input.md` about what comes over sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Node, PATIENCE, Place, http_get};

/// Connections of one flood.
const FLOOD: usize = 10_000;

fn read(node: &Node, name: &str) -> String {
    std::fs::read_to_string(node.folder.join(name)).unwrap().trim().to_owned()
}

/// Says something to the API over a connection of its own; what it answers until it closes.
async fn say(node: &Node, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(read(node, "api.addr")).await.unwrap();
    let talk = async {
        // It may close before it has heard all.
        let _ = connection.write_all(bytes).await;
        let _ = connection.shutdown().await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap()
}

/// The status of an answer; 0 where there is none.
fn status_of(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map_or(0, |status| status.parse().unwrap())
}

#[tokio::test]
async fn malformed_http_is_answered_or_cut_off() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    let long = "y".repeat(1 << 20);
    // What hyper says of each, before anything of this program has heard of it; 0: it hangs up.
    for (status, bytes) in [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice()),
        (0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"GET\r\n\r\n"),
        (400, b"GET /healthz HTTP/9.9\r\nhost: a\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1\r\nhost: a\r\nbroken header\r\n\r\n"),
        (400, b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        (
            400,
            b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        ),
        (400, b"POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"),
        (431, format!("GET /healthz HTTP/1.1\r\n{many}\r\n").as_bytes()),
        (431, format!("GET /healthz HTTP/1.1\r\nhost: {long}\r\n\r\n").as_bytes()),
        (414, format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..1 << 16]).as_bytes()),
        (431, format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()),
        (400, &[0; 4096]),
    ] {
        let answer = say(&node, bytes).await;
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(status_of(&answer), status, "{head:?}: {answer}");
    }
    // A chunk that lies about its length, in a request that has the right to be heard.
    let token = read(&node, "api.token");
    let call = format!(
        "POST /api/v1/call/status HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{{}}"
    );
    let answer = say(&node, call.as_bytes()).await;
    assert!(status_of(&answer) == 400 && answer.contains("E_USAGE"), "{answer}");
    for (body, status, code) in [
        ("{", 400, "E_USAGE"),
        ("[[[[", 400, "E_USAGE"),
        ("{\"cid\": 5}", 400, "E_USAGE"),
        (&*"[".repeat(100_000), 400, "E_USAGE"),
    ] {
        let (got, text) = post(&node, "/api/v1/call/pin.status", body.as_bytes()).await;
        assert!(got == status && text.contains(code), "{got} {text}");
    }
    assert_eq!(http_get(&node, "/healthz", None).await.0, 200);
    node.works("after").await;
}

async fn post(node: &Node, path: &str, body: &[u8]) -> (u16, String) {
    let url = format!("http://{}{path}", read(node, "api.addr"));
    let client = ipfs_kit::http::client::of_api().build().unwrap();
    let request = client.post(url).bearer_auth(read(node, "api.token")).body(body.to_vec());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn bodies_over_the_bound_are_refused_before_they_are_kept() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let token = read(&node, "api.token");
    // A length that nobody has to send to be refused.
    let announced = format!(
        "POST /api/v1/call/status HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-length: 1000000000000\r\n\r\n{{"
    );
    for body in [announced, announced_block(&token)] {
        let answer = say(&node, body.as_bytes()).await;
        assert!(status_of(&answer) == 400 && answer.contains("E_TOO_LARGE"), "{answer}");
    }
    let block = place.file("block", vec![0; (2 << 20) + 1]);
    let refused = node.run(&["block", "put", block.to_str().unwrap()]).await;
    refused.refused(2, "E_TOO_LARGE", &["2097152"]);
    node.works("after").await;
}

fn announced_block(token: &str) -> String {
    format!(
        "PUT /api/v1/block HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-length: 1000000000000\r\n\r\nx"
    )
}

/// Half an upload, and not a byte more: the node gives it up, says why, and collects what is left of it.
#[tokio::test]
async fn an_upload_that_stalls_is_given_up_and_holds_up_no_collection() {
    let place = Place::new();
    let folder = place.node("n", &[]).await.stopped().await;
    let node = Node::up(&folder, &[("IPFS_KIT_API_BODY_IDLE", "1s")]).await;
    let blocks = node.json(&["store", "stat"]).await["blocks"].clone();
    let head = format!(
        "PUT /api/v1/add HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-type: application/octet-stream\r\ncontent-length: 1000000000\r\n\r\n",
        read(&node, "api.token")
    );
    let mut connection = TcpStream::connect(read(&node, "api.addr")).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![7; 9 << 20]).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let heard = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(heard.is_ok(), "it is waited for: {answer}");
    assert!(status_of(&answer) == 200 && answer.contains("E_READ"), "{answer}");
    assert!(answer.contains("nothing has come for 1 s"), "{answer}");
    node.says(&["store", "gc"]).await;
    assert_eq!(node.json(&["store", "stat"]).await["blocks"], blocks, "nothing of it is kept");
    assert_eq!(node.json(&["pin", "ls"]).await, serde_json::json!([]));
    node.works("after").await;
}

/// Opens very many connections to an address, says these words in turn, and leaves it at that.
async fn flood(address: &str, words: &[&[u8]]) -> Vec<TcpStream> {
    let mut connections = Vec::with_capacity(FLOOD);
    for bytes in words.iter().cycle().take(FLOOD) {
        let mut connection = TcpStream::connect(address).await.unwrap();
        // It may have been closed already.
        let _ = connection.write_all(bytes).await;
        connections.push(connection);
    }
    connections
}

fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let room = limit.current.is_none_or(|files| files > FLOOD as u64 + 500);
    assert!(room, "this machine allows no more than {limit:?} open files, which is too few");
}

fn open_files(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

#[tokio::test]
async fn slow_clients_and_ten_thousand_connections_keep_nobody_out() {
    raise_open_files();
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let before = open_files(&node);
    let address = read(&node, "api.addr");
    let connections = flood(&address, &[b"", b"GET /healthz HTTP/1.1\r\nhost: loc"]).await;
    assert_eq!(http_get(&node, "/healthz", None).await.0, 200);
    node.works("during").await;
    let more = open_files(&node).saturating_sub(before);
    assert!(more <= 300, "{more} files more are open than before");
    drop(connections);
    node.works("after").await;
}

#[tokio::test]
async fn ten_thousand_strangers_at_the_members_port_keep_no_member_out() {
    raise_open_files();
    let place = Place::new();
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await;
    worker.works("before").await;
    let before = open_files(&master);
    let addrs = master.json(&["status"]).await["addrs"].clone();
    let connections = flood(addrs[0].as_str().unwrap(), &[b"\x13/multistream/1.0.0\n"]).await;
    worker.works("during").await;
    let more = open_files(&master).saturating_sub(before);
    assert!(more <= 300, "{more} files more are open than before");
    // Somebody new comes in too, once the flood is over.
    drop(connections);
    place.worker("x", &master).await.works("after").await;
}
