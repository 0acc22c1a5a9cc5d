//! The join limiter: bursts, refills, fairness between addresses, bounded memory.

use super::*;

fn limits() -> JoinLimits {
    JoinLimits {
        guests: 8,
        guests_per_ip: 8,
        guest_ms: 1_000,
        burst_per_ip: 3,
        refill_per_ip_ms: 1_000,
        burst: 5,
        refill_ms: 100,
    }
}

fn origin(text: &str) -> Origin {
    text.parse::<IpAddr>().unwrap().into()
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_then_one_for_each_interval() {
    let start = Instant::now();
    let mut rate = JoinRate::new(limits(), start);
    let here = origin("10.0.0.1");
    for _ in 0..3 {
        rate.admit(here, start).unwrap();
    }
    assert_eq!(rate.admit(here, start), Err(Duration::from_millis(1_000)));
    let soon = start + Duration::from_millis(400);
    assert_eq!(rate.admit(here, soon), Err(Duration::from_millis(600)));
    let later = start + Duration::from_millis(1_000);
    rate.admit(here, later).unwrap();
    assert!(rate.admit(here, later).is_err());
    let much_later = start + Duration::from_secs(3_600);
    for _ in 0..3 {
        rate.admit(here, much_later).unwrap();
    }
    assert!(rate.admit(here, much_later).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_address_takes_nothing_from_the_others() {
    let now = Instant::now();
    let mut rate = JoinRate::new(limits(), now);
    for _ in 0..100 {
        let _ = rate.admit(origin("10.0.0.1"), now);
    }
    rate.admit(origin("10.0.0.2"), now).unwrap();
    rate.admit(origin("10.0.0.3"), now).unwrap();
    // Five in total: the common bucket is empty now.
    assert_eq!(rate.admit(origin("10.0.0.4"), now), Err(Duration::from_millis(100)));
}

#[test]
fn one_ipv6_subnet_is_one_origin() {
    assert_eq!(origin("fd00::1"), origin("fd00::ffff:1"));
    assert_ne!(origin("fd00::1"), origin("fd00:0:0:1::1"));
    assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded() {
    let start = Instant::now();
    let mut rate = JoinRate::new(limits(), start);
    for at in 0..5_000u32 {
        let ip = IpAddr::V4(at.into());
        let _ = rate.admit(ip.into(), start + Duration::from_millis(u64::from(at)));
    }
    assert_eq!(rate.origins.len(), MAX_REMEMBERED);
    assert!(rate.origins.contains_key(&Origin(IpAddr::V4(4_999.into()))));
}
