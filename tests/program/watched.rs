//! What watches over a node: probes, figures, and what they say of a cluster.

use serde_json::Value;

use super::harness::{Ended, Node, Place, http_get, kit};

fn metric(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// The figures of a node as a scraper with the token gets them.
async fn figures(node: &Node) -> String {
    let token = std::fs::read_to_string(node.folder.join("api.token")).unwrap();
    let (status, text) = http_get(node, "/metrics", Some(token.trim())).await;
    assert_eq!(status, 200, "{text}");
    text
}

async fn readyz(node: &Node) -> (u16, Value) {
    let (status, text) = http_get(node, "/readyz", None).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn a_node_alone_is_ready_and_counts_what_it_holds() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    assert_eq!(http_get(&node, "/healthz", None).await.0, 200);
    assert_eq!(readyz(&node).await.0, 200);
    assert_eq!(http_get(&node, "/metrics", None).await.0, 401);
    let before = figures(&node).await;
    assert_eq!(metric(&before, "ipfs_kit_store_blocks"), Some(0.0));
    let file = place.file("file", "one block");
    node.says(&["add", file.to_str().unwrap()]).await;
    let after = figures(&node).await;
    assert_eq!(metric(&after, "ipfs_kit_store_blocks"), Some(1.0));
    let adds = "ipfs_kit_http_requests_total{route=\"/api/v1/add\",status=\"200\"}";
    assert_eq!((metric(&before, adds), metric(&after, adds)), (None, Some(1.0)));
    assert!(metric(&after, "process_resident_memory_bytes").unwrap() > 1e6);
    assert_eq!(metric(&after, "ipfs_kit_raft_term"), None, "there is no cluster");
    // The same figures without HTTP, for people and scripts.
    let called: Ended = node.run(&["call", "metrics"]).await;
    assert!(called.stdout.contains("\"blocks\": 1"), "{called:?}");
}

#[tokio::test]
async fn a_cluster_is_ready_until_nobody_leads_it() {
    let place = Place::new();
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await;
    let ready = async |node: &Node| {
        node.until(&["call", "health"], |health| health["ready"] == true).await;
        assert_eq!(readyz(node).await.0, 200);
    };
    ready(&master).await;
    ready(&worker).await;
    let file = place.file("file", "kept twice");
    master.says(&["add", "--replicas", "1", file.to_str().unwrap()]).await;
    let pinned = |metrics: &Value| metrics["cluster"]["pins"]["pinned"] == 1;
    master.until(&["call", "metrics"], pinned).await;
    let text = figures(&master).await;
    assert_eq!(metric(&text, "ipfs_kit_raft_leader"), Some(1.0));
    assert_eq!(metric(&text, "ipfs_kit_pins{status=\"pinned\"}"), Some(1.0));
    let workers = "ipfs_kit_members{role=\"worker\",liveness=\"alive\"}";
    assert_eq!(metric(&text, workers), Some(1.0));
    assert!(metric(&text, "ipfs_kit_raft_term").unwrap() >= 1.0);
    assert_eq!(metric(&figures(&worker).await, "ipfs_kit_copies{state=\"pinned\"}"), Some(1.0));

    master.stop().await;
    worker.until(&["call", "health"], |health| health["ready"] == false).await;
    let (status, health) = readyz(&worker).await;
    assert_eq!((status, &health["live"]), (503, &Value::Bool(true)));
    assert_eq!(health["reasons"][0]["code"], "no-session", "{health}");
    assert_eq!(http_get(&worker, "/healthz", None).await.0, 200);
}

/// The findings of a doctor's look, and its exit status.
async fn doctor(node: &Node, settings: &[&str]) -> (Vec<Value>, Option<i32>) {
    let ended = node.run(&[settings, &["--output", "json", "doctor"]].concat()).await;
    let findings: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    (findings.as_array().unwrap().clone(), ended.status.code())
}

fn of<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|row| row["check"].as_str().unwrap().starts_with(check));
    found.unwrap_or_else(|| panic!("{check} is not in {findings:?}"))
}

#[tokio::test]
async fn the_doctor_looks_at_the_way_to_each_member_and_back() {
    let place = Place::new();
    let master = place.master("m").await;
    // Nobody reaches this worker where it says that it is.
    let token = master.token(&[]).await;
    let init = ["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1", "--join", token.as_str()];
    let worker = place.node("w", &init).await;
    for node in [&master, &worker] {
        node.until(&["call", "health"], |health| health["ready"] == true).await;
    }
    let (findings, status) = doctor(&worker, &[]).await;
    assert_eq!(of(&findings, "to n1 (m, master)")["status"], "pass", "{findings:?}");
    let back = of(&findings, "from n1 (m, master)");
    assert_eq!(back["status"], "fail", "{findings:?}");
    assert!(back["finding"].as_str().unwrap().contains("127.0.0.1:1"), "{back}");
    assert_eq!(of(&findings, "clock of n1 (m, master)")["status"], "pass", "{findings:?}");
    assert_eq!(status, Some(1));
    for check in ["configuration", "secrets", "node", "disk sync", "readiness"] {
        assert_eq!(of(&findings, check)["status"], "pass", "{findings:?}");
    }
    let (findings, status) = doctor(&master, &[]).await;
    assert_eq!(of(&findings, "to n2 (w, worker)")["status"], "fail", "{findings:?}");
    assert_eq!(of(&findings, "from n2 (w, worker)")["status"], "pass", "{findings:?}");
    assert_eq!(status, Some(1));
    worker.stop().await;
    let (findings, _) = doctor(&master, &[]).await;
    assert_eq!(of(&findings, "from n2 (w, worker)")["status"], "fail", "it is down: {findings:?}");
}

#[tokio::test]
async fn the_doctor_finds_a_taken_port_and_an_open_secret_before_the_start() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let node = place.node("n", &[]).await;
    let (findings, status) = doctor(&node, &[]).await;
    assert_eq!(status, Some(0), "{findings:?}");
    let folder = node.stopped().await;
    let look = async |settings: &[&str]| {
        let args = ["--output", "json", "doctor"];
        let ended = kit(&folder, settings, &args).await;
        (serde_json::from_str::<Vec<Value>>(&ended.stdout).unwrap(), ended)
    };
    let config = place.file("config.yaml", format!("listen: [\"{taken}\"]\n"));
    let (findings, ended) = look(&["--config", config.to_str().unwrap()]).await;
    let port = of(&findings, "port");
    assert_eq!(port["status"], "fail", "{findings:?}");
    assert!(port["finding"].as_str().unwrap().contains(&taken), "{port}");
    assert_eq!(of(&findings, "node")["status"], "warn", "{findings:?}");
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("E_UNHEALTHY"), "{ended:?}");

    let key = folder.join("identity.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (findings, _) = look(&["--config", config.to_str().unwrap()]).await;
    assert_eq!(of(&findings, "secrets")["status"], "fail", "{findings:?}");
}
