//! A rate holds over time, whatever comes at once.

use super::*;

#[test]
fn without_a_limit_nothing_waits() {
    let mut throttle = Throttle::new(0);
    throttle.take(0, u64::MAX);
    throttle.take(1, u64::MAX);
    assert_eq!(throttle.wait_ms(1), 0);
}

#[test]
fn a_seconds_worth_goes_at_once_and_the_rest_waits() {
    let mut throttle = Throttle::new(1_000);
    throttle.take(0, 600);
    assert_eq!(throttle.wait_ms(0), 0);
    throttle.take(0, 2_400);
    // 2,000 bytes too many take two seconds to earn.
    assert_eq!(throttle.wait_ms(0), 2_001);
    assert_eq!(throttle.wait_ms(1_500), 501);
    assert_eq!(throttle.wait_ms(2_001), 0);
}

#[test]
fn rest_earns_no_more_than_a_second() {
    let mut throttle = Throttle::new(1_000);
    throttle.take(100_000, 2_000);
    assert_eq!(throttle.wait_ms(100_000), 1_001);
}

#[test]
fn the_rate_holds_whatever_the_pieces() {
    for piece in [1, 7, 900, 40_000] {
        let mut throttle = Throttle::new(10_000);
        let (mut now_ms, mut moved) = (0, 0);
        while moved < 1_000_000 {
            now_ms += throttle.wait_ms(now_ms);
            throttle.take(now_ms, piece);
            moved += piece;
        }
        let expected = 100_000;
        assert!(now_ms + 1_100 + piece / 10 >= expected, "{piece}: too fast, {now_ms} ms");
        assert!(now_ms <= expected * 11 / 10 + 1_000, "{piece}: too slow, {now_ms} ms");
    }
}

#[test]
fn a_clock_that_goes_back_earns_nothing() {
    let mut throttle = Throttle::new(1_000);
    throttle.take(5_000, 3_000);
    throttle.take(1_000, 0);
    assert_eq!(throttle.wait_ms(5_000), 2_001);
}

#[test]
fn a_guess_counts_until_it_is_put_right() {
    let mut throttle = Throttle::new(1_000);
    throttle.take(0, 5_000);
    assert_eq!(throttle.wait_ms(0), 4_001);
    throttle.put_right(5_000, 1_500);
    assert_eq!(throttle.wait_ms(0), 501);
    throttle.put_right(0, 1_000);
    assert_eq!(throttle.wait_ms(0), 1_501);
    throttle.put_right(9_000, 0);
    throttle.take(0, 1_000);
    assert_eq!(throttle.wait_ms(0), 1, "what is put back fills the bucket, and no more");
}
