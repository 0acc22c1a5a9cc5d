//! Schedules repeat, differ from seed to seed, and leave a quorum a chance.

use std::collections::BTreeSet;

use super::*;

const FROM_MS: u64 = 10_000;
const UNTIL_MS: u64 = 120_000;

fn shape() -> Shape {
    Shape { masters: (0..3).map(HostId).collect(), others: (3..7).map(HostId).collect() }
}

fn draw(seed: u64) -> Schedule {
    Schedule::draw(seed, &shape(), FROM_MS, UNTIL_MS)
}

#[test]
fn equal_seeds_draw_equal_schedules() {
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn seeds_have_mixes_of_their_own() {
    let mixes: Vec<Vec<Kind>> = (0..100).map(|seed| draw(seed).mix).collect();
    for kind in Kind::ALL {
        let having = mixes.iter().filter(|mix| mix.contains(&kind)).count();
        assert!((5..95).contains(&having), "{kind:?} in {having} of 100 mixes");
    }
}

#[test]
fn faults_keep_to_their_time_and_order() {
    for seed in 0..100 {
        let faults = draw(seed).faults;
        assert!(faults.iter().all(|f| (FROM_MS..=UNTIL_MS).contains(&f.at_ms)));
        assert!(faults.is_sorted_by_key(|f| f.at_ms));
    }
}

#[test]
fn every_crash_is_followed_by_a_restart() {
    for seed in 0..200 {
        let mut down = BTreeSet::new();
        for planned in draw(seed).faults {
            match planned.fault {
                Fault::Crash { host, .. } => {
                    assert!(down.insert(host), "{host} crashes twice in seed {seed}");
                }
                Fault::Restart { host } => {
                    assert!(down.remove(&host), "{host} was up in seed {seed}");
                }
                _ => {}
            }
        }
        assert_eq!(down, BTreeSet::new(), "seed {seed}");
    }
}

#[test]
fn single_crashes_leave_the_masters_their_majority() {
    let masters = shape().masters;
    for seed in (0..400).filter(|seed| !draw(*seed).mix.contains(&Kind::CrashMany)) {
        let mut down = BTreeSet::new();
        for planned in draw(seed).faults {
            match planned.fault {
                Fault::Crash { host, .. } if masters.contains(&host) => {
                    down.insert(host);
                }
                Fault::Restart { host } => {
                    down.remove(&host);
                }
                _ => {}
            }
            assert!(down.len() <= 1, "seed {seed} at {} ms", planned.at_ms);
        }
    }
}

#[test]
fn without_others_or_kinds_a_schedule_is_still_drawn() {
    let lonely = Shape { masters: vec![HostId(0)], others: Vec::new() };
    for seed in 0..50 {
        for planned in Schedule::draw(seed, &lonely, 0, 60_000).faults {
            if let Fault::Partition { side, .. } = planned.fault {
                assert_eq!(side, [HostId(0)]);
            }
        }
    }
}
