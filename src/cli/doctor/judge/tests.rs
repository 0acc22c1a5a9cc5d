//! Each bound has two sides.

use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::member::Role;

use super::*;

fn dial(addr: &str, error: Option<&str>) -> Dial {
    Dial { addr: addr.into(), error: error.map(str::to_owned) }
}

fn reach(there: Vec<Dial>, back: Option<Vec<Dial>>) -> Reach {
    Reach {
        node: NodeId(3),
        name: "w1".into(),
        role: Role::Worker,
        there,
        back,
        silent: None,
        clock_ahead_ms: None,
        round_trip_ms: None,
    }
}

fn statuses(findings: &[Finding]) -> Vec<Status> {
    for finding in findings {
        assert_eq!(finding.status == Status::Pass, finding.hint.is_empty(), "{finding:?}");
    }
    findings.iter().map(|finding| finding.status).collect()
}

#[test]
fn both_directions_are_judged_apart() {
    let good = || vec![dial("a:1", None)];
    let bad = || vec![dial("a:1", Some("refused"))];
    let list = |items| ReachList { items, left_out: 0 };
    let of = |there, back| statuses(&members(&list(vec![reach(there, back)])));
    assert_eq!(of(good(), Some(good())), [Status::Pass, Status::Pass]);
    assert_eq!(of(bad(), Some(good())), [Status::Fail, Status::Pass]);
    assert_eq!(of(good(), Some(bad())), [Status::Pass, Status::Fail]);
    assert_eq!(of([good(), bad()].concat(), Some(good())), [Status::Warn, Status::Pass]);
    assert_eq!(of(Vec::new(), Some(good())), [Status::Fail, Status::Pass]);
    let silent = Reach { silent: Some("no answer".into()), ..reach(good(), None) };
    let found = members(&list(vec![silent]));
    assert_eq!(statuses(&found), [Status::Pass, Status::Fail]);
    assert_eq!(found[1].check, "from n3 (w1, worker)");
    assert_eq!(statuses(&members(&list(Vec::new()))), [Status::Warn]);
    let some = ReachList { items: vec![reach(good(), None)], left_out: 2 };
    assert_eq!(statuses(&members(&some)), [Status::Pass, Status::Warn]);
}

#[test]
fn clocks_are_judged_by_what_is_sure() {
    let of = |ahead_ms, trip_ms| {
        let measured = Reach {
            clock_ahead_ms: Some(ahead_ms),
            round_trip_ms: Some(trip_ms),
            ..reach(Vec::new(), None)
        };
        clock("w1", &measured).unwrap()
    };
    assert_eq!(of(500, 0).status, Status::Pass);
    assert_eq!(of(501, 0).status, Status::Warn);
    assert_eq!(of(-501, 0).status, Status::Warn);
    assert_eq!(of(501, 2).status, Status::Pass, "the trip leaves that open");
    assert_eq!(of(10_001, 0).status, Status::Fail);
    assert_eq!(of(-3_600_000, 40).finding, "3600000 ms behind, known to 20 ms");
    assert_eq!(clock("w1", &reach(Vec::new(), None)), None);
}

#[test]
fn room_files_and_syncs_have_bounds() {
    assert_eq!(space(100, 100).status, Status::Fail);
    assert_eq!(space(101, 100).status, Status::Warn);
    assert_eq!(space(100 + SPACE_WANTED_BYTES, 100).status, Status::Pass);
    assert_eq!(files(Some(511)).status, Status::Fail);
    assert_eq!(files(Some(512)).status, Status::Warn);
    assert_eq!(files(Some(4096)).status, Status::Pass);
    assert_eq!(files(None).status, Status::Pass);
    let limits =
        "Limit   Soft Limit   Hard Limit\nMax open files            1024      4096   files\n";
    assert_eq!(open_files_limit(limits), Some(1024));
    assert_eq!(open_files_limit("Max open files   unlimited unlimited files"), None);
    let ms = Duration::from_millis;
    assert_eq!(syncs(&Ok(vec![ms(1), ms(100), ms(100)])).status, Status::Pass);
    assert_eq!(syncs(&Ok(vec![ms(1), ms(101), ms(101)])).status, Status::Warn);
    assert_eq!(syncs(&Ok(vec![ms(1), ms(1), ms(1001)])).status, Status::Warn);
    assert_eq!(syncs(&Ok(vec![ms(1), ms(1001), ms(1001)])).status, Status::Fail);
    assert_eq!(syncs(&Err(io::Error::other("read-only"))).status, Status::Fail);
}
