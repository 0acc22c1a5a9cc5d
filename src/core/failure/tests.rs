//! Who is declared lost and when, who comes back, and which of two runs with one identity stays.

use proptest::prelude::*;

use super::*;

const CONFIG: Config =
    Config { interval_ms: 1_000, lease_ms: 4_000, grace_ms: 3_000, proposal_timeout_ms: 2_000 };
const LEADER: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

struct Bench {
    detector: FailureDetector,
    now_ms: u64,
    wake_ms: u64,
}

impl Bench {
    fn leading(others: Liveness) -> Self {
        let mut bench = Self { detector: FailureDetector::new(CONFIG), now_ms: 50_000, wake_ms: 0 };
        let members = vec![(LEADER, Liveness::Alive), (OTHER, others)];
        let out = bench.step(Input::BecameLeader { own: LEADER, members });
        assert!(out.is_empty(), "{out:?}");
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.detector.step(self.now_ms, input, &mut out);
        if let Some(Effect::WakeAt(at_ms)) = out.last() {
            assert!(*at_ms > self.now_ms, "it would spin");
            self.wake_ms = *at_ms;
            out.pop();
        }
        out
    }

    fn hear(&mut self, incarnation: u64) -> Verdict {
        let incarnation = Incarnation(incarnation);
        let addrs = vec![format!("host-{}:1", incarnation.0)];
        let out = self.step(Input::Heartbeat { node: OTHER, incarnation, addrs });
        let answer = |effect: &Effect| match effect {
            Effect::Answer { verdict, .. } => Some(verdict.clone()),
            _ => None,
        };
        let answers: Vec<_> = out.iter().filter_map(answer).collect();
        assert_eq!(answers.len(), 1, "{out:?}");
        answers[0].clone()
    }

    /// Lets time pass, waking as asked; returns when each effect came.
    fn pass(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let end_ms = self.now_ms + ms;
        let mut seen = Vec::new();
        while self.wake_ms <= end_ms {
            self.now_ms = self.wake_ms;
            seen.extend(self.step(Input::Tick).into_iter().map(|effect| (self.now_ms, effect)));
        }
        self.now_ms = end_ms;
        seen
    }
}

fn set(liveness: Liveness) -> Effect {
    Effect::SetLiveness { node: OTHER, liveness }
}

fn in_use(other: u64) -> Verdict {
    Verdict::IdentityInUse { other: Incarnation(other), addrs: vec![format!("host-{other}:1")] }
}

#[test]
fn a_refused_run_is_displaced_unless_it_was_accepted_within_a_lease() {
    let config = Config { lease_ms: 100, ..Config::default() };
    assert!(config.is_displaced(None));
    assert!(!config.is_displaced(Some(99)));
    assert!(config.is_displaced(Some(100)));
}

#[test]
fn a_silent_member_is_lost_after_lease_and_grace_and_its_return_is_noticed() {
    let mut bench = Bench::leading(Liveness::Alive);
    assert_eq!(bench.hear(1), Verdict::Welcome);
    let heard_ms = bench.now_ms;
    assert_eq!(bench.detector.heard_ms_ago(OTHER, heard_ms + 9), Some(9));
    let seen = bench.pass(CONFIG.lease_ms + CONFIG.grace_ms);
    assert_eq!(seen, [(heard_ms + CONFIG.lease_ms + CONFIG.grace_ms, set(Liveness::Lost))]);
    let lost = Input::MemberChanged { node: OTHER, liveness: Some(Liveness::Lost) };
    assert_eq!(bench.step(lost), []);
    assert_eq!(bench.pass(60_000), [], "it is said once");

    let addrs = vec![];
    let incarnation = Incarnation(1);
    let out = bench.step(Input::Heartbeat { node: OTHER, incarnation, addrs });
    assert!(out.contains(&set(Liveness::Alive)), "{out:?}");
}

#[test]
fn an_uncommitted_judgement_is_repeated_after_its_deadline() {
    let mut bench = Bench::leading(Liveness::Alive);
    let seen = bench.pass(CONFIG.lease_ms + CONFIG.grace_ms + 2 * CONFIG.proposal_timeout_ms);
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1].0 - seen[0].0, CONFIG.proposal_timeout_ms);
}

#[test]
fn a_new_leader_grants_everyone_a_full_lease_and_grace() {
    let mut bench = Bench::leading(Liveness::Alive);
    let began_ms = bench.now_ms;
    let seen = bench.pass(CONFIG.lease_ms + CONFIG.grace_ms);
    assert_eq!(seen[0].0, began_ms + CONFIG.lease_ms + CONFIG.grace_ms);
    assert_eq!(bench.detector.heard_ms_ago(OTHER, bench.now_ms), None);
}

#[test]
fn a_lost_member_is_not_called_back_by_a_change_of_leader() {
    let mut bench = Bench::leading(Liveness::Lost);
    assert_eq!(bench.pass(100_000), []);
}

#[test]
fn the_leader_is_there_whatever_was_committed() {
    let mut bench = Bench::leading(Liveness::Lost);
    let lost = Input::MemberChanged { node: LEADER, liveness: Some(Liveness::Lost) };
    let back = Effect::SetLiveness { node: LEADER, liveness: Liveness::Alive };
    assert_eq!(bench.step(lost), [back]);
}

#[test]
fn a_goodbye_ends_the_lease_at_once_and_a_broken_connection_soon() {
    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(1);
    let said_ms = bench.now_ms;
    bench.step(Input::Goodbye { node: OTHER, incarnation: Incarnation(1) });
    assert_eq!(bench.pass(20_000)[0].0, said_ms + CONFIG.grace_ms);

    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(1);
    let broke_ms = bench.now_ms;
    bench.step(Input::Disconnected { node: OTHER });
    let lost_ms = broke_ms + 2 * CONFIG.interval_ms + CONFIG.grace_ms;
    assert_eq!(bench.pass(20_000)[0].0, lost_ms);

    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(1);
    bench.step(Input::Disconnected { node: OTHER });
    bench.pass(CONFIG.interval_ms);
    let heard_ms = bench.now_ms;
    bench.hear(1);
    let lost_ms = heard_ms + CONFIG.lease_ms + CONFIG.grace_ms;
    assert_eq!(bench.pass(20_000)[0].0, lost_ms, "a heartbeat over another connection renews it");
}

#[test]
fn a_late_goodbye_of_an_earlier_run_changes_nothing() {
    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(2);
    bench.step(Input::Goodbye { node: OTHER, incarnation: Incarnation(1) });
    assert_eq!(bench.pass(CONFIG.lease_ms + CONFIG.grace_ms - 1), []);
}

#[test]
fn a_leaving_member_stays_so_however_silent() {
    let mut bench = Bench::leading(Liveness::Draining);
    let seen = bench.pass(100_000);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].1, Effect::Note(Note::SilentWhileLeaving { node: OTHER }));
}

#[test]
fn of_two_live_runs_the_first_stays_and_the_newer_is_told_to_stop() {
    let mut bench = Bench::leading(Liveness::Alive);
    assert_eq!(bench.hear(1), Verdict::Welcome);
    assert!(matches!(bench.hear(2), Verdict::Wait { .. }), "the first may just have ended");
    bench.pass(500);
    assert_eq!(bench.hear(1), Verdict::Welcome);
    assert_eq!(bench.hear(2), in_use(1), "both are alive");
    // When the first one ends after all, the newer one may take over.
    bench.pass(2 * CONFIG.interval_ms + 1);
    assert_eq!(bench.hear(2), Verdict::Welcome);
    assert_eq!(bench.hear(1), in_use(2), "an older run never comes back");
}

#[test]
fn a_quick_restart_waits_for_two_intervals_of_silence_and_then_takes_over() {
    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(1);
    let Verdict::Wait { retry_ms } = bench.hear(2) else { panic!("too early") };
    bench.pass(retry_ms - 1);
    assert!(matches!(bench.hear(2), Verdict::Wait { .. }));
    bench.pass(1);
    assert_eq!(bench.hear(2), Verdict::Welcome);
    assert_eq!(bench.detector.incarnation(OTHER), Some(Incarnation(2)));
}

#[test]
fn a_restart_after_a_goodbye_or_a_broken_connection_is_welcome_at_once() {
    for ended in [
        Input::Goodbye { node: OTHER, incarnation: Incarnation(1) },
        Input::Disconnected { node: OTHER },
    ] {
        let mut bench = Bench::leading(Liveness::Alive);
        bench.hear(1);
        bench.step(ended);
        assert_eq!(bench.hear(2), Verdict::Welcome);
    }
}

#[test]
fn a_leader_that_slept_blames_nobody() {
    let mut bench = Bench::leading(Liveness::Alive);
    bench.hear(1);
    bench.now_ms += 100 * CONFIG.lease_ms;
    let out = bench.step(Input::Tick);
    assert_eq!(out, [Effect::Note(Note::Overslept { gap_ms: 100 * CONFIG.lease_ms })]);
    let seen = bench.pass(CONFIG.lease_ms + CONFIG.grace_ms);
    assert_eq!(seen.last().unwrap().1, set(Liveness::Lost), "but silence from now on counts");
}

#[test]
fn strangers_and_the_removed_are_no_members_and_followers_judge_nobody() {
    let mut bench = Bench::leading(Liveness::Alive);
    bench.step(Input::MemberChanged { node: OTHER, liveness: None });
    assert_eq!(bench.hear(1), Verdict::NotAMember);
    assert_eq!(bench.pass(100_000), []);
    bench.step(Input::MemberChanged { node: OTHER, liveness: Some(Liveness::Alive) });
    assert_eq!(bench.hear(1), Verdict::Welcome, "one that joins gets a lease");
    bench.step(Input::LostLeadership);
    assert_eq!(bench.step(Input::Tick), []);
    assert_eq!(bench.hear(1), Verdict::NotAMember);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nobody_who_is_heard_within_the_lease_is_ever_declared_lost(
        gaps in prop::collection::vec(1u64..CONFIG.lease_ms + CONFIG.grace_ms, 1..60),
    ) {
        let mut bench = Bench::leading(Liveness::Alive);
        for gap_ms in gaps {
            let seen = bench.pass(gap_ms);
            prop_assert!(!seen.iter().any(|(_, effect)| *effect == set(Liveness::Lost)));
            prop_assert_eq!(bench.hear(1), Verdict::Welcome);
        }
    }

    #[test]
    fn at_no_time_are_two_runs_welcome(
        words in prop::collection::vec((0u64..4, 0u64..1_500), 1..80),
    ) {
        // After a newer run was welcome, no older one is; and between two welcomes of different runs
        // there is silence of the first, or its end.
        let mut bench = Bench::leading(Liveness::Alive);
        let mut newest = 0;
        let mut heard_ms = 0;
        for (incarnation, gap_ms) in words {
            bench.pass(gap_ms);
            if bench.hear(incarnation) == Verdict::Welcome {
                prop_assert!(incarnation >= newest);
                if incarnation > newest && heard_ms > 0 {
                    prop_assert!(bench.now_ms - heard_ms > 2 * CONFIG.interval_ms);
                }
                newest = incarnation;
                heard_ms = bench.now_ms;
            }
        }
    }
}
