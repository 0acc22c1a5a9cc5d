//! One swap at a time, each exactly once, and never away from a place in Raft.

use proptest::prelude::*;

use super::*;

fn committed(role: Role) -> Input {
    Input::Committed { role, raft: RaftStanding::None }
}

fn step(switch: &mut RoleSwitch, now_ms: u64, input: Input) -> Vec<Effect> {
    let mut out = Vec::new();
    switch.step(now_ms, input, &mut out);
    assert!(out.len() <= 2);
    out
}

fn swap(from: Role, to: Role) -> Effect {
    Effect::Swap { from: Some(from), to }
}

#[test]
fn a_committed_role_is_swapped_in_exactly_once() {
    let mut switch = RoleSwitch::running(Role::Leecher);
    assert_eq!(step(&mut switch, 0, committed(Role::Leecher)), []);
    let out = step(&mut switch, 0, committed(Role::Worker));
    assert_eq!(out, [swap(Role::Leecher, Role::Worker)]);
    assert_eq!(step(&mut switch, 0, committed(Role::Worker)), [], "it is on its way");
    assert_eq!(switch.role(), None);
    assert_eq!(step(&mut switch, 0, Input::Swapped { role: Role::Worker }), []);
    assert_eq!(switch.role(), Some(Role::Worker));
    assert_eq!(step(&mut switch, 0, committed(Role::Worker)), []);
}

#[test]
fn decisions_during_a_swap_wait_and_the_last_one_counts() {
    let mut switch = RoleSwitch::running(Role::Leecher);
    step(&mut switch, 0, committed(Role::Worker));
    assert_eq!(step(&mut switch, 0, committed(Role::Leecher)), []);
    assert_eq!(step(&mut switch, 0, committed(Role::Master)), []);
    let out = step(&mut switch, 0, Input::Swapped { role: Role::Worker });
    assert_eq!(out, [swap(Role::Worker, Role::Master)]);
}

#[test]
fn a_voter_keeps_its_master_child_until_it_has_left_raft() {
    let mut switch = RoleSwitch::running(Role::Master);
    let early = Input::Committed { role: Role::Worker, raft: RaftStanding::Voter };
    let held = Effect::Held { role: Role::Worker, raft: RaftStanding::Voter };
    assert_eq!(step(&mut switch, 0, early), [held]);
    assert_eq!(step(&mut switch, 0, early), [], "said once");
    assert_eq!(switch.role(), Some(Role::Master));
    let out = step(&mut switch, 0, committed(Role::Worker));
    assert_eq!(out, [swap(Role::Master, Role::Worker)]);
}

#[test]
fn a_failed_swap_is_tried_again_after_a_growing_wait() {
    let mut switch = RoleSwitch::running(Role::Leecher);
    step(&mut switch, 0, committed(Role::Worker));
    let mut now_ms = 0;
    let mut waits = Vec::new();
    for _ in 0..9 {
        let out = step(&mut switch, now_ms, Input::Failed);
        let [Effect::WakeAt(retry_ms)] = out[..] else { panic!("{out:?}") };
        assert_eq!(step(&mut switch, retry_ms - 1, Input::Tick), []);
        let out = step(&mut switch, retry_ms, Input::Tick);
        assert_eq!(out, [Effect::Swap { from: None, to: Role::Worker }]);
        waits.push(retry_ms - now_ms);
        now_ms = retry_ms;
    }
    assert_eq!(waits[..3], [1_000, 2_000, 4_000]);
    assert_eq!(waits[8], RETRY_MS_MAX);
}

#[test]
fn a_word_about_another_swap_is_ignored() {
    let mut switch = RoleSwitch::running(Role::Leecher);
    assert_eq!(step(&mut switch, 0, Input::Swapped { role: Role::Master }), []);
    assert_eq!(step(&mut switch, 0, Input::Failed), []);
    assert_eq!(switch.role(), Some(Role::Leecher));
}

/// A tree that carries out swaps, one at a time.
struct Tree {
    switch: RoleSwitch,
    running: Option<Role>,
    swapping: Option<Role>,
    now_ms: u64,
}

impl Tree {
    fn feed(&mut self, input: Input) {
        self.now_ms += RETRY_MS_MAX;
        for effect in step(&mut self.switch, self.now_ms, input) {
            if let Effect::Swap { from, to } = effect {
                assert_eq!(self.swapping, None, "two swaps at once");
                assert_eq!(from, self.running);
                self.running = None;
                self.swapping = Some(to);
            }
        }
    }

    fn finish(&mut self) {
        match self.swapping.take() {
            Some(role) => {
                self.running = Some(role);
                self.feed(Input::Swapped { role });
            }
            None => self.feed(Input::Tick),
        }
    }

    fn fail(&mut self) {
        if self.swapping.take().is_some() {
            self.feed(Input::Failed);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_decided_the_last_role_runs_in_the_end(
        events in prop::collection::vec((0usize..3, 0u8..4), 1..40),
    ) {
        let leecher = Role::Leecher;
        let switch = RoleSwitch::running(leecher);
        let mut tree = Tree { switch, running: Some(leecher), swapping: None, now_ms: 0 };
        let mut last = leecher;
        for (role, end) in events {
            last = [Role::Leecher, Role::Worker, Role::Master][role];
            tree.feed(committed(last));
            match end {
                0 => tree.finish(),
                1 => tree.fail(),
                _ => {}
            }
        }
        for _ in 0..3 {
            tree.finish();
        }
        prop_assert_eq!((tree.running, tree.switch.role()), (Some(last), Some(last)));
        prop_assert_eq!(tree.swapping, None);
    }
}
