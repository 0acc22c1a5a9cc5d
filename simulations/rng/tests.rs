//! Equal seeds and purposes draw equally, different ones differently.

use super::*;

#[test]
fn draws_depend_on_seed_and_purpose() {
    let draws = |seed, purpose| {
        let mut rng = Rng::new(seed, purpose);
        [rng.number(), rng.number(), rng.number()]
    };
    assert_eq!(draws(1, "network"), draws(1, "network"));
    assert_ne!(draws(1, "network"), draws(2, "network"));
    assert_ne!(draws(1, "network"), draws(1, "disk"));
}

#[test]
fn draws_keep_within_their_range() {
    let mut rng = Rng::new(7, "range");
    for _ in 0..1000 {
        assert!((3..=5).contains(&rng.within(3..=5)));
    }
    assert_eq!(rng.within(9..=9), 9);
    assert!(rng.chance(1000));
    assert!(!rng.chance(0));
    assert_eq!(rng.pick::<u8>(&[]), None);
}

#[test]
fn a_shuffle_keeps_every_item() {
    let mut items: Vec<u32> = (0..50).collect();
    Rng::new(1, "shuffle").shuffle(&mut items);
    assert_ne!(items, (0..50).collect::<Vec<_>>());
    items.sort_unstable();
    assert_eq!(items, (0..50).collect::<Vec<_>>());
}
