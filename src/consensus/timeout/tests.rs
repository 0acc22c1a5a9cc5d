//! Tests of the election timeouts.

use super::*;

fn timeouts(seed: u64, id: u64) -> ElectionTimeouts {
    ElectionTimeouts::new(seed, RaftId::new(id).unwrap(), 10)
}

#[test]
fn a_timeout_depends_on_its_position_alone() {
    let mut forward = timeouts(1, 1);
    let mut backward = timeouts(1, 1);
    let positions: Vec<_> = (0..9).flat_map(|t| (0..9).map(move |c| (t, c))).collect();
    let mut one: Vec<_> = positions.iter().map(|(t, c)| forward.draw(*t, *c)).collect();
    let two: Vec<_> = positions.iter().rev().map(|(t, c)| backward.draw(*t, *c)).collect();
    assert!(one.iter().all(|ticks| (10..20).contains(ticks)));
    one.reverse();
    assert_eq!(one, two);
}

#[test]
fn members_seeds_terms_and_campaigns_differ() {
    let row = |seed, id| -> Vec<u32> {
        let mut timeouts = timeouts(seed, id);
        (0..40).map(|n| timeouts.draw(n / 8, n % 8)).collect()
    };
    assert_ne!(row(1, 1), row(1, 2));
    assert_ne!(row(1, 1), row(2, 1));
    assert!(row(1, 1).windows(2).any(|pair| pair[0] != pair[1]));
}
