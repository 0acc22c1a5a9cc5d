//! Tests of the snapshot offers.

use super::*;

fn id(n: u64) -> RaftId {
    RaftId::new(n).unwrap()
}

#[test]
fn pitfall_15_an_offer_without_a_report_ends_by_itself() {
    let mut transfers = Transfers::new(5);
    transfers.offered(id(2), 10, 0);
    transfers.offered(id(3), 10, 0);
    assert!(transfers.report(id(3), SnapshotReport::Progress, 4));
    assert_eq!(transfers.stalled(4), []);
    assert_eq!(transfers.stalled(5), [id(2)]);
    assert_eq!(transfers.iter().collect::<Vec<_>>(), [(id(3), 10)]);
    assert_eq!(transfers.stalled(9), [id(3)]);
}

#[test]
fn a_report_without_an_offer_is_told_apart() {
    let mut transfers = Transfers::new(5);
    assert!(!transfers.report(id(2), SnapshotReport::Finished, 0));
    transfers.offered(id(2), 10, 0);
    assert!(transfers.report(id(2), SnapshotReport::Failed, 1));
    assert!(!transfers.report(id(2), SnapshotReport::Failed, 1));
}
