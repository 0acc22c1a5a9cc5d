//! Files go from hand to hand only where a node is, and no add waits for one that says nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use clap::Parser;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::cli::args::{Cli, Command, Globals};
use crate::cli::client::Target;
use crate::cli::error::Halt;
use crate::cli::walk::Hidden;
use crate::cli::{Output, run_client};
use crate::config::ApiAddress;
use crate::http::fake::{self, Item, Served};
use crate::http::folder::{self, ApiToken};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> AddOptions {
    serde_json::from_value(json!({"name": ""})).unwrap()
}

fn client(served: &Served) -> Client {
    let folder = Some(served.folder.path().into());
    Client::open(&Globals { folder, ..Globals::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_changes_hands_open_or_else_its_bytes_are_sent() {
    let served = fake::serve().await;
    let client = client(&served);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("large");
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let add = async || {
        let steps = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&steps);
        let walk = Walk::new(std::slice::from_ref(&path), Hidden::Skip).unwrap();
        let on_bytes = move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        client.add_walk(&options(), walk, on_bytes, |_| {}).await.unwrap();
        assert!(served.node.items()["root"] == Item::File(content.clone()));
        steps.load(Ordering::Relaxed)
    };
    assert_eq!(add().await, 1, "it goes in one step");
    std::fs::remove_file(served.folder.path().join("handover.sock")).unwrap();
    assert!(add().await > 1, "its bytes go piece by piece");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_by_the_node_or_else_its_bytes_are_sent() {
    let served = fake::serve().await;
    let client = client(&served);
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    served.node.put("a", Item::File(content.clone()));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    std::fs::write(&path, "before ").unwrap();
    let output = File::options().append(true).open(&path).unwrap();
    let whole = ByteRange::default();
    assert!(client.cat_into("a", whole, &output).await.unwrap().is_none(), "nothing is sent");
    let part = ByteRange { offset: 1, length: Some(2) };
    assert!(client.cat_into("a", part, &output).await.unwrap().is_none());
    let written = std::fs::read(&path).unwrap();
    assert!(written == [b"before ", &*content, &content[1..3]].concat());

    // What its reader may hold up is not the node's to write to, nor a terminal.
    let (_reader, pipe) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    assert!(client.cat_into("a", whole, &pipe).await.unwrap().is_some());
    std::fs::remove_file(served.folder.path().join("handover.sock")).unwrap();
    let mut sent = client.cat_into("a", whole, &output).await.unwrap().expect("bytes");
    let mut bytes = Vec::new();
    while let Some(chunk) = sent.next().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_on_the_way_to_an_output_is_no_success() {
    let served = fake::serve().await;
    let client = client(&served);
    served.node.put("a", Item::File(vec![1; 10_000]));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    let output = File::create(&path).unwrap();
    *served.node.cat_fails_after.lock().unwrap() = Some(2500);
    let broken = client.cat_into("a", ByteRange::default(), &output).await;
    assert!(broken.unwrap_err().render(Default::default()).contains("E_NOT_FOUND"));
    assert!(std::fs::read(&path).unwrap() == [1; 2500]);
    *served.node.cat_fails_after.lock().unwrap() = None;
    let for_reading = File::open(&path).unwrap();
    let broken = client.cat_into("a", ByteRange::default(), &for_reading).await;
    let error = broken.unwrap_err().render(Default::default());
    assert!(error.contains("the output can't be written to") && error.contains("E_IO"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_that_an_output_is_written_but_whom_it_was_lent() {
    let folder = tempfile::tempdir().unwrap();
    let cat = async || ([(wire::WRITTEN_HEADER, "7")], "content");
    let address = serve(folder.path(), Router::new().route("/cat/{*path}", get(cat))).await;
    let output = tempfile::tempfile().unwrap();
    let client = client_of(folder.path(), address);
    let sent = client.cat_into("a", ByteRange::default(), &output).await.unwrap();
    assert_eq!(sent.expect("bytes").next().await.unwrap().unwrap(), "content");
}

/// Serves this as the API of a node whose token lies in `folder`.
async fn serve(folder: &Path, api: Router) -> ApiAddress {
    ApiToken::create(&folder.join(folder::TOKEN_FILE)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ApiAddress::Tcp(listener.local_addr().unwrap().to_string().parse().unwrap());
    folder::write_address(folder, &address).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().nest(wire::PREFIX, api)).await });
    address
}

fn client_of(folder: &Path, address: ApiAddress) -> Client {
    let token = ApiToken::read(&folder.join(folder::TOKEN_FILE)).unwrap();
    Client::new(Target { folder: folder.into(), address }, token).unwrap()
}

/// A client of an API that makes this offer, and how often it was asked for one.
async fn offered(offer: Value, folder: &Path) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let answer = async move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Json(offer)
    };
    let address = serve(folder, Router::new().route("/handover", post(answer))).await;
    (client_of(folder, address), asked)
}

#[tokio::test]
async fn an_answer_leads_to_no_socket_but_a_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&other).unwrap();
    let hostile = json!({"socket": other, "ticket": "POST /containers/create HTTP/1.1"});
    let (client, asked) = offered(hostile, folder.path()).await;
    tokio::select! {
        biased;
        _ = listener.accept() => panic!("it was spoken to"),
        handing = client.handing() => assert!(handing.is_none()),
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn only_an_api_on_this_machine_is_asked_for_an_offer() {
    let served = fake::serve().await;
    assert!(client(&served).handing().await.is_some());
    let folder = tempfile::tempdir().unwrap();
    let (mut client, asked) = offered(json!(null), folder.path()).await;
    client.target.address = "192.0.2.1:4702".parse().unwrap();
    assert!(client.handing().await.is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// What a node says to an upload when its first bytes have come; `None` if it never says anything.
type Saying = Option<(StatusCode, Value)>;

/// Serves a node that welcomes whoever shows a ticket, and takes no file.
async fn serve_without_hands(folder: &Path, saying: Saying) -> ApiAddress {
    let socket = folder.join("handover.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let mut welcome = Vec::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            client.read_exact(&mut [0; 32]).await.unwrap();
            client.write_all(&[1]).await.unwrap();
            welcome.push(client);
        }
    });
    let offer = json!({"socket": socket, "ticket": "0123456789abcdef0123456789abcdef"});
    let add = async |body: Body| {
        body.into_data_stream().next().await.unwrap().unwrap();
        match saying {
            Some((status, said)) => (status, Json(said)),
            None => std::future::pending().await,
        }
    };
    let api = Router::new()
        .route("/operations", get(async || Json(json!([]))))
        .route("/handover", post(async || Json(offer)))
        .route("/add", put(add));
    serve(folder, api).await
}

/// A file that is worth being handed over.
fn large_file(folder: &Path) -> PathBuf {
    let path = folder.join("large");
    std::fs::File::create(&path).unwrap().set_len(5_000_000).unwrap();
    path
}

#[tokio::test]
async fn an_answer_ends_the_add_although_nobody_takes_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = json!({"code": "E_USAGE", "message": "never heard of it", "retryable": false});
    let saying = Some((StatusCode::BAD_REQUEST, refusal));
    let address = serve_without_hands(folder.path(), saying).await;
    let walk = Walk::new(&[large_file(folder.path())], Hidden::Skip).unwrap();
    let (client, options) = (client_of(folder.path(), address), options());
    let added = client.add_walk(&options, walk, |_| {}, |_| {});
    let added = tokio::time::timeout(PATIENCE, added).await.expect("it ends");
    let error = added.unwrap_err().render(Default::default());
    assert!(error.contains("never heard of it"), "{error}");
}

#[test]
fn a_node_that_says_nothing_does_not_outlast_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve_without_hands(folder.path(), None));
    let (at, file) = (folder.path().to_str().unwrap().to_owned(), large_file(folder.path()));
    let (ended, heard) = mpsc::channel();
    runtime.spawn_blocking(move || {
        let add = ["ipfs-kit", "--timeout", "1s", "--folder", &at, "add", file.to_str().unwrap()];
        let cli = Cli::try_parse_from(add).unwrap();
        let Command::Client(command) = cli.command else { panic!("a client command") };
        let _ = ended.send(run_client(
            &cli.globals,
            command,
            Output::new(std::io::sink(), cli.globals.output),
        ));
    });
    let Err(Halt::Failed(error)) = heard.recv_timeout(PATIENCE).expect("it ends") else {
        panic!("nobody has answered")
    };
    assert_eq!((error.code(), error.class().exit_code()), ("E_TIMEOUT", 62));
}
