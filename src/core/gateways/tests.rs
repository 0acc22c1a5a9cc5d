//! Whom to ask, as it goes by what happened.

use super::*;

#[test]
fn they_are_asked_in_their_order_until_one_fails() {
    let mut ledger = GatewayLedger::new(3);
    assert_eq!(ledger.usable(0), [0, 1, 2]);
    ledger.failed(0, 0, Fault::Silent);
    assert_eq!(ledger.usable(999), [1, 2]);
    assert_eq!(ledger.usable(1_000), [1, 2, 0], "it comes back, as the last one");
    ledger.behaved(0);
    assert_eq!(ledger.usable(1_000), [0, 1, 2]);
}

#[test]
fn pauses_double_up_to_a_bound() {
    let mut ledger = GatewayLedger::new(1);
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        ledger.failed(now_ms, 0, Fault::Silent);
        let free_at = (now_ms..).step_by(1_000).find(|at| !ledger.usable(*at).is_empty());
        let free_at = free_at.unwrap();
        pauses.push((free_at - now_ms) / 1_000);
        now_ms = free_at;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
}

#[test]
fn who_sent_wrong_bytes_is_left_alone_for_an_hour() {
    let mut ledger = GatewayLedger::new(2);
    ledger.failed(0, 0, Fault::Wrong);
    ledger.failed(0, 0, Fault::Silent);
    assert_eq!(ledger.usable(LIAR_PAUSE_MS - 1), [1]);
    assert_eq!(ledger.usable(LIAR_PAUSE_MS), [1, 0]);
}

#[test]
fn any_number_of_failures_is_survived() {
    let mut ledger = GatewayLedger::new(1);
    for _ in 0..200 {
        ledger.failed(u64::MAX - 5, 0, Fault::Silent);
    }
    assert!(ledger.usable(0).is_empty());
    ledger.failed(0, 7, Fault::Wrong);
    ledger.behaved(7);
}
