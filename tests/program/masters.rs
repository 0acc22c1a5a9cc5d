//! Masters that join by token, with the settings that a user has who sets none.

use serde_json::Value;

use super::harness::Place;

/// Everybody votes and everybody is there.
fn all_vote(list: &Value, count: usize) -> bool {
    let nodes = list.as_array().unwrap();
    let votes = |node: &Value| node["raft"] == "voter" && node["liveness"] == "alive";
    nodes.len() == count && nodes.iter().all(votes)
}

#[tokio::test]
async fn masters_that_join_a_cluster_at_rest_get_a_vote_and_outlive_the_first() {
    let place = Place::new();
    let first = place.master("m1").await;
    let second = place.member("m2", &first, "master").await;
    first.until(&["node", "ls"], |list| all_vote(list, 2)).await;
    let third = place.member("m3", &first, "master").await;
    first.until(&["node", "ls"], |list| all_vote(list, 3)).await;

    first.kill().await;
    let file = place.file("note", "written after the first master died");
    let add = ["-q", "add", "--replicas", "1", "--ack", "local", file.to_str().unwrap()];
    let cid = second.says(&add).await;
    third.until(&["pin", "ls"], |list| list[0]["cid"] == cid.trim()).await;
    assert_eq!(third.says(&["cat", cid.trim()]).await, "written after the first master died");
}
