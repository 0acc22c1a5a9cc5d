//! DAGs of any codec and CARs of them, through the command line and over HTTP.

use std::path::Path;

use cid::Cid;
use ipfs_kit_content::car;
use ipfs_kit_content::cid::{Codec, Version, sha2_256_cid};
use ipfs_kit_content::ipld::{Ipld, encode};
use serde_json::Value;

use super::harness::{Ended, Node, Place, kit_through};

type Blocks = Vec<(Cid, Vec<u8>)>;

fn block(codec: Codec, bytes: Vec<u8>) -> (Cid, Vec<u8>) {
    (sha2_256_cid(Version::V1, codec, &bytes), bytes)
}

/// A dag-cbor root over a dag-json node over raw leaves, root first.
fn mixed_dag() -> Blocks {
    let leaves: Blocks = (0..40_u8).map(|n| block(Codec::Raw, vec![n; 50_000])).collect();
    let links = leaves.iter().map(|(cid, _)| Ipld::Link(*cid)).collect();
    let json = encode(Codec::DagJson, &Ipld::List(links)).unwrap();
    let json = block(Codec::DagJson, json);
    let map = [("leaves".to_owned(), Ipld::Link(json.0)), ("n".to_owned(), Ipld::Integer(40))];
    let root = block(Codec::DagCbor, encode(Codec::DagCbor, &Ipld::Map(map.into())).unwrap());
    [root, json].into_iter().chain(leaves).collect()
}

fn write_car(roots: &[Cid], blocks: &Blocks) -> Vec<u8> {
    let mut bytes = car::header(roots).unwrap();
    for (cid, block) in blocks {
        bytes.extend(car::section_head(cid, block.len()));
        bytes.extend_from_slice(block);
    }
    bytes
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command with files as its standard input and output.
async fn piped(node: &Node, args: &[&str], input: &Path, output: &Path) -> Ended {
    let script = format!("exec \"$0\" \"$@\" < '{}' > '{}'", text(input), text(output));
    kit_through(&["bash", "-c", &script], &node.folder, args).await
}

async fn pins(node: &Node) -> usize {
    node.json(&["pin", "ls"]).await.as_array().unwrap().len()
}

#[tokio::test]
async fn a_tree_leaves_as_car_and_comes_back_the_same() {
    let place = Place::new();
    let (from, to) = (place.node("from", &[]).await, place.node("to", &[]).await);
    let folder = place.path("data");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    std::fs::write(folder.join("large"), vec![3; 3 << 20]).unwrap();
    std::fs::write(folder.join("inner/small"), "small").unwrap();
    let root = from.says(&["-q", "add", text(&folder)]).await.trim().to_owned();

    let (file, piped_file) = (place.path("a.car"), place.path("b.car"));
    from.says(&["dag", "export", &root, "-o", text(&file)]).await;
    let exported =
        piped(&from, &["dag", "export", &root], Path::new("/dev/null"), &piped_file).await;
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&piped_file).unwrap());
    let again = from.run(&["dag", "export", &root, "-o", text(&file)]).await;
    again.refused(8, "E_DESTINATION", &["exists already"]);

    let rows = to.json(&["dag", "import", text(&file)]).await;
    assert_eq!((&rows[0]["cid"], &rows[0]["pinned"]), (&root.as_str().into(), &true.into()));
    assert_eq!(rows[0]["stored_blocks"], rows[0]["blocks"]);
    let back = place.path("back");
    to.says(&["get", &root, "-o", text(&back)]).await;
    assert_eq!(std::fs::read(back.join("large")).unwrap(), vec![3; 3 << 20]);
    assert_eq!(std::fs::read(back.join("inner/small")).unwrap(), b"small");
    assert_eq!(pins(&to).await, 1);

    // Again, from standard input: nothing is written twice.
    let out = place.path("out");
    let again = piped(&to, &["--output", "json", "dag", "import"], &file, &out).await;
    assert!(again.status.success(), "{again:?}");
    let rows: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!((&rows[0]["pinned"], &rows[0]["stored_blocks"]), (&true.into(), &0.into()));
}

#[tokio::test]
async fn a_cluster_copies_and_gives_out_dags_of_every_codec() {
    let place = Place::new();
    let master = place.master("m").await;
    let worker = place.worker("w", &master).await;
    master.until(&["node", "ls"], |list| list.as_array().is_some_and(|l| l.len() == 2)).await;
    let blocks = mixed_dag();
    let (root, bytes) = (blocks[0].0, write_car(&[blocks[0].0], &blocks));
    let car = place.file("in.car", &bytes);
    let rows = master.json(&["dag", "import", "--replicas", "2", text(&car)]).await;
    assert_eq!((&rows[0]["pinned"], &rows[0]["copies"]), (&true.into(), &2.into()), "{rows}");
    drop(master);
    // What the worker has now, it has on its own disk.
    let back = place.path("back.car");
    worker.says(&["dag", "export", &root.to_string(), "-o", text(&back)]).await;
    assert_eq!(std::fs::read(back).unwrap(), bytes);
}

#[tokio::test]
async fn what_is_wrong_with_a_car_is_said_and_nothing_is_pinned() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let blocks = mixed_dag();
    let root = blocks[0].0;
    let good = write_car(&[root], &blocks);

    let missing = node.run(&["dag", "import", "no/such.car"]).await;
    missing.refused(3, "E_PATH", &["cannot read no/such.car"]);
    let folder = node.run(&["dag", "import", text(&node.folder)]).await;
    folder.refused(1, "E_SOURCE", &["is a folder"]);
    let text_file = place.file("text", "no car at all, but some text that goes on and on and on");
    let no_car = node.run(&["dag", "import", text(&text_file)]).await;
    no_car.refused(2, "E_CAR", &["does not begin with the header of a CAR"]);
    let empty =
        piped(&node, &["dag", "import", "-"], Path::new("/dev/null"), &place.path("o")).await;
    empty.refused(2, "E_CAR", &["it is empty"]);

    let cut = place.file("cut", &good[..good.len() - 1]);
    let cut = node.run(&["dag", "import", text(&cut)]).await;
    cut.refused(2, "E_CAR", &["it is cut off", "nothing was pinned"]);
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let wrong = place.file("wrong", wrong);
    let wrong = node.run(&["dag", "import", text(&wrong)]).await;
    wrong.refused(2, "E_CAR", &["wrong block at byte", &blocks[41].0.to_string()]);

    let part = place.file("part", write_car(&[root], &blocks[..30].to_vec()));
    let part = node.run(&["dag", "import", text(&part)]).await;
    part.refused(1, "E_INCOMPLETE", &["is missing", &root.to_string()]);
    let (git, bytes) = block(Codec::Raw, b"tree of a repository".to_vec());
    let git = Cid::new_v1(0x78, *git.hash());
    let foreign = place.file("git", write_car(&[git], &vec![(git, bytes)]));
    let foreign = node.run(&["dag", "import", text(&foreign)]).await;
    foreign.refused(2, "E_CODEC", &["codec 0x78 is not supported"]);
    let (cbor, bytes) = block(Codec::DagCbor, vec![0xff]);
    let broken = place.file("broken", write_car(&[cbor], &vec![(cbor, bytes)]));
    let broken = node.run(&["dag", "import", text(&broken)]).await;
    assert!(broken.stderr.contains("block is no dag-cbor"), "{broken:?}");
    assert_eq!(pins(&node).await, 0);

    // Without pins there is nothing that has to be whole.
    let part = place.file("part", write_car(&[root], &blocks[..30].to_vec()));
    let rows = node.json(&["dag", "import", "--pin-roots=false", text(&part)]).await;
    assert_eq!((&rows[0]["pinned"], &rows[0]["blocks"]), (&false.into(), &30.into()));
    let export = node.run(&["dag", "export", &root.to_string(), "-o", "x.car"]).await;
    export.refused(3, "E_NOT_FOUND", &["is not here"]);
    assert!(!place.path("x.car").exists(), "a part does not pass as the whole");
    let nobodys = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let absent = node.run(&["dag", "export", nobodys]).await;
    absent.refused(3, "E_NOT_FOUND", &[nobodys]);
    node.works("after").await;
}

#[tokio::test]
async fn blocks_are_put_read_and_deleted_unless_something_keeps_them() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let (loose, other) = (place.file("loose", "loose"), place.file("other", "other"));
    let cid = node.says(&["-q", "block", "put", text(&loose)]).await.trim().to_owned();
    assert_eq!(cid, block(Codec::Raw, b"loose".to_vec()).0.to_string());
    assert_eq!(node.json(&["block", "stat", &cid]).await["size_bytes"], 5);
    assert_eq!(node.says(&["block", "get", &cid]).await, "loose");
    let other = node.says(&["-q", "block", "put", "--hash", "blake3", text(&other)]).await;
    node.says(&["block", "rm", &cid]).await;
    node.run(&["block", "get", &cid]).await.refused(3, "E_NOT_FOUND", &[&cid]);
    node.run(&["block", "rm", &cid]).await.refused(3, "E_NOT_FOUND", &["is not here"]);
    assert_eq!(node.says(&["block", "get", other.trim()]).await, "other", "nothing else went");

    let folder = place.path("data");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "kept").unwrap();
    let root = node.says(&["-q", "add", text(&folder)]).await.trim().to_owned();
    let (leaf, _) = block(Codec::Raw, b"kept".to_vec());
    let kept = node.run(&["block", "rm", &leaf.to_string()]).await;
    kept.refused(8, "E_CONFLICT", &[&root, "ipfs-kit pin rm"]);
    assert_eq!(node.says(&["cat", &format!("{root}/file")]).await, "kept");

    let largest = place.file("largest", vec![1; 2 << 20]);
    node.says(&["block", "put", text(&largest)]).await;
    let too_large = place.file("too-large", vec![1; (2 << 20) + 1]);
    let put = node.run(&["block", "put", text(&too_large)]).await;
    put.refused(2, "E_TOO_LARGE", &["2097152 bytes of a block", "ipfs-kit add"]);
    let put = node.run(&["block", "put", "--cid-codec", "dag-cbor", text(&loose)]).await;
    put.refused(2, "E_CODEC", &["is not what its codec says"]);
    let put = node.run(&["block", "put", "--cid-codec", "cbor", text(&loose)]).await;
    put.refused(2, "E_CODEC", &["no codec \"cbor\"", "dag-cbor"]);
    let put = node.run(&["block", "put", "--mhtype", "md5", text(&loose)]).await;
    put.refused(2, "E_USAGE", &["no hash function \"md5\"", "sha2-256"]);
    node.run(&["block", "put", "no/such"]).await.refused(3, "E_PATH", &["no/such"]);
    node.run(&["block", "get", "not-a-cid"])
        .await
        .status
        .code()
        .map_or_else(|| panic!("it was killed"), |code| assert_eq!(code, 2));
}

#[tokio::test]
async fn values_are_put_and_read_by_path() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let folder = place.path("data");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    std::fs::write(folder.join("inner/small"), "small").unwrap();
    let tree = node.says(&["-q", "add", text(&folder)]).await.trim().to_owned();

    let json = format!(r#"{{ "b": [1, {{"tree": {{"/": "{tree}"}}}}], "a": 0.5 }}"#);
    let json = place.file("value.json", json);
    let cid = node.says(&["-q", "dag", "put", "--pin", text(&json)]).await.trim().to_owned();
    assert!(cid.starts_with("bafyrei"), "dag-cbor with sha2-256: {cid}");
    let canonical = format!(r#"{{"a":0.5,"b":[1,{{"tree":{{"/":"{tree}"}}}}]}}"#);
    assert_eq!(node.says(&["dag", "get", &cid]).await, canonical);
    assert_eq!(node.says(&["dag", "get", &format!("{cid}/b/0")]).await, "1");
    let small = format!("/ipfs/{cid}/b/1/tree/inner/small");
    let raw = ["dag", "get", "--output-codec", "raw", &small];
    assert_eq!(node.says(&raw).await, "small");
    let directory = node.json(&["dag", "get", &format!("{cid}/b/1/tree")]).await;
    assert_eq!(directory["Links"][0]["Name"], "inner", "a link at the end is followed");
    assert_eq!(node.json(&["dag", "stat", &cid]).await["blocks"], 4);
    assert_eq!(pins(&node).await, 2);

    // The same value, whatever it came as.
    let cbor = place.path("value.cbor");
    let got = piped(&node, &["dag", "get", "--output-codec", "dag-cbor", &cid], &json, &cbor).await;
    assert!(got.status.success(), "{got:?}");
    let back = node.says(&["-q", "dag", "put", "--input-codec", "dag-cbor", text(&cbor)]).await;
    assert_eq!(back.trim(), cid);

    for (path, part) in [("b/2", "there is no b/2"), ("b/1/tree/none", "none"), ("a/x", "a/x")] {
        let missing = node.run(&["dag", "get", &format!("{cid}/{path}")]).await;
        missing.refused(3, "E_NOT_FOUND", &[part]);
    }
    let broken = place.file("broken", "{\"a\":");
    let put = node.run(&["dag", "put", text(&broken)]).await;
    put.refused(2, "E_CODEC", &["block is no dag-json"]);
    let not_pb = node.run(&["dag", "put", "--store-codec", "dag-pb", text(&json)]).await;
    not_pb.refused(2, "E_CODEC", &["dag-pb"]);
    let nobodys = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let dangling = place.file("dangling", format!(r#"[{{"/":"{nobodys}"}}]"#));
    let put = node.run(&["dag", "put", "--pin", text(&dangling)]).await;
    put.refused(1, "E_INCOMPLETE", &[nobodys, "not pinned"]);
    node.run(&["dag", "stat", nobodys]).await.refused(3, "E_NOT_FOUND", &[nobodys]);
}

/// Flips a bit of `needle` where it lies in a folder's segments.
fn damage(folder: &Path, needle: &[u8]) {
    for entry in std::fs::read_dir(folder.join("blocks")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
            return std::fs::write(path, bytes).unwrap();
        }
    }
    panic!("no segment has it");
}

#[tokio::test]
async fn the_store_shows_what_it_has_collects_and_names_what_has_decayed() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let content = b"something that stands nowhere else in the folder";
    let (kept, loose) = (place.file("kept", content), place.file("loose", vec![5; 1 << 20]));
    let root = node.says(&["-q", "add", text(&kept)]).await.trim().to_owned();
    node.says(&["block", "put", text(&loose)]).await;
    let stat = node.json(&["store", "stat"]).await;
    assert_eq!((&stat["blocks"], &stat["roots"]), (&2.into(), &1.into()), "{stat}");
    let report = node.json(&["store", "gc"]).await;
    assert_eq!(
        (&report["removed_blocks"], &report["removed_bytes"]),
        (&1.into(), &(1 << 20).into()),
        "{report}"
    );
    assert_eq!(node.json(&["store", "stat"]).await["blocks"], 1);
    assert_eq!(node.json(&["store", "verify"]).await, serde_json::json!([]));

    let folder = node.folder.clone();
    node.stop().await;
    damage(&folder, content);
    let node = Node::up(&folder, &[]).await;
    for _ in 0..2 {
        // The second time it is known, and counts as absent.
        let verify = node.run(&["--output", "json", "store", "verify"]).await;
        assert_eq!(verify.status.code(), Some(4), "{verify:?}");
        let bad: serde_json::Value = serde_json::from_str(&verify.stdout).unwrap();
        assert_eq!((&bad[0]["event"], &bad[0]["cid"]), (&"damaged".into(), &root.as_str().into()));
        assert!(bad[0]["segment"].is_u64() && bad[0]["offset"].is_u64(), "{bad}");
        assert!(verify.stderr.contains("0 blocks are fine, 1 are not"), "{verify:?}");
    }
    let gc = node.run(&["--output", "json", "store", "gc"]).await;
    assert_eq!(gc.status.code(), Some(4), "{gc:?}");
    assert!(gc.stdout.contains(&root), "the root that is not whole is named: {gc:?}");
    // Adding it again mends it.
    node.says(&["add", text(&kept)]).await;
    assert_eq!(node.json(&["store", "verify"]).await, serde_json::json!([]));
}

#[tokio::test]
async fn standard_input_is_added_as_the_file_that_it_is() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let content = place.file("content", vec![9; (5 << 20) + 7]);
    let out = place.path("out");
    let as_file = node.says(&["-q", "add", text(&content)]).await;
    let piped_in = piped(&node, &["-q", "add", "-"], &content, &out).await;
    assert!(piped_in.status.success(), "{piped_in:?}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), as_file);
    let empty = piped(&node, &["-q", "add", "-"], Path::new("/dev/null"), &out).await;
    assert!(empty.status.success(), "{empty:?}");
    assert_eq!(node.says(&["cat", std::fs::read_to_string(&out).unwrap().trim()]).await, "");
    let both = node.run(&["add", "-", text(&content)]).await;
    both.refused(2, "E_USAGE", &["standard input has no name"]);
    let blocks = node.json(&["store", "stat"]).await["blocks"].clone();

    // Wrapped, the name is kept, and the file's own blocks are those that are there.
    let root = node.says(&["-q", "add", "--wrap", text(&content)]).await;
    let listed = node.json(&["ls", root.trim()]).await;
    assert_eq!(
        (&listed[0]["name"], &listed[0]["cid"]),
        (&"content".into(), &as_file.trim().into())
    );
    let now = node.json(&["store", "stat"]).await["blocks"].clone();
    assert_eq!(now.as_u64(), blocks.as_u64().map(|blocks| blocks + 1), "one new folder");
}

/// Entries with names so long that a folder of them is split into shards.
const ENTRIES: usize = 1_500;

#[tokio::test]
async fn what_breaks_among_the_skipped_entries_breaks_the_page() {
    let place = Place::new();
    let node = place.node("n", &[]).await;
    let folder = place.path("folder");
    std::fs::create_dir(&folder).unwrap();
    for at in 0..ENTRIES {
        std::fs::write(folder.join(format!("{at:0200}")), "").unwrap();
    }
    let root = node.says(&["-q", "add", folder.to_str().unwrap()]).await.trim().to_owned();
    let page = async |skip: usize| {
        let request = format!(r#"{{"path":"{root}","skip":{skip},"limit":10}}"#);
        node.run(&["call", "ls", &request]).await
    };
    let entries = |page: Ended| {
        assert!(page.status.success(), "{page:?}");
        let page: Value = serde_json::from_str(&page.stdout).unwrap();
        (page["items"].as_array().unwrap().len(), page["next"].as_u64())
    };
    assert_eq!(entries(page(ENTRIES - 5).await), (5, None));
    // A shard in the middle goes.
    let links = node.json(&["dag", "get", &root]).await["Links"].as_array().unwrap().clone();
    let shard = |link: &Value| link["Name"].as_str().unwrap().len() == 2;
    let shards: Vec<_> = links.iter().filter(|link| shard(link)).collect();
    let middle = shards[shards.len() / 2]["Hash"]["/"].as_str().unwrap();
    node.says(&["pin", "rm", &root]).await;
    node.says(&["block", "rm", middle]).await;
    assert_eq!(entries(page(0).await), (10, Some(10)), "what comes before it is there");
    page(ENTRIES - 5).await.refused(3, "E_NOT_FOUND", &[middle]);
}
