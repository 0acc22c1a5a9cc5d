//! How fast a dead leader is replaced, and that a living one is not.

use std::collections::BTreeSet;

use crate::RaftId;
use crate::testnet::Net;

/// Less than the shortest election timeout.
const SOON_TICKS: u64 = 9;

fn led(seed: u64, voters: u64) -> (Net, RaftId) {
    let mut net = Net::new(seed, voters);
    net.run_until("a leader", 100, |net| net.leader().is_some());
    net.run(20);
    let leader = net.leader().unwrap();
    (net, leader)
}

fn disconnect(net: &mut Net, from: RaftId) {
    for (member, host) in &mut net.hosts {
        if let Some(core) = host.core.as_mut().filter(|_| *member != from) {
            core.disconnected(from);
        }
    }
}

fn terms(net: &Net) -> BTreeSet<u64> {
    net.hosts.values().filter_map(|host| Some(host.core.as_ref()?.status().term)).collect()
}

#[test]
fn a_leader_that_dies_is_replaced_before_a_timeout_could_have_passed() {
    for voters in [3, 5] {
        for seed in 0..50 {
            let (mut net, dead) = led(seed, voters);
            net.crash(dead);
            // What it sent before is still under way, and its end is noticed after that.
            net.run(1);
            disconnect(&mut net, dead);
            net.run_until("another leader", SOON_TICKS, |net| net.leader().is_some());
            assert_ne!(net.leader(), Some(dead));
        }
    }
}

#[test]
fn a_leader_that_is_heard_again_stays() {
    for seed in 0..20 {
        let (mut net, leader) = led(seed, 3);
        let before = terms(&net);
        for _ in 0..10 {
            disconnect(&mut net, leader);
            net.run(5);
        }
        assert_eq!((net.leader(), terms(&net)), (Some(leader), before));
    }
}

#[test]
fn one_member_that_loses_the_leader_deposes_nobody() {
    for seed in 0..20 {
        let (mut net, leader) = led(seed, 3);
        let before = terms(&net);
        let cut_off = *net.hosts.keys().find(|member| **member != leader).unwrap();
        net.blocked.extend([(leader, cut_off), (cut_off, leader)]);
        net.hosts.get_mut(&cut_off).unwrap().core.as_mut().unwrap().disconnected(leader);
        net.run(60);
        assert_eq!((net.leader(), terms(&net)), (Some(leader), before));
        net.heal();
        net.run_until("it follows again", 60, |net| {
            let core = net.hosts[&cut_off].core.as_ref().unwrap();
            core.status().leader == Some(leader)
        });
        assert_eq!(net.leader(), Some(leader));
    }
}
