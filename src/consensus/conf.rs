//! Who belongs to the group: the configuration and the changes to it, with their own encodings.
//!
//! Raft 0.7 keeps both as protobuf messages. Here they have types of their own, so that protobuf
//! never parses bytes that came from the network or from a disk.

use std::collections::BTreeSet;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb as pb;

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::RaftId;

/// The most members that one configuration may name.
pub const MEMBERS_MAX: usize = 64;
/// The largest context that a membership change may carry, in bytes.
pub const CONTEXT_MAX_BYTES: usize = 64 * 1024;

/// The members of the group at one log index. While `voters_outgoing` is not empty the
/// configuration is joint: a decision needs a majority of both voter sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Members whose votes count.
    pub voters: BTreeSet<RaftId>,
    /// Members that receive the log without a vote.
    pub learners: BTreeSet<RaftId>,
    /// The voters before a joint change.
    pub voters_outgoing: BTreeSet<RaftId>,
    /// Outgoing voters that become learners when the joint configuration ends.
    pub learners_next: BTreeSet<RaftId>,
}

impl ConfState {
    /// The configuration of a group whose only member is `id`.
    pub fn single(id: RaftId) -> Self {
        Self { voters: BTreeSet::from([id]), ..Self::default() }
    }

    /// True while two voter sets must agree.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// True if `id` has a vote in either voter set.
    pub fn is_voter(&self, id: RaftId) -> bool {
        self.voters.contains(&id) || self.voters_outgoing.contains(&id)
    }

    /// True if `id` belongs to the group in any way.
    pub fn contains(&self, id: RaftId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// True if `active` holds a majority of every voter set that must agree.
    pub fn has_quorum(&self, active: &BTreeSet<RaftId>) -> bool {
        let majority = |set: &BTreeSet<RaftId>| {
            set.is_empty() || set.intersection(active).count() > set.len() / 2
        };
        !self.voters.is_empty() && majority(&self.voters) && majority(&self.voters_outgoing)
    }

    /// The configuration as it is stored beside a state checkpoint.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads what [`ConfState::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no valid configuration.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let conf = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(conf)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        for set in [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next] {
            writer.varint(set.len() as u64);
            for id in set {
                writer.varint(id.get());
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let conf = Self {
            voters: read_members(reader, "voters")?,
            learners: read_members(reader, "learners")?,
            voters_outgoing: read_members(reader, "outgoing voters")?,
            learners_next: read_members(reader, "next learners")?,
        };
        conf.validate()?;
        Ok(conf)
    }

    /// The rules that raft's own restore would panic on.
    fn validate(&self) -> Result<(), DecodeError> {
        let invalid = |reason| Err(DecodeError::Invalid { field: "configuration", reason });
        if self.voters.is_empty() && *self != Self::default() {
            return invalid("members without a voter");
        }
        if self.learners.iter().any(|id| self.is_voter(*id)) {
            return invalid("a learner is also a voter");
        }
        if !self.learners_next.is_subset(&self.voters_outgoing) {
            return invalid("a next learner is no outgoing voter");
        }
        if !self.learners_next.is_disjoint(&self.voters) {
            return invalid("a next learner stays a voter");
        }
        Ok(())
    }

    pub(crate) fn to_raft(&self) -> pb::ConfState {
        let list = |set: &BTreeSet<RaftId>| set.iter().map(|id| id.get()).collect::<Vec<_>>();
        let mut conf = pb::ConfState::default();
        conf.set_voters(list(&self.voters));
        conf.set_learners(list(&self.learners));
        conf.set_voters_outgoing(list(&self.voters_outgoing));
        conf.set_learners_next(list(&self.learners_next));
        conf
    }

    /// Raft builds its lists from hash sets; sorted sets make them comparable between nodes.
    pub(crate) fn from_raft(conf: &pb::ConfState) -> Self {
        let set = |ids: &[u64]| ids.iter().filter_map(|id| RaftId::new(*id)).collect();
        Self {
            voters: set(conf.get_voters()),
            learners: set(conf.get_learners()),
            voters_outgoing: set(conf.get_voters_outgoing()),
            learners_next: set(conf.get_learners_next()),
        }
    }
}

fn read_members(reader: &mut Reader, field: &'static str) -> Result<BTreeSet<RaftId>, DecodeError> {
    let count = reader.varint(field, MEMBERS_MAX as u64)?;
    let mut set = BTreeSet::new();
    for _ in 0..count {
        let id = reader.id(field)?;
        if set.last().is_some_and(|last| *last >= id) {
            return Err(DecodeError::Invalid { field, reason: "the members are not ascending" });
        }
        set.insert(id);
    }
    Ok(set)
}

/// What happens to one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRole {
    /// It becomes (or is added as) a voter.
    Voter,
    /// It becomes (or is added as) a learner; for a voter this is the demotion before removal.
    Learner,
    /// It leaves the group.
    Removed,
}

/// A change of the configuration. It takes effect when its entry is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChange {
    /// One member changes; no joint configuration is needed.
    Simple {
        /// Who.
        member: RaftId,
        /// Into what.
        role: MemberRole,
    },
    /// Several members change together; the group stays joint until [`MembershipChange::LeaveJoint`].
    EnterJoint {
        /// Who becomes what.
        members: Vec<(RaftId, MemberRole)>,
    },
    /// Ends a joint configuration.
    LeaveJoint,
}

impl MembershipChange {
    /// The members that change, in the order of the change.
    pub fn members(&self) -> Vec<(RaftId, MemberRole)> {
        match self {
            Self::Simple { member, role } => vec![(*member, *role)],
            Self::EnterJoint { members } => members.clone(),
            Self::LeaveJoint => Vec::new(),
        }
    }
}

/// Identifies one proposal of a membership change. Raft replaces a change that comes at the wrong
/// moment by an empty entry without telling the proposer, so each proposal carries a number that
/// its applied entry is recognised by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u128);

/// A membership change together with what the proposer attached to it: the payload of a
/// membership entry in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipEntry {
    /// The change.
    pub change: MembershipChange,
    /// The proposer's number for it.
    pub request: RequestId,
    /// Opaque bytes of the application, applied together with the change.
    pub context: Bytes,
}

const SIMPLE: u8 = 0;
const ENTER_JOINT: u8 = 1;
const LEAVE_JOINT: u8 = 2;

impl MembershipEntry {
    /// The payload as it stands in the log and on the wire.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(self.context.len() + 48);
        writer.u8(match self.change {
            MembershipChange::Simple { .. } => SIMPLE,
            MembershipChange::EnterJoint { .. } => ENTER_JOINT,
            MembershipChange::LeaveJoint => LEAVE_JOINT,
        });
        let members = self.change.members();
        writer.varint(members.len() as u64);
        for (id, role) in members {
            writer.varint(id.get());
            writer.u8(role as u8);
        }
        writer.fixed(&self.request.0.to_be_bytes());
        writer.bytes(&self.context);
        writer.finish()
    }

    /// Reads what [`MembershipEntry::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no valid change.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("membership change")?;
        let count = reader.varint("changed members", MEMBERS_MAX as u64)?;
        let mut members = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let id = reader.id("changed member")?;
            let role = match reader.u8("member role")? {
                0 => MemberRole::Voter,
                1 => MemberRole::Learner,
                2 => MemberRole::Removed,
                other => {
                    return Err(DecodeError::Unknown { field: "member role", value: other.into() });
                }
            };
            members.push((id, role));
        }
        let change = match (kind, members.as_slice()) {
            (SIMPLE, [(member, role)]) => MembershipChange::Simple { member: *member, role: *role },
            (ENTER_JOINT, [_, ..]) => MembershipChange::EnterJoint { members },
            (LEAVE_JOINT, []) => MembershipChange::LeaveJoint,
            (SIMPLE | ENTER_JOINT | LEAVE_JOINT, _) => {
                let reason = "the number of members does not fit the kind of change";
                return Err(DecodeError::Invalid { field: "changed members", reason });
            }
            (other, _) => {
                let field = "membership change";
                return Err(DecodeError::Unknown { field, value: other.into() });
            }
        };
        let request = RequestId(u128::from_be_bytes(reader.array("request id")?));
        let context = reader.bytes("membership context", CONTEXT_MAX_BYTES)?;
        reader.finish()?;
        Ok(Self { change, request, context })
    }

    pub(crate) fn to_raft(&self) -> pb::ConfChangeV2 {
        let mut change = pb::ConfChangeV2::default();
        change.set_transition(match self.change {
            MembershipChange::EnterJoint { .. } => pb::ConfChangeTransition::Explicit,
            _ => pb::ConfChangeTransition::Auto,
        });
        for (id, role) in self.change.members() {
            let mut single = pb::ConfChangeSingle::default();
            single.set_node_id(id.get());
            single.set_change_type(match role {
                MemberRole::Voter => pb::ConfChangeType::AddNode,
                MemberRole::Learner => pb::ConfChangeType::AddLearnerNode,
                MemberRole::Removed => pb::ConfChangeType::RemoveNode,
            });
            change.mut_changes().push(single);
        }
        change.set_context(self.encode());
        change
    }

    /// The form in which raft keeps the change inside an entry.
    pub(crate) fn to_raft_bytes(&self) -> Bytes {
        self.to_raft()
            .write_to_bytes()
            .expect("a message without required fields always encodes")
            .into()
    }

    /// The change inside a raft entry that this package made. The context carries the whole
    /// payload, so what raft shows and what the log holds can't drift apart.
    pub(crate) fn from_raft_bytes(data: &[u8]) -> Result<Self, DecodeError> {
        let mut change = pb::ConfChangeV2::default();
        change.merge_from_bytes(data).map_err(|_| DecodeError::Invalid {
            field: "membership entry",
            reason: "raft's own form does not parse",
        })?;
        Self::decode(change.take_context())
    }
}

#[cfg(test)]
mod tests;
