//! The client against a served node, and against everything that is none.

use std::io::Write as _;

use ipfs_kit_actors::api::CarOptions;
use serde_json::json;

use super::*;
use crate::cli::walk::{Hidden, Walk};
use crate::http::fake::{self, Item, Served, failure};

fn globals(served: &Served) -> Globals {
    Globals { folder: Some(served.folder.path().into()), ..Globals::default() }
}

fn client(served: &Served) -> Client {
    Client::open(&globals(served)).unwrap()
}

async fn whole(mut download: Download) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn options() -> AddOptions {
    serde_json::from_value(json!({"name": "n & m", "replicas_max": 3})).unwrap()
}

#[tokio::test]
async fn calls_reach_the_node_over_tcp_and_over_a_unix_socket() {
    let over_unix =
        fake::serve_on(|folder| format!("unix:{}", folder.join("api.sock").display())).await;
    for served in [fake::serve().await, over_unix] {
        served.node.answer("status", Ok(json!({"a": 1})));
        served.node.answer("pin.rm", Err(failure("E_NOT_FOUND")));
        let client = client(&served);
        assert_eq!(client.call("status", &json!({})).await.unwrap(), json!({"a": 1}));
        let error = client.call("pin.rm", &json!({})).await.unwrap_err();
        assert_eq!(error.code(), "E_NOT_FOUND");
        let operations = client.operations().await.unwrap();
        assert!(operations.as_array().unwrap().len() > 10);
    }
}

#[tokio::test]
async fn what_is_no_running_node_is_said_clearly() {
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().join("absent");
    let globals = Globals { folder: Some(folder.clone().into()), ..Globals::default() };
    let error = Client::open(&globals).unwrap_err();
    assert_eq!(error.code(), "E_NO_NODE");
    assert!(error.render(Default::default()).contains("ipfs-kit init --folder"));

    std::fs::create_dir(&folder).unwrap();
    assert_eq!(Client::open(&globals).unwrap_err().code(), "E_UNAUTHORISED");

    ApiToken::create(&folder.join(folder::TOKEN_FILE)).unwrap();
    // A port that was free a moment ago: its address is what a killed node leaves behind.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    folder::write_address(&folder, &gone.to_string().parse().unwrap()).unwrap();
    let error = Client::open(&globals).unwrap().call("status", &json!({})).await.unwrap_err();
    let text = error.render(Default::default());
    assert_eq!(error.code(), "E_NO_NODE", "{text}");
    assert!(text.contains("no node is running in") && text.contains("ipfs-kit up --folder"));

    let absent_socket = Globals { api: Some("unix:/nonexistent/socket".into()), ..globals.clone() };
    let error = Client::open(&absent_socket).unwrap().call("status", &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "E_NO_NODE");
    folder::remove_address(&folder).unwrap();
    std::fs::write(folder.join("config.yaml"), "api: {listen: '127.0.0.1:0'}\n").unwrap();
    assert_eq!(Client::open(&globals).unwrap_err().code(), "E_NO_NODE");
    let nonsense = Globals { api: Some("nowhere".into()), ..globals };
    assert_eq!(Client::open(&nonsense).unwrap_err().code(), "E_USAGE");
}

#[tokio::test]
async fn another_nodes_token_is_refused_with_a_hint() {
    let (one, other) = (fake::serve().await, fake::serve().await);
    let crossed =
        Globals { token_file: Some(other.folder.path().join(folder::TOKEN_FILE)), ..globals(&one) };
    let error = Client::open(&crossed).unwrap().call("status", &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "E_UNAUTHORISED");
    assert!(error.render(Default::default()).contains("api.listen"));
}

#[tokio::test]
async fn an_upload_arrives_and_its_events_are_heard() {
    let served = fake::serve().await;
    let content = vec![5; 2 << 20];
    let sent = content.clone();
    let mut events = Vec::new();
    let produce = move |writer: &mut BlockingWriter| {
        let path = tempfile::tempdir().unwrap();
        std::fs::write(path.path().join("a"), &sent).unwrap();
        let walk = Walk::new(&[path.path().into()], Hidden::Skip);
        walk?.write_tar(writer, &mut |_| {})
    };
    let (added, survey) =
        client(&served).add(&options(), produce, |event| events.push(event)).await.unwrap();
    assert_eq!((added.files, added.bytes, survey.files), (1, content.len() as u64, 1));
    assert!(matches!(events[0], AddEvent::Progress { files: 1, .. }));
    assert_eq!(served.node.items()["root/a"], Item::File(content));
    let options = served.node.added_with.lock().unwrap().clone().unwrap();
    assert_eq!((options.name.as_str(), options.replicas_max), ("n & m", Some(3)));
}

#[tokio::test]
async fn a_source_that_fails_is_the_reason_and_nothing_is_added() {
    let served = fake::serve().await;
    let produce = |writer: &mut BlockingWriter| {
        writer.write_all(&[0; 100]).unwrap();
        Err::<(), _>(CliError::new("E_SOURCE", "the file changed"))
    };
    let error = client(&served).add(&options(), produce, |_| {}).await.unwrap_err();
    assert_eq!(error.code(), "E_SOURCE");
    assert!(served.node.items().is_empty());
}

#[tokio::test]
async fn a_node_that_refuses_is_the_reason_even_in_the_middle_of_an_upload() {
    let served = fake::serve().await;
    *served.node.add_fails_at.lock().unwrap() = Some("a".into());
    let produce = |writer: &mut BlockingWriter| {
        let kind = crate::http::tarball::EntryKind::File { size_bytes: 1 << 30 };
        let header = crate::http::tarball::entry_header(&["a"], &kind);
        let broken = |error| CliError::new("E_UPLOAD", "gone").because(&error);
        writer.write_all(&header).map_err(broken)?;
        for _ in 0..1024 {
            writer.write_all(&vec![0; 1 << 20]).map_err(broken)?;
        }
        Ok(())
    };
    *served.node.add_fails_at.lock().unwrap() = Some(String::new());
    let error = client(&served).add(&options(), produce, |_| {}).await.unwrap_err();
    assert_eq!(error.code(), "E_SOURCE", "{}", error.render(Default::default()));
}

#[tokio::test]
async fn downloads_are_whole_or_say_why_not() {
    let served = fake::serve().await;
    let content: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    served.node.put("bafy/ü #1", Item::File(content.clone()));
    let client = client(&served);
    let range = ByteRange::default();
    for path in ["bafy/ü #1", "/ipfs/bafy/ü #1", "ipfs://bafy/ü #1"] {
        assert!(whole(client.cat(path, range).await.unwrap()).await.unwrap() == content, "{path}");
    }
    let part = ByteRange { offset: 49_990, length: Some(5) };
    let download = client.cat("bafy/ü #1", part).await.unwrap();
    assert_eq!(download.len_bytes(), Some(5));
    assert_eq!(whole(download).await.unwrap(), &content[49_990..49_995]);
    assert_eq!(client.cat("nowhere", range).await.unwrap_err().code(), "E_NOT_FOUND");

    *served.node.cat_fails_after.lock().unwrap() = Some(25_000);
    for failed in [client.cat("bafy/ü #1", range).await, client.get("bafy/ü #1", None).await] {
        let error = match failed {
            Ok(download) => whole(download).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), "E_NOT_FOUND", "the node's own reason is told");
    }
}

#[tokio::test]
async fn cars_go_both_ways_or_say_why_not() {
    let served = fake::serve().await;
    let client = client(&served);
    let mut options: CarOptions = serde_json::from_value(json!({"pin_roots": false})).unwrap();
    let content = vec![7; 700_000];
    for pinned in [false, true] {
        options.pin_roots = pinned;
        let sent = content.clone();
        let produce = move |writer: &mut BlockingWriter| {
            writer.write_all(&sent).map_err(|e| CliError::new("E_UPLOAD", "gone").because(&e))
        };
        let imported = client.import_car(&options, produce, |_| {}).await.unwrap();
        assert_eq!((imported.bytes, imported.roots[0].pinned), (700_000, pinned));
    }
    let root = fake::cid("root");
    let download = client.export_car(&root).await.unwrap();
    assert!(whole(download).await.unwrap() == content);

    let produce = |writer: &mut BlockingWriter| {
        writer.write_all(&[0; 100]).unwrap();
        Err(CliError::new("E_SOURCE", "the file can't be read any more"))
    };
    let error = client.import_car(&options, produce, |_| {}).await.unwrap_err();
    assert_eq!(error.code(), "E_SOURCE");
    assert_eq!(
        served.node.items()["root"],
        Item::File(content),
        "a part is not taken as the whole"
    );
    *served.node.cat_fails_after.lock().unwrap() = Some(1000);
    let error = match client.export_car(&root).await {
        Ok(download) => whole(download).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "E_NOT_FOUND", "the node's own reason is told");
    let absent = client.export_car(&fake::cid("absent")).await.unwrap_err();
    assert_eq!(absent.code(), "E_NOT_FOUND");
}

#[tokio::test]
async fn a_listing_streams() {
    let served = fake::serve().await;
    served.node.put("d", Item::Directory);
    for i in 0..1500 {
        served.node.put(&format!("d/{i:04}"), Item::File(vec![0; i]));
    }
    let entries = client(&served).ls("d").await.unwrap();
    let entries: Vec<_> = entries.map(Result::unwrap).collect().await;
    assert_eq!(entries.len(), 1500);
    assert_eq!(entries[1499].size_bytes, Some(1499));
}

#[tokio::test]
async fn what_is_no_node_of_ours_is_named() {
    let app = axum::Router::new().fallback(|| async { (StatusCode::IM_A_TEAPOT, "hello") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    ApiToken::create(&folder.path().join(folder::TOKEN_FILE)).unwrap();
    let globals = Globals {
        folder: Some(folder.path().into()),
        api: Some(address.to_string()),
        ..Globals::default()
    };
    let error = Client::open(&globals).unwrap().call("status", &json!({})).await.unwrap_err();
    assert_eq!(error.code(), "E_PROTOCOL");
}
