//! Placement moves no more than it must, spreads over zones, and explains what it can't do.

use proptest::prelude::*;

use super::*;
use crate::fixture::{cid, member};

const NONE: &BTreeSet<NodeId> = &BTreeSet::new();

fn fleet_of(members: impl IntoIterator<Item = Member>) -> BTreeMap<NodeId, Member> {
    members.into_iter().map(|member| (member.id, member)).collect()
}

fn workers(count: u64, zones: u64) -> BTreeMap<NodeId, Member> {
    fleet_of((1..=count).map(|n| {
        let mut worker = member(n, Role::Worker);
        if zones > 0 {
            worker.spec.zone = format!("zone-{}", n % zones);
        }
        worker
    }))
}

fn place(members: &BTreeMap<NodeId, Member>, n: u64, copies: usize) -> Choice {
    let wish = Wish { cid: &cid(n), copies, beside: NONE, avoid: NONE };
    Fleet::new(members, |_| 0).choose(&wish)
}

fn holders(members: &BTreeMap<NodeId, Member>, n: u64, copies: usize) -> BTreeSet<NodeId> {
    place(members, n, copies).holders.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_member_that_goes_moves_only_its_own_copies(
        count in 4u64..30, zones in 0u64..6, copies in 1usize..4, gone in 1u64..30,
    ) {
        let gone = NodeId(gone % count + 1);
        let before = workers(count, zones);
        let mut after = before.clone();
        after.remove(&gone);
        for n in 0..60 {
            let (old, new) = (holders(&before, n, copies), holders(&after, n, copies));
            let stayed = old.iter().filter(|node| **node != gone);
            prop_assert!(stayed.clone().all(|node| new.contains(node)), "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn a_member_that_comes_takes_copies_from_others_and_moves_none_between_them(
        count in 3u64..30, zones in 0u64..6, copies in 1usize..4,
    ) {
        let after = workers(count + 1, zones);
        let mut before = after.clone();
        before.remove(&NodeId(count + 1));
        for n in 0..60 {
            let (old, new) = (holders(&before, n, copies), holders(&after, n, copies));
            let fresh: Vec<_> = new.difference(&old).collect();
            prop_assert!(fresh.iter().all(|node| **node == NodeId(count + 1)), "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn copies_stand_in_as_many_zones_as_there_are(
        count in 2u64..40, zones in 1u64..8, copies in 1usize..6, n in any::<u64>(),
    ) {
        let members = workers(count, zones);
        let all: BTreeSet<_> = members.values().map(|m| m.spec.zone.as_str()).collect();
        let chosen = holders(&members, n, copies);
        prop_assert_eq!(chosen.len(), copies.min(count as usize));
        let spread: BTreeSet<_> = chosen.iter().map(|node| &members[node].spec.zone).collect();
        prop_assert_eq!(spread.len(), copies.min(all.len()));
    }

    #[test]
    fn what_stays_is_never_chosen_again_and_its_zone_is_left_alone(
        count in 6u64..30, n in any::<u64>(), stays in 1u64..6,
    ) {
        let members = workers(count, 3);
        let beside = BTreeSet::from([NodeId(stays)]);
        let choice = Fleet::new(&members, |_| 0)
            .choose(&Wish { cid: &cid(n), copies: 2, beside: &beside, avoid: NONE });
        prop_assert_eq!(choice.holders.len(), 2);
        for node in &choice.holders {
            prop_assert_ne!(&members[node].spec.zone, &members[&NodeId(stays)].spec.zone);
        }
    }
}

#[test]
fn shares_follow_weights() {
    let mut members = workers(4, 0);
    members.get_mut(&NodeId(4)).unwrap().spec.weight = 3;
    let mut counts = BTreeMap::new();
    for n in 0..3_000 {
        *counts.entry(place(&members, n, 1).holders[0]).or_insert(0u32) += 1;
    }
    // Three of six parts; six standard deviations are 164.
    assert!((1_336..=1_664).contains(&counts[&NodeId(4)]), "{counts:?}");
}

#[test]
fn a_member_over_its_share_is_passed_over_while_others_fit() {
    let members = workers(3, 0);
    let loaded = NodeId(2);
    let fleet = Fleet::new(&members, |node| if node == loaded { 1_000 } else { 10 });
    for n in 0..100 {
        let wish = Wish { cid: &cid(n), copies: 2, beside: NONE, avoid: NONE };
        assert!(!fleet.choose(&wish).holders.contains(&loaded));
        let all = fleet.choose(&Wish { copies: 3, ..wish });
        assert!(all.holders.contains(&loaded) && all.shortfall.is_none());
    }
}

#[test]
fn the_cap_keeps_the_fullest_member_near_its_share() {
    let members = workers(12, 4);
    let mut fleet = Fleet::new(&members, |_| 0);
    for n in 0..4_000 {
        for node in
            fleet.choose(&Wish { cid: &cid(n), copies: 3, beside: NONE, avoid: NONE }).holders
        {
            fleet.count(node);
        }
    }
    let fullest = fleet.loads.values().max().unwrap();
    assert!(*fullest <= 1_000 * 110 / 100 + LOAD_SLACK_PINS, "{:?}", fleet.loads);
}

#[test]
fn masters_hold_only_what_workers_cannot() {
    let mut members = workers(2, 0);
    for n in 10..13 {
        members.insert(NodeId(n), member(n, Role::Master));
    }
    for n in 0..50 {
        assert!(holders(&members, n, 2).iter().all(|node| node.0 <= 2));
        let three = place(&members, n, 3).holders;
        assert_eq!(three.iter().filter(|node| node.0 >= 10).count(), 1);
        assert!(three[2].0 >= 10, "workers come first: {three:?}");
    }
    members.get_mut(&NodeId(11)).unwrap().spec.hold = HoldPolicy::Always;
    assert!((0..50).any(|n| holders(&members, n, 1).contains(&NodeId(11))));
}

#[test]
fn a_shortfall_names_every_member_and_its_reason() {
    let mut members = workers(4, 0);
    members.get_mut(&NodeId(1)).unwrap().liveness = Liveness::Lost;
    members.get_mut(&NodeId(2)).unwrap().liveness = Liveness::Draining;
    members.get_mut(&NodeId(3)).unwrap().spec.hold = HoldPolicy::Never;
    members.insert(NodeId(5), member(5, Role::Leecher));
    let avoid = BTreeSet::from([NodeId(4)]);
    let choice = Fleet::new(&members, |_| 0).choose(&Wish {
        cid: &cid(1),
        copies: 2,
        beside: NONE,
        avoid: &avoid,
    });
    assert!(choice.holders.is_empty());
    let text = choice.shortfall.unwrap().to_string();
    assert_eq!(
        text,
        "2 more holders wanted, 0 found: n1 is lost, n2 is leaving, \
         n3 holds nothing by its own policy, n4 gave up on it, n5 is a leecher"
    );
}

#[test]
fn an_explanation_is_bounded() {
    let members = fleet_of((1..=200).map(|n| member(n, Role::Leecher)));
    let short = place(&members, 1, 1).shortfall.unwrap();
    assert_eq!((short.rejected.len(), short.unlisted), (REJECTED_MAX, 200 - REJECTED_MAX));
}

#[test]
fn what_is_kept_of_a_surplus_spreads_over_zones_and_prefers_workers() {
    let mut members = workers(4, 2);
    members.insert(NodeId(9), member(9, Role::Master));
    let fleet = Fleet::new(&members, |_| 0);
    for n in 0..50 {
        let all = BTreeSet::from([1, 2, 3, 4, 9].map(NodeId));
        let kept = fleet.keep(&cid(n), &all, 2);
        assert_eq!(kept.len(), 2);
        assert!(!kept.contains(&NodeId(9)));
        let zones: BTreeSet<_> = kept.iter().map(|node| &members[node].spec.zone).collect();
        assert_eq!(zones.len(), 2);
        assert_eq!(kept, holders(&members, n, 2), "a surplus is trimmed to the fresh placement");
    }
}

#[test]
fn who_is_away_is_counted_on_and_who_leaves_is_not() {
    let mut members = workers(4, 0);
    members.insert(NodeId(9), Member { id: NodeId(9), ..member(9, Role::Leecher) });
    members.get_mut(&NodeId(1)).unwrap().liveness = Liveness::Lost;
    assert_eq!(capacity(&members), 4);
    members.get_mut(&NodeId(2)).unwrap().liveness = Liveness::Draining;
    assert_eq!(capacity(&members), 3);
}
