//! Thirds are judged by their means.

use super::*;

fn samples(values: &[f64]) -> Vec<Sample> {
    let at = |number: usize| Duration::from_secs(number as u64 * 10);
    values.iter().enumerate().map(|(n, value)| Sample { at: at(n), value: *value }).collect()
}

#[test]
fn the_first_third_does_not_count() {
    let seen = samples(&[1.0, 1.0, 1.0, 100.0, 102.0, 101.0, 105.0, 107.0, 106.0]);
    let thirds = thirds(&seen, Duration::from_secs(90)).unwrap();
    assert_eq!(thirds, Thirds { second: 101.0, last: 106.0 });
    assert!(thirds.is_flat());
}

#[test]
fn growth_is_seen() {
    assert!(!Thirds { second: 100.0, last: 111.0 }.is_flat());
    assert!(!Thirds { second: 100.0, last: 89.0 }.is_flat());
    assert!(!Thirds { second: 0.0, last: 3.0 }.grows());
    assert!(Thirds { second: 5.0, last: 50.0 }.grows());
    assert!(thirds(&samples(&[1.0, 1.0]), Duration::from_secs(90)).is_none());
}
