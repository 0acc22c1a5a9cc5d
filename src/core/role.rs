//! Which role child a node runs: follows the committed role, one ordered swap at a time.
//!
//! The role is decided by the cluster and committed; here it is only carried out. A swap takes time (the
//! old child stops in order, the new one starts), so decisions that come meanwhile wait, and only the last
//! of them counts. A node that still has a place in Raft keeps its master child: without it nobody would
//! serve what the voters promise.

use crate::member::{Member, RaftStanding, Role};

/// First wait before a swap that failed is tried again; doubles.
const RETRY_MS: u64 = 1_000;
/// Longest such wait.
const RETRY_MS_MAX: u64 = 60_000;

/// What the machine is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The node's own entry in the registry, as committed.
    Committed {
        /// Its role.
        role: Role,
        /// Its place in Raft.
        raft: RaftStanding,
    },
    /// The swap is done: this child runs.
    Swapped {
        /// Its role.
        role: Role,
    },
    /// The swap failed: no role child runs.
    Failed,
    /// The time asked for by [`Effect::WakeAt`] has come.
    Tick,
}

impl Input {
    /// The node's own entry in the registry.
    pub fn of(member: &Member) -> Self {
        Self::Committed { role: member.spec.role, raft: member.raft }
    }
}

/// What the machine wishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Stop the child `from`, if one runs, then start `to`; answer with [`Input::Swapped`] or
    /// [`Input::Failed`].
    Swap {
        /// What runs now.
        from: Option<Role>,
        /// What shall run.
        to: Role,
    },
    /// The committed role can't be taken on yet.
    Held {
        /// The role that was committed.
        role: Role,
        /// The place in Raft that stands against it.
        raft: RaftStanding,
    },
    /// Call again at this time.
    WakeAt(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Child {
    Running(Role),
    Swapping {
        to: Role,
    },
    /// Nothing runs; not before this time is it tried again.
    Down {
        retry_ms: u64,
    },
}

/// The machine; see the module.
#[derive(Debug)]
pub struct RoleSwitch {
    child: Child,
    committed: Option<(Role, RaftStanding)>,
    held: Option<(Role, RaftStanding)>,
    failures: u32,
}

impl RoleSwitch {
    /// A node whose tree started with this role child.
    pub fn running(role: Role) -> Self {
        Self { child: Child::Running(role), committed: None, held: None, failures: 0 }
    }

    /// Takes one input; emits at most two effects.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Effect>) {
        match (input, self.child) {
            (Input::Committed { role, raft }, _) => self.committed = Some((role, raft)),
            (Input::Swapped { role }, Child::Swapping { to }) if role == to => {
                self.failures = 0;
                self.child = Child::Running(role);
            }
            (Input::Failed, Child::Swapping { .. }) => {
                let wait_ms = RETRY_MS.saturating_mul(1 << self.failures.min(20));
                self.failures = self.failures.saturating_add(1);
                let retry_ms = now_ms.saturating_add(wait_ms.min(RETRY_MS_MAX));
                self.child = Child::Down { retry_ms };
                out.push(Effect::WakeAt(retry_ms));
            }
            _ => {}
        }
        self.act(now_ms, out);
    }

    /// The role child that runs; `None` in the middle of a swap or after a failed one.
    pub fn role(&self) -> Option<Role> {
        match self.child {
            Child::Running(role) => Some(role),
            Child::Swapping { .. } | Child::Down { .. } => None,
        }
    }

    fn act(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let Some((role, raft)) = self.committed else { return };
        let from = match self.child {
            Child::Running(running) if running != role => Some(running),
            Child::Down { retry_ms } if retry_ms <= now_ms => None,
            _ => return,
        };
        if role != Role::Master && raft != RaftStanding::None && from == Some(Role::Master) {
            if self.held != Some((role, raft)) {
                self.held = Some((role, raft));
                out.push(Effect::Held { role, raft });
            }
            return;
        }
        self.held = None;
        self.child = Child::Swapping { to: role };
        out.push(Effect::Swap { from, to: role });
    }
}

#[cfg(test)]
mod tests;
