//! The buckets tile the range, and percentiles stay within their error.

use super::*;

#[test]
fn buckets_tile_the_range() {
    let mut next = 0_u64;
    for index in 0..BUCKETS {
        assert_eq!(bucket(next), index, "{next}");
        let upper = upper_us(index);
        assert_eq!(bucket(upper), index, "{upper}");
        next = upper + 1;
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn percentiles_are_within_a_quarter() {
    let mut histogram = Histogram::default();
    assert_eq!(histogram.view(), LatencyView { p50_us: 0, p99_us: 0, max_us: 0 });
    for us in 1..=1_000 {
        histogram.record(us);
    }
    let view = histogram.view();
    assert!((500..=625).contains(&view.p50_us), "{view:?}");
    assert!((990..=1_000).contains(&view.p99_us), "{view:?}");
    assert_eq!(view.max_us, 1_000);
}

#[test]
fn the_recent_past_outweighs_the_distant() {
    let mut histogram = Histogram::default();
    for _ in 0..100_000 {
        histogram.record(1);
    }
    for _ in 0..40_000 {
        histogram.record(100);
    }
    assert!(histogram.view().p50_us >= 100, "{:?}", histogram.view());
}
