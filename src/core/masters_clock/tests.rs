//! Whose clock counts, and when nobody's does.

use super::*;

const HOUR_MS: u64 = 3_600_000;
const NOW_MS: u64 = 1_000 * HOUR_MS;

fn masters(count: u64) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

fn heard(clocks: &[(u64, u64)]) -> MastersClock {
    let mut clock = MastersClock::default();
    for (node, wall_ms) in clocks {
        clock.hear(NodeId(*node), *wall_ms, 50);
    }
    clock
}

#[test]
fn one_wrong_clock_of_three_moves_nothing_even_if_it_is_the_leaders() {
    let others = heard(&[(2, NOW_MS), (3, NOW_MS + 3)]);
    for own in [NOW_MS + HOUR_MS, NOW_MS - HOUR_MS, NOW_MS + 1] {
        let stamp = others.stamp(NodeId(1), own, masters(3), 50);
        assert!((NOW_MS..=NOW_MS + 3).contains(&stamp), "{own}: {stamp}");
    }
    let one_off = heard(&[(2, NOW_MS + HOUR_MS), (3, NOW_MS)]);
    assert_eq!(one_off.stamp(NodeId(1), NOW_MS + 1, masters(3), 50), NOW_MS + 1);
}

#[test]
fn what_was_heard_goes_on_by_monotone_time() {
    let clock = heard(&[(2, NOW_MS), (3, NOW_MS)]);
    // The leader's own clock has jumped; no heartbeat has come since.
    assert_eq!(clock.stamp(NodeId(1), NOW_MS + HOUR_MS, masters(3), 750), NOW_MS + 700);
}

#[test]
fn nothing_is_stamped_before_most_masters_were_heard() {
    let mut clock = heard(&[(2, NOW_MS)]);
    assert_eq!(clock.stamp(NodeId(1), NOW_MS, masters(5), 50), 0);
    // Of two the slower one counts; a worker's clock never does.
    assert_eq!(clock.stamp(NodeId(1), NOW_MS + HOUR_MS, masters(2), 50), NOW_MS);
    assert_eq!(heard(&[(9, NOW_MS)]).stamp(NodeId(1), NOW_MS, masters(3), 50), 0);
    clock.forget();
    assert_eq!(clock.stamp(NodeId(1), NOW_MS, masters(3), 50), 0);
    assert_eq!(clock.stamp(NodeId(1), NOW_MS, masters(1), 50), NOW_MS, "it is alone");
}
