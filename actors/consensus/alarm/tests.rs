//! It rings at the time for which it was set last, once.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Alarm;

const STEP: Duration = Duration::from_millis(5);

async fn rings_within(alarm: &mut Alarm, within: Duration) -> bool {
    timeout(within, alarm.rings()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn it_rings_once_at_its_time() {
    let mut alarm = Alarm::default();
    assert!(!rings_within(&mut alarm, 100 * STEP).await);
    let at = Instant::now() + STEP;
    alarm.set(at);
    alarm.rings().await;
    assert!(Instant::now() >= at && Instant::now() < at + STEP);
    assert!(!alarm.is_set());
    assert!(!rings_within(&mut alarm, 100 * STEP).await);
}

#[tokio::test(start_paused = true)]
async fn set_to_a_later_time_it_rings_then() {
    let mut alarm = Alarm::default();
    alarm.set(Instant::now() + STEP);
    assert!(!rings_within(&mut alarm, STEP / 5).await);
    alarm.clear();
    let at = Instant::now() + 3 * STEP;
    alarm.set(at);
    alarm.rings().await;
    assert!(Instant::now() >= at);
}

#[tokio::test(start_paused = true)]
async fn set_to_an_earlier_time_it_rings_then() {
    let mut alarm = Alarm::default();
    alarm.set(Instant::now() + 10 * STEP);
    let at = Instant::now() + STEP;
    alarm.set(at);
    alarm.rings().await;
    assert!(Instant::now() < at + STEP);
}

#[tokio::test(start_paused = true)]
async fn cleared_it_does_not_ring_until_it_is_set_again() {
    let mut alarm = Alarm::default();
    alarm.set(Instant::now() + STEP);
    alarm.clear();
    assert!(!rings_within(&mut alarm, 100 * STEP).await);
    alarm.set(Instant::now() + STEP);
    assert!(rings_within(&mut alarm, 3 * STEP).await);
}
