//! Each reason stands alone, names itself, and goes away with its cause.

use super::*;

/// A master in health.
fn master() -> Facts {
    let raft = RaftFacts {
        running: true,
        has_leader: true,
        commit: 90,
        applied: 90,
        writing_ms: 20,
        disk_full: false,
    };
    let cluster =
        ClusterFacts { session_ms_ago: Some(900), lease_ms: 1000, behind: 0, raft: Some(raft) };
    Facts { live: true, cluster: Some(cluster), ..Facts::default() }
}

fn codes(facts: &Facts) -> Vec<ReasonCode> {
    let health = judge(facts);
    assert_eq!(health.ready, health.reasons.is_empty());
    health.reasons.into_iter().map(|reason| reason.code).collect()
}

/// The verdict over a master with one thing changed.
fn with(change: impl FnOnce(&mut Facts)) -> Vec<ReasonCode> {
    let mut facts = master();
    change(&mut facts);
    codes(&facts)
}

fn with_cluster(change: impl FnOnce(&mut ClusterFacts)) -> Vec<ReasonCode> {
    with(|facts| change(facts.cluster.as_mut().unwrap()))
}

#[test]
fn a_healthy_member_and_a_node_without_a_cluster_are_ready() {
    assert_eq!(codes(&master()), []);
    assert_eq!(codes(&Facts { live: true, ..Facts::default() }), []);
}

#[test]
fn every_cause_has_its_reason() {
    assert_eq!(with(|facts| facts.live = false), [ReasonCode::Stopping]);
    let down = [("/node/ipfs".to_owned(), "backoff".to_owned())];
    assert_eq!(with(|facts| facts.down = down.to_vec()), [ReasonCode::PartDown]);
    assert_eq!(with(|facts| facts.disk_trouble = true), [ReasonCode::DiskTrouble]);
    assert_eq!(with_cluster(|c| c.session_ms_ago = Some(1001)), [ReasonCode::NoSession]);
    assert_eq!(with_cluster(|c| c.session_ms_ago = None), [ReasonCode::NoSession]);
    let raft = |change: fn(&mut RaftFacts)| with_cluster(|c| change(c.raft.as_mut().unwrap()));
    assert_eq!(raft(|raft| raft.running = false), [ReasonCode::RaftDown]);
    assert_eq!(raft(|raft| raft.has_leader = false), [ReasonCode::NoLeader]);
    assert_eq!(raft(|raft| raft.writing_ms = STALL_MS_MAX), []);
    assert_eq!(raft(|raft| raft.writing_ms = STALL_MS_MAX + 1), [ReasonCode::RaftStalled]);
    assert_eq!(raft(|raft| raft.disk_full = true), [ReasonCode::RaftStalled]);
    assert_eq!(raft(|raft| raft.commit += READY_LAG_MAX), []);
    assert_eq!(raft(|raft| raft.commit += READY_LAG_MAX + 1), [ReasonCode::CatchingUp]);
    assert_eq!(with_cluster(|c| c.behind = READY_LAG_MAX + 1), [ReasonCode::CatchingUp]);
}

#[test]
fn only_a_tree_that_fell_and_a_thread_that_hangs_are_worth_a_restart() {
    let busy = |held_ms| Facts { busy: Some(("/node/store".into(), held_ms)), ..master() };
    assert_eq!(codes(&busy(STALL_MS_MAX)), []);
    assert_eq!(codes(&busy(STALL_MS_MAX + 1)), [ReasonCode::Stalled]);
    assert!(!judge(&busy(STALL_MS_MAX + 1)).live);
    assert!(!judge(&Facts { live: false, ..master() }).live);
    assert!(judge(&Facts { disk_trouble: true, ..master() }).live, "no restart mends a disk");
    let mut hangs = master();
    let raft = hangs.cluster.as_mut().unwrap().raft.as_mut().unwrap();
    raft.writing_ms = STALL_MS_MAX + 1;
    assert!(!judge(&hangs).live);
    hangs.cluster.as_mut().unwrap().raft.as_mut().unwrap().disk_full = true;
    assert!(judge(&hangs).live, "no restart makes room on a disk");
}

#[test]
fn a_worker_needs_no_raft_and_reasons_add_up() {
    assert_eq!(with_cluster(|c| c.raft = None), []);
    let reasons = with_cluster(|c| {
        c.raft = None;
        c.session_ms_ago = None;
        c.behind = u64::MAX;
    });
    assert_eq!(reasons, [ReasonCode::NoSession, ReasonCode::CatchingUp]);
}
