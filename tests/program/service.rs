//! A node under a service manager: what it says, how it stops, and which failures are not worth a
//! restart.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Node, PATIENCE, Place, up_ends};

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn the_service_manager_hears_of_readiness_life_and_the_end() {
    let place = Place::new();
    let folder = place.node("n", &[]).await.stopped().await;
    let path = place.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 1024];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    let settings = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let node = Node::up(&folder, &settings).await;
    let ready = heard();
    assert!(ready.starts_with("READY=1\nSTATUS=API at 127.0.0.1:"), "{ready}");
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1");
    }
    node.stop().await;
    let mut last = heard();
    while last == "WATCHDOG=1" {
        last = heard();
    }
    assert!(last.starts_with("STOPPING=1"), "{last}");
}

#[tokio::test]
async fn secrets_are_for_their_owner_and_others_are_refused() {
    let place = Place::new();
    let folder = place.node("n", &[]).await.stopped().await;
    assert_eq!(mode_of(&folder), 0o700);
    for name in ["identity.key", "api.token"] {
        let file = folder.join(name);
        assert_eq!(mode_of(&file), 0o600, "{name}");
        set_mode(&file, 0o640);
        let ended = up_ends(&folder, &[]).await;
        ended.refused(5, "E_EXPOSED", &[name, "its mode is 640", "chmod 600"]);
        assert_eq!(mode_of(&file), 0o640, "it is the operator's to repair");
        set_mode(&file, 0o600);
    }
    Node::up(&folder, &[]).await.works("after").await;
}

#[tokio::test]
async fn a_damaged_log_keeps_the_node_down_and_says_where() {
    let place = Place::new();
    let node = place.master("m").await;
    node.until(&["status"], |status| status["view"]["leader"].is_u64()).await;
    let file = place.file("file", "x");
    node.says(&["add", "--replicas", "1", file.to_str().unwrap()]).await;
    let folder = node.stopped().await;
    let log = folder.join("raft/log");
    let mut segments: Vec<_> =
        std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    // In the first batch: others follow, so this is no torn end.
    bytes[4096 + 64] ^= 0xff;
    std::fs::write(&segments[0], &bytes).unwrap();
    for _ in 0..2 {
        let ended = up_ends(&folder, &[]).await;
        ended.refused(9, "E_CORRUPT", &["segment", "offset", "node rm"]);
    }
    assert!(std::fs::read(&segments[0]).unwrap() == bytes, "nothing was changed");
}

/// An upload of one file, cut in two.
fn upload(token: &str) -> (Vec<u8>, Vec<u8>) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(6);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, "file", &b"inside"[..]).unwrap();
    let body = archive.into_inner().unwrap();
    let head = format!(
        "PUT /api/v1/add HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (head.into_bytes(), body)
}

/// An upload that the node has begun to answer, and what is still to be sent of it.
async fn half_an_upload(node: &Node) -> (TcpStream, Vec<u8>) {
    let read = |name: &str| std::fs::read_to_string(node.folder.join(name)).unwrap();
    let (token, address) = (read("api.token"), read("api.addr"));
    let (head, mut body) = upload(token.trim());
    let rest = body.split_off(700);
    let mut connection = TcpStream::connect(address.trim()).await.unwrap();
    connection.write_all(&head).await.unwrap();
    connection.write_all(&body).await.unwrap();
    // The answer begins when the node has taken the request in.
    let mut answer = vec![0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    (connection, rest)
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_node_ends() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let address = std::fs::read_to_string(node.folder.join("api.addr")).unwrap();
    let (mut connection, rest_of_body) = half_an_upload(&node).await;
    node.terminate();
    node.has_written("stopping").await;
    let refused = async || TcpStream::connect(address.trim()).await.is_err();
    let end = tokio::time::Instant::now() + PATIENCE;
    while !refused().await {
        assert!(tokio::time::Instant::now() < end, "it takes no new connections");
        tokio::task::yield_now().await;
    }
    connection.write_all(&rest_of_body).await.unwrap();
    let mut rest = String::new();
    connection.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\"event\":\"added\""), "{rest}");
    let folder = node.folder.clone();
    let (status, log) = node.ended().await;
    assert!(status.success(), "{status}: {log}");
    let node = Node::up(&folder, &[]).await;
    assert_eq!(node.json(&["pin", "ls"]).await.as_array().unwrap().len(), 1, "{rest}");
}

#[tokio::test]
async fn a_second_signal_ends_the_node_at_once() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let (connection, _) = half_an_upload(&node).await;
    node.terminate();
    node.has_written("stopping").await;
    node.terminate();
    let folder = node.folder.clone();
    let (status, log) = node.ended().await;
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(log.contains("E_INTERRUPTED"), "{log}");
    drop(connection);
    Node::up(&folder, &[]).await.works("after").await;
}
