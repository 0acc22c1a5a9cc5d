//! Applying one entry: mechanical, total, the same everywhere.

use super::window::Recall;
use super::{Applied, ClusterState, TokenRecord, Window};
use crate::command::{Command, Entry, Op, Outcome, Placed, Refusal, RequestId};
use crate::delta::{Change, SetHash};
use crate::id::{Cid, ClusterId, NodeId, TokenId};
use crate::limits;
use crate::member::{Liveness, Member, MemberSpec, RaftStanding, Role};
use crate::pin::{Pin, PinSpec, Replica, ReplicaReport, ReplicaState, Replicas, SharedPin};

/// Where an entry stands: some commands are valid only beside a Raft membership change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// An ordinary entry.
    Normal,
    /// The context of a Raft membership change.
    MembershipChange,
}

type Verdict = Result<Outcome, Refusal>;

impl ClusterState {
    /// Applies the entry at `index`, which must be the next one (an empty Raft entry is
    /// [`ClusterState::skip`]ped). Outcomes come in the commands' order.
    pub fn apply(&mut self, index: u64, entry: &Entry, standing: Standing) -> Applied {
        self.index = index;
        self.clock_ms = self.clock_ms.max(entry.stamped_ms);
        let mut applied = Applied::default();
        for command in &entry.commands {
            let outcome = self.run(command, standing, &mut applied.changes);
            applied.outcomes.push((command.request, outcome));
        }
        applied
    }

    /// Moves past an entry that says nothing.
    pub fn skip(&mut self, index: u64) {
        self.index = index;
    }

    fn run(&mut self, command: &Command, standing: Standing, out: &mut Vec<Change>) -> Outcome {
        if let Some(outcome) = self.recall(command.request).answer() {
            return outcome;
        }
        let outcome = self.execute(&command.op, standing, out).unwrap_or_else(Outcome::Refused);
        self.remember(command.request, outcome.clone());
        outcome
    }

    fn execute(&mut self, op: &Op, standing: Standing, out: &mut Vec<Change>) -> Verdict {
        match op {
            Op::Found { cluster, first } => self.found(*cluster, first, out),
            Op::CreateToken { token, secret_hash, role_cap, expires_ms } => {
                self.create_token(*token, *secret_hash, *role_cap, *expires_ms)
            }
            Op::RevokeToken { token } => {
                self.tokens.remove(token).ok_or(Refusal::UnknownToken)?;
                self.done()
            }
            Op::Join { token, secret_hash, spec } => self.join(*token, secret_hash, spec, out),
            Op::Register { node, spec } => self.register(*node, spec, out),
            Op::SetLiveness { node, liveness } => {
                let at_ms = self.clock_ms;
                self.edit_member(*node, out, |member| {
                    if member.liveness != *liveness {
                        member.liveness = *liveness;
                        member.since_ms = at_ms;
                    }
                })
            }
            Op::SetRole { node, role } => self.set_role(*node, *role, out),
            Op::SetRaft { node, standing: raft } => {
                if standing != Standing::MembershipChange {
                    return Err(Refusal::OutsideMembershipChange);
                }
                self.edit_member(*node, out, |member| member.raft = *raft)
            }
            Op::Remove { node } => self.remove_member(*node, out),
            Op::Pin { spec, holders } => self.pin(spec, holders, out),
            Op::Unpin { cid } => {
                if !self.pins.contains_key(cid) {
                    return Err(Refusal::NotPinned { cid: cid.clone() });
                }
                self.put_pin(cid, None, out);
                self.done()
            }
            Op::Reassign { cid, revision, add, remove } => {
                self.reassign(cid, *revision, add, remove, out)
            }
            Op::Report { node, items } => self.report(*node, items, out),
            Op::Expire => self.expire(out),
            Op::PinMany { pins } => self.pin_many(pins, out),
        }
    }

    fn done(&self) -> Verdict {
        Ok(Outcome::Done { index: self.index })
    }

    fn found(&mut self, cluster: ClusterId, first: &MemberSpec, out: &mut Vec<Change>) -> Verdict {
        if self.cluster.is_some() {
            return Err(Refusal::AlreadyFounded);
        }
        check_spec(first)?;
        self.cluster = Some(cluster);
        self.epoch = 1;
        self.admit(first, RaftStanding::Voter, out)
    }

    fn create_token(
        &mut self,
        token: TokenId,
        secret_hash: [u8; 32],
        role_cap: Role,
        expires_ms: u64,
    ) -> Verdict {
        // A second one would forget whom the first one admitted.
        if self.tokens.contains_key(&token) {
            return Err(out_of_bounds("the token's id", "it must be new"));
        }
        if self.tokens.len() >= limits::TOKENS_MAX {
            return Err(out_of_bounds("join tokens", "at most 1024 exist at once; revoke some"));
        }
        if expires_ms > self.clock_ms.saturating_add(limits::TOKEN_LIFE_MS_MAX) {
            return Err(out_of_bounds("token expiry", "at most 30 days ahead"));
        }
        let record = TokenRecord { secret_hash, role_cap, expires_ms, used_by: None };
        self.tokens.insert(token, record);
        self.done()
    }

    fn join(
        &mut self,
        token: TokenId,
        secret_hash: &[u8; 32],
        spec: &MemberSpec,
        out: &mut Vec<Change>,
    ) -> Verdict {
        check_spec(spec)?;
        let record = self.tokens.get(&token).ok_or(Refusal::UnknownToken)?;
        if record.secret_hash != *secret_hash {
            return Err(Refusal::WrongSecret);
        }
        if let Some(node) = record.used_by {
            return match self.members.get(&node) {
                Some(member) if member.spec.key == spec.key => {
                    Ok(Outcome::Admitted { node, index: self.index })
                }
                _ => Err(Refusal::TokenUsed),
            };
        }
        if record.expires_ms <= self.clock_ms {
            return Err(Refusal::TokenExpired);
        }
        if spec.role > record.role_cap {
            return Err(Refusal::RoleAboveCap { asked: spec.role, cap: record.role_cap });
        }
        if self.removed.contains_key(&spec.key) {
            return Err(Refusal::RemovedIdentity);
        }
        if let Some(member) = self.member_by_key(&spec.key) {
            return Err(Refusal::AlreadyMember { node: member.id });
        }
        let outcome = self.admit(spec, RaftStanding::None, out)?;
        if let (Outcome::Admitted { node, .. }, Some(record)) =
            (&outcome, self.tokens.get_mut(&token))
        {
            record.used_by = Some(*node);
        }
        Ok(outcome)
    }

    fn admit(&mut self, spec: &MemberSpec, raft: RaftStanding, out: &mut Vec<Change>) -> Verdict {
        if self.members.len() >= limits::MEMBERS_MAX {
            return Err(out_of_bounds("members", "at most 4096"));
        }
        self.check_masters(spec.role)?;
        self.next_node += 1;
        let id = NodeId(self.next_node);
        let member = Member {
            id,
            spec: spec.clone(),
            raft,
            liveness: Liveness::Alive,
            joined_index: self.index,
            since_ms: self.clock_ms,
        };
        self.put_member(id, Some(member), out);
        Ok(Outcome::Admitted { node: id, index: self.index })
    }

    fn check_masters(&self, role: Role) -> Result<(), Refusal> {
        let masters = self.members.values().filter(|m| m.spec.role == Role::Master).count();
        if role == Role::Master && masters >= limits::MASTERS_MAX {
            return Err(out_of_bounds("masters", "at most 7; join as a worker"));
        }
        Ok(())
    }

    fn register(&mut self, node: NodeId, spec: &MemberSpec, out: &mut Vec<Change>) -> Verdict {
        check_spec(spec)?;
        let member = self.members.get(&node).ok_or(Refusal::UnknownNode { node })?;
        if member.spec.key != spec.key {
            return Err(Refusal::WrongIdentity { node });
        }
        let role = member.spec.role;
        self.edit_member(node, out, |member| {
            member.spec = spec.clone();
            member.spec.role = role;
        })
    }

    fn set_role(&mut self, node: NodeId, role: Role, out: &mut Vec<Change>) -> Verdict {
        let member = self.members.get(&node).ok_or(Refusal::UnknownNode { node })?;
        if member.spec.role != Role::Master {
            self.check_masters(role)?;
        } else if role != Role::Master && member.raft != RaftStanding::None {
            return Err(Refusal::StillInRaft { node });
        }
        self.edit_member(node, out, |member| member.spec.role = role)
    }

    fn remove_member(&mut self, node: NodeId, out: &mut Vec<Change>) -> Verdict {
        let member = self.members.get(&node).ok_or(Refusal::UnknownNode { node })?;
        if member.raft != RaftStanding::None {
            return Err(Refusal::StillInRaft { node });
        }
        self.removed.insert(member.spec.key, node);
        if let Some(window) = self.windows.get_mut(&node) {
            window.close();
        }
        self.put_member(node, None, out);
        self.done()
    }

    fn pin(&mut self, spec: &PinSpec, holders: &[NodeId], out: &mut Vec<Change>) -> Verdict {
        check_pin(spec, holders)?;
        let mut spec = spec.clone();
        let (created_ms, mut replicas) = match self.pins.get(&spec.cid).map(SharedPin::read) {
            Some(pin) => {
                spec.keep_what_is_known(&pin.spec);
                (pin.created_ms, pin.replicas)
            }
            None => (self.clock_ms, Replicas::default()),
        };
        for holder in holders {
            if self.members.contains_key(holder) && !replicas.contains_key(holder) {
                replicas.insert(*holder, assigned(self.index));
            }
        }
        let cid = spec.cid.clone();
        let pin = Pin { spec, created_ms, revision: self.index, replicas };
        self.put_pin(&cid, Some(pin), out);
        self.done()
    }

    fn pin_many(&mut self, pins: &[Placed], out: &mut Vec<Change>) -> Verdict {
        if pins.len() > limits::PIN_MANY_MAX {
            return Err(out_of_bounds("pins", "at most 1024 in one command"));
        }
        let mut refused = Vec::new();
        for (at, Placed { spec, holders }) in pins.iter().enumerate() {
            if let Err(refusal) = self.pin(spec, holders, out) {
                refused.push((at as u32, refusal));
            }
        }
        Ok(Outcome::Each { index: self.index, refused })
    }

    fn reassign(
        &mut self,
        cid: &Cid,
        revision: u64,
        add: &[NodeId],
        remove: &[NodeId],
        out: &mut Vec<Change>,
    ) -> Verdict {
        let pin = self.pins.get(cid).ok_or_else(|| Refusal::NotPinned { cid: cid.clone() })?;
        let mut pin = pin.read();
        if pin.revision != revision {
            return Err(Refusal::StaleRevision);
        }
        for node in remove {
            pin.replicas.remove(node);
        }
        for node in add {
            if self.members.contains_key(node) && pin.replicas.len() < limits::ALLOCATIONS_MAX {
                pin.replicas.insert(*node, assigned(self.index));
            }
        }
        pin.revision = self.index;
        self.put_pin(cid, Some(pin), out);
        self.done()
    }

    fn report(&mut self, node: NodeId, items: &[ReplicaReport], out: &mut Vec<Change>) -> Verdict {
        if items.len() > limits::REPORTS_MAX {
            return Err(out_of_bounds("report", "at most 512 items"));
        }
        for item in items {
            let Some(mut pin) = self.pins.get(&item.cid).map(SharedPin::read) else { continue };
            let current = pin.replicas.get(&node);
            // Another assignment, or nothing new: a late or repeated report changes nothing.
            if current.is_none_or(|r| r.granted != item.granted || r.state == item.state) {
                continue;
            }
            let replica = Replica { granted: item.granted, state: bounded(&item.state) };
            pin.replicas.insert(node, replica);
            self.put_pin(&item.cid, Some(pin), out);
        }
        self.done()
    }

    fn expire(&mut self, out: &mut Vec<Change>) -> Verdict {
        for _ in 0..limits::PAGE_MAX {
            let Some((at_ms, cid)) = self.expiries.first().cloned() else { break };
            if at_ms > self.clock_ms {
                break;
            }
            self.put_pin(&cid, None, out);
        }
        let now_ms = self.clock_ms;
        self.tokens.retain(|_, token| token.expires_ms > now_ms);
        self.done()
    }

    fn edit_member(
        &mut self,
        node: NodeId,
        out: &mut Vec<Change>,
        edit: impl FnOnce(&mut Member),
    ) -> Verdict {
        let mut member = self.members.get(&node).ok_or(Refusal::UnknownNode { node })?.clone();
        edit(&mut member);
        self.put_member(node, Some(member), out);
        self.done()
    }

    fn put_member(&mut self, node: NodeId, new: Option<Member>, out: &mut Vec<Change>) {
        let old = self.members.get(&node);
        if old == new.as_ref() {
            return;
        }
        let shown = new.clone().map(Box::new);
        let change = Change::Member { node, old: SetHash::of_member(old), new: shown };
        self.hash = change.fold(self.hash);
        match new {
            Some(member) => self.members.insert(node, member),
            None => self.members.remove(&node),
        };
        out.push(change);
    }

    fn put_pin(&mut self, cid: &Cid, new: Option<Pin>, out: &mut Vec<Change>) {
        let form = new.as_ref().map(SharedPin::from);
        let (slot, old) = match &form {
            Some(pin) => self.pins.insert(pin.clone()),
            None => match self.pins.remove(cid) {
                Some((slot, old)) => (slot, Some(old)),
                None => return,
            },
        };
        if old == form {
            return;
        }
        if let Some(old) = &old {
            self.unindex(slot, &old.read(), new.as_ref());
        }
        if let Some(new) = &new {
            self.index_pin(slot, new);
        }
        let old = SetHash::of_pin(old.as_ref());
        let change = Change::Pin { cid: cid.clone(), old, new: form };
        self.hash = change.fold(self.hash);
        out.push(change);
    }

    fn recall(&self, request: RequestId) -> Recall {
        let window = self.windows.get(&request.node);
        window.map_or(Recall::New, |window| window.recall(request.incarnation, request.seq))
    }

    fn remember(&mut self, request: RequestId, outcome: Outcome) {
        let fresh = || Window::of(request.incarnation);
        let window = self.windows.entry(request.node).or_insert_with(fresh);
        if request.incarnation > window.incarnation {
            *window = fresh();
        }
        window.keep(request.seq, outcome);
    }
}

fn assigned(index: u64) -> Replica {
    Replica { granted: index, state: ReplicaState::Assigned }
}

fn bounded(state: &ReplicaState) -> ReplicaState {
    match state {
        ReplicaState::Failed { reason } => ReplicaState::failed(reason),
        other => other.clone(),
    }
}

fn out_of_bounds(what: &str, rule: &str) -> Refusal {
    Refusal::OutOfBounds { what: what.into(), rule: rule.into() }
}

fn check_spec(spec: &MemberSpec) -> Result<(), Refusal> {
    if spec.name.is_empty() || spec.name.len() > limits::NODE_NAME_LEN_BYTES_MAX {
        return Err(out_of_bounds("node name", "1 to 64 bytes"));
    }
    if spec.zone.len() > limits::NODE_NAME_LEN_BYTES_MAX {
        return Err(out_of_bounds("zone", "at most 64 bytes"));
    }
    if spec.addrs.len() > limits::ADDRS_MAX
        || spec.addrs.iter().any(|addr| addr.len() > limits::ADDR_LEN_BYTES_MAX)
    {
        return Err(out_of_bounds("addresses", "at most 16 of at most 280 bytes"));
    }
    Ok(())
}

/// The bounds of a pin request; also checked at the door, so that a user hears of it before a commit.
pub fn check_pin(spec: &PinSpec, holders: &[NodeId]) -> Result<(), Refusal> {
    if spec.name.len() > limits::PIN_NAME_LEN_BYTES_MAX {
        return Err(out_of_bounds("pin name", "at most 255 bytes"));
    }
    if spec.replicas_min == 0
        || spec.replicas_min > spec.replicas_max
        || spec.replicas_max > limits::REPLICAS_MAX
    {
        return Err(out_of_bounds("replicas", "1 <= min <= max <= 64"));
    }
    let long = |text: &String| text.len() > limits::PIN_METADATA_LEN_BYTES_MAX;
    if spec.metadata.len() > limits::PIN_METADATA_MAX
        || spec.metadata.iter().any(|(key, value)| long(key) || long(value))
    {
        return Err(out_of_bounds("pin metadata", "at most 32 entries of at most 1024 bytes"));
    }
    if holders.len() > limits::ALLOCATIONS_MAX {
        return Err(out_of_bounds("holders", "at most 128"));
    }
    Ok(())
}
