//! Content that no member has comes from configured gateways, and is believed only when it is right.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cid::Cid;
use ipfs_kit_content::car::CarReader;
use ipfs_kit_content::limits::MAX_BLOCK_LEN_BYTES;

use super::harness::{Node, Place, free_address};

/// How a gateway treats those who ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Single blocks are all it gives.
    NoCars,
    /// Its CARs break off half-way.
    CutCars,
    /// One bit of everything is wrong.
    Lies,
    /// It knows nothing.
    Empty,
    /// What it sends as a block never ends.
    Floods,
}

/// A server that has one DAG.
struct Gateway {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Served {
    manner: Manner,
    car: Vec<u8>,
    blocks: BTreeMap<Cid, Vec<u8>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    async fn of(car: &[u8], manner: Manner) -> Self {
        let mut reader = CarReader::open(car).unwrap();
        let mut blocks = BTreeMap::new();
        while let Some(block) = reader.next_block().unwrap() {
            blocks.insert(block.cid, block.data.to_vec());
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let served = Served { manner, car: car.to_vec(), blocks, asked: Arc::clone(&asked) };
        let router = Router::new().route("/gate/ipfs/{cid}", get(serve));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/gate", listener.local_addr().unwrap());
        let app = router.with_state(Arc::new(served));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked }
    }

    /// How often something was asked for in a form.
    fn asked(&self, form: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains(form)).count()
    }
}

async fn serve(
    State(served): State<Arc<Served>>,
    UrlPath(cid): UrlPath<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    served.asked.lock().unwrap().push(format!("{cid}?{query}"));
    let cid: Cid = cid.parse().unwrap();
    let Some(block) = served.blocks.get(&cid).filter(|_| served.manner != Manner::Empty) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_car = query.contains("format=car");
    let mut bytes = if is_car { served.car.clone() } else { block.clone() };
    match served.manner {
        Manner::NoCars if is_car => return StatusCode::NOT_ACCEPTABLE.into_response(),
        Manner::CutCars if is_car => bytes.truncate(bytes.len() / 2),
        Manner::Lies => *bytes.last_mut().unwrap() ^= 1,
        Manner::Floods => bytes.resize(MAX_BLOCK_LEN_BYTES + 1, 0),
        _ => {}
    }
    bytes.into_response()
}

/// A tree of some files, its root, and all its blocks as a CAR.
async fn tree(place: &Place) -> (std::path::PathBuf, String, Vec<u8>) {
    let origin = place.node("origin", &[]).await;
    let folder = place.path("tree");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    for number in 0..40_u32 {
        std::fs::write(folder.join(format!("inner/{number}")), number.to_le_bytes()).unwrap();
    }
    let large: Vec<u8> = (0..5_u32 << 18).flat_map(u32::to_le_bytes).collect();
    std::fs::write(folder.join("large"), large).unwrap();
    let root = origin.says(&["-q", "add", text(&folder)]).await.trim().to_owned();
    let car = place.path("tree.car");
    origin.says(&["dag", "export", &root, "-o", text(&car)]).await;
    origin.stop().await;
    (folder, root, std::fs::read(car).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A node alone that asks these gateways.
async fn node(place: &Place, name: &str, gateways: &[&Gateway]) -> Node {
    let folder = place.node(name, &[]).await.stopped().await;
    let urls: Vec<&str> = gateways.iter().map(|gateway| &*gateway.url).collect();
    Node::up(&folder, &[("IPFS_KIT_GATEWAYS", &urls.join(","))]).await
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let differ = std::process::Command::new("diff").arg("-r").args([one, other]).output().unwrap();
    assert!(differ.status.success(), "{}", String::from_utf8_lossy(&differ.stdout));
}

#[tokio::test]
async fn get_reads_through_a_gateway_and_pin_add_takes_a_whole_car() {
    let place = Place::new();
    let (folder, root, car) = tree(&place).await;
    let gateway = Gateway::of(&car, Manner::Honest).await;
    let reader = node(&place, "reader", &[&gateway]).await;
    let back = place.path("back");
    reader.says(&["get", &root, "-o", text(&back)]).await;
    same(&folder, &back);
    assert_eq!(gateway.asked("format=car"), 0);
    assert!(gateway.asked("format=raw") > 40);

    let raw = gateway.asked("format=raw");
    let keeper = node(&place, "keeper", &[&gateway]).await;
    keeper.says(&["pin", "add", &root]).await;
    assert_eq!((gateway.asked("format=car"), gateway.asked("format=raw")), (1, raw));
    // What is pinned is here, whatever becomes of the gateway.
    let keeper = Node::up(&keeper.stopped().await, &[]).await;
    let kept = place.path("kept");
    keeper.says(&["get", &root, "-o", text(&kept)]).await;
    same(&folder, &kept);
}

#[tokio::test]
async fn without_cars_and_with_broken_ones_a_pin_gets_every_block() {
    let place = Place::new();
    let (folder, root, car) = tree(&place).await;
    for (name, manner) in [("none", Manner::NoCars), ("cut", Manner::CutCars)] {
        let gateway = Gateway::of(&car, manner).await;
        let node = node(&place, name, &[&gateway]).await;
        node.says(&["pin", "add", &root]).await;
        let back = place.path(&format!("{name}-back"));
        node.says(&["get", &root, "-o", text(&back)]).await;
        same(&folder, &back);
        assert_eq!(gateway.asked("format=car"), 1);
        assert!(gateway.asked("format=raw") > 0);
    }
}

#[tokio::test]
async fn a_lie_is_never_believed_and_its_teller_not_asked_again() {
    let place = Place::new();
    let (folder, root, car) = tree(&place).await;
    let liar = Gateway::of(&car, Manner::Lies).await;
    let honest = Gateway::of(&car, Manner::Honest).await;
    let reader = node(&place, "n", &[&liar, &honest]).await;
    let back = place.path("back");
    reader.says(&["get", &root, "-o", text(&back)]).await;
    same(&folder, &back);
    // As many as were under way when the first lie was seen.
    assert!((1..=16).contains(&liar.asked("raw")), "{}", liar.asked("raw"));
    assert!(reader.log().contains("a gateway sent wrong bytes"), "{}", reader.log());

    let misled = node(&place, "misled", &[&liar]).await;
    let failed = misled.run(&["pin", "add", &root]).await;
    failed.refused(3, "E_NOT_FOUND", &["is not here"]);
    let failed = misled.run(&["get", &root, "-o", text(&place.path("never"))]).await;
    failed.refused(1, "E_UNAVAILABLE", &["without a good answer"]);
    misled.works("and goes on").await;
}

#[tokio::test]
async fn gateways_that_have_nothing_are_silent_or_never_end_cost_nothing() {
    let place = Place::new();
    let (_, root, car) = tree(&place).await;
    let empty = Gateway::of(&car, Manner::Empty).await;
    let lone = node(&place, "lone", &[&empty]).await;
    let absent = lone.run(&["cat", &root]).await;
    absent.refused(3, "E_NOT_FOUND", &["gateways: 1 without it"]);

    let flood = Gateway::of(&car, Manner::Floods).await;
    let gone = Gateway { url: format!("http://{}", free_address()), asked: Arc::default() };
    let node = node(&place, "n", &[&flood, &gone]).await;
    let failed = node.run(&["cat", &root]).await;
    failed.refused(1, "E_UNAVAILABLE", &["2 without a good answer"]);
    assert!(node.log().contains("a gateway does not answer"), "{}", node.log());
    node.works("and goes on").await;
}

#[tokio::test]
async fn a_worker_of_a_cluster_fetches_what_no_member_has() {
    let place = Place::new();
    let (folder, root, car) = tree(&place).await;
    let gateway = Gateway::of(&car, Manner::Honest).await;
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await.stopped().await;
    let worker = Node::up(&worker, &[("IPFS_KIT_GATEWAYS", &gateway.url)]).await;
    master.until(&["pin", "add", &root, "--replicas", "1"], |pin| pin["cid"] == *root).await;
    master.until(&["pin", "status", &root], |pin| pin["status"] == "pinned").await;
    let back = place.path("back");
    master.says(&["get", &root, "-o", text(&back)]).await;
    same(&folder, &back);
    assert_eq!(gateway.asked("format=car"), 1, "the master has no gateway and asked the worker");
    worker.stop().await;
}
