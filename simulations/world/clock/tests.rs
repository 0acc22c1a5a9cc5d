//! Wall clocks follow virtual time and their own errors.

use std::time::Duration;

use super::*;
use crate::trace::Lines;

#[tokio::test(start_paused = true)]
async fn clocks_follow_virtual_time_with_their_errors() {
    let trace = Trace::begin(Lines::Recent);
    let (right, wrong) = (SimClock::new(trace.clone()), SimClock::new(trace));
    wrong.set_offset_ms(-5_000);
    wrong.set_drift_ppm(1_000);
    assert_eq!(right.wall_ms() - wrong.wall_ms(), 5_000);
    tokio::time::advance(Duration::from_secs(1_000)).await;
    assert_eq!(right.wall_ms(), EPOCH_MS as u64 + 1_000_000);
    assert_eq!(right.wall_ms() - wrong.wall_ms(), 4_000);
}
