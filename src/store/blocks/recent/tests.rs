//! The memory of reads: what counts as a first one, and that it is bounded.

use super::*;

fn place(number: u64) -> Place {
    Place { segment: (number >> 32) as u32, offset: number }
}

#[test]
fn only_the_first_read_of_a_while_is_one() {
    let mut recent = Recent::default();
    assert!(recent.is_first(place(1)));
    assert!(!recent.is_first(place(1)));
    for number in 2..=MAX_PLACES as u64 + 1 {
        assert!(recent.is_first(place(number)));
    }
    assert_eq!(recent.places.len(), MAX_PLACES, "what is remembered is bounded");
    assert!(recent.is_first(place(1)), "it is long ago");
}
