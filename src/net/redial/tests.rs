//! Redial: who is due when.

use super::*;
use crate::identity::Keypair;

fn peer(seed: u8) -> PeerKey {
    Keypair::from_seed([seed; 32]).peer_key()
}

fn addrs(text: &str) -> Vec<NetAddr> {
    vec![text.parse().unwrap()]
}

fn redial() -> Redial {
    Redial::new(100, 1_000, [1; 32])
}

fn keep(redial: &mut Redial, who: PeerKey, at: &str, now: Instant) {
    redial.set(BTreeMap::from([(who, addrs(at))]), |_| false, now);
}

#[tokio::test(start_paused = true)]
async fn a_new_member_is_due_at_once_and_only_once() {
    let now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    assert_eq!(redial.due(now), [Due { peer: peer(1), addrs: addrs("10.0.0.1:1") }]);
    assert_eq!(redial.due(now), []);
    assert_eq!(redial.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn failures_double_the_delay_up_to_the_limit() {
    let mut now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    for (failure, most_ms) in [100, 200, 400, 800, 1_000, 1_000].into_iter().enumerate() {
        assert_eq!(redial.due(now).len(), 1);
        let failed = redial.failed(&peer(1), Retry::Backoff, now).unwrap();
        assert_eq!(failed.failures as usize, failure + 1);
        assert_eq!(failed.look_up, (failure + 1) % 3 == 0);
        let wait = redial.next_due().unwrap() - now;
        let most = Duration::from_millis(most_ms);
        assert!(wait >= most / 2 && wait <= most, "{wait:?} after failure {failure}");
        now += wait;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_needs_an_operator_waits_longest() {
    let now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    redial.due(now);
    redial.failed(&peer(1), Retry::Slowly, now).unwrap();
    assert!(redial.next_due().unwrap() - now >= Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_changed_address_ends_the_wait() {
    let now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    redial.due(now);
    redial.failed(&peer(1), Retry::Slowly, now).unwrap();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    assert_eq!(redial.due(now), []);
    keep(&mut redial, peer(1), "10.0.0.1:2", now);
    assert_eq!(redial.due(now), [Due { peer: peer(1), addrs: addrs("10.0.0.1:2") }]);
}

#[tokio::test(start_paused = true)]
async fn a_connected_member_is_left_alone_until_it_is_lost() {
    let now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    redial.due(now);
    redial.up(&peer(1));
    assert_eq!(redial.failed(&peer(1), Retry::Backoff, now), None);
    assert_eq!(redial.next_due(), None);
    redial.down(&peer(1), now);
    let wait = redial.next_due().unwrap() - now;
    assert!(wait <= Duration::from_millis(100), "{wait:?}");
    redial.set(BTreeMap::new(), |_| false, now);
    assert_eq!(redial.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn learned_addresses_are_tried_after_the_registered() {
    let now = Instant::now();
    let mut redial = redial();
    keep(&mut redial, peer(1), "10.0.0.1:1", now);
    let told = (1..=9).flat_map(|port| addrs(&format!("10.0.0.1:{port}"))).collect();
    redial.learned(&peer(1), told);
    let due = redial.due(now);
    assert_eq!(due[0].addrs.len(), 1 + MAX_LEARNED);
    assert_eq!(due[0].addrs[0], addrs("10.0.0.1:1")[0]);
    assert_eq!(due[0].addrs[1], addrs("10.0.0.1:2")[0]);
}
