//! The envelope in which Raft messages travel between members.
//!
//! ```text
//! version u8 | kind u8 | from | to | term | fields of the kind
//! ```
//!
//! Numbers are varints, see [`crate::codec`]. Each kind carries exactly the fields that Raft reads
//! from it, so a message can't smuggle anything else in. Beyond the shape, decoding checks what
//! raft 0.7 takes for granted and would panic on: gaps in appended entries, terms that run
//! backwards, a read without its context. Proposals, leader transfers and Raft's local messages
//! have no encoding: they never cross the network.

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};
use thiserror::Error;

use crate::codec::{DecodeError, INDEX_MAX, Reader, Writer};
use crate::id::RaftId;
use crate::log::{EntryKind, LogEntry};
use crate::snapshot::SnapshotManifest;

const VERSION: u8 = 1;
/// The longest context of a read or heartbeat, in bytes.
const READ_CONTEXT_MAX_BYTES: usize = 64;
/// Raft's mark on a vote request that a leader asked for.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";
/// The most entries in one message; Raft's own size limit of 1 MiB stays below it.
const ENTRIES_MAX: u64 = 262_144;
/// The fewest bytes that one entry takes: kind, term and length.
const ENTRY_MIN_BYTES: usize = 3;

/// Why a message from the network was refused. State is intact after any of these; the same bytes
/// will be refused again. Raft tolerates the loss.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message is longer than the limit.
    #[error("message of {len_bytes} bytes, at most {max_bytes} are allowed")]
    TooLong {
        /// Its length.
        len_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A later version of this program wrote the message.
    #[error("message of format version {version}, this node knows {VERSION}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// The message claims another sender than the connection has authenticated.
    #[error("message from {claimed} came over the connection of {authenticated}")]
    Sender {
        /// The number in the message.
        claimed: RaftId,
        /// The number that the connection belongs to.
        authenticated: RaftId,
    },
    /// The message is meant for another member.
    #[error("message for {to} reached {own}")]
    Recipient {
        /// The number in the message.
        to: RaftId,
        /// The number of this node.
        own: RaftId,
    },
    /// The message is no valid encoding.
    #[error("malformed message")]
    Malformed {
        /// What is wrong with it.
        #[from]
        source: DecodeError,
    },
}

/// What a message is for. A transport sends votes and heartbeats before bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MessageKind {
    /// Asks for a vote in an election.
    RequestVote = 1,
    /// Answers it.
    RequestVoteResponse = 2,
    /// Asks whether an election could be won.
    RequestPreVote = 3,
    /// Answers it.
    RequestPreVoteResponse = 4,
    /// Replicates entries.
    Append = 5,
    /// Answers it.
    AppendResponse = 6,
    /// Shows that the leader lives.
    Heartbeat = 7,
    /// Answers it.
    HeartbeatResponse = 8,
    /// Tells a member to campaign at once.
    TimeoutNow = 9,
    /// Asks the leader for a read index.
    ReadIndex = 10,
    /// Answers it.
    ReadIndexResponse = 11,
    /// Offers a snapshot.
    Snapshot = 12,
}

impl MessageKind {
    const ALL: [(Self, MessageType); 12] = [
        (Self::RequestVote, MessageType::MsgRequestVote),
        (Self::RequestVoteResponse, MessageType::MsgRequestVoteResponse),
        (Self::RequestPreVote, MessageType::MsgRequestPreVote),
        (Self::RequestPreVoteResponse, MessageType::MsgRequestPreVoteResponse),
        (Self::Append, MessageType::MsgAppend),
        (Self::AppendResponse, MessageType::MsgAppendResponse),
        (Self::Heartbeat, MessageType::MsgHeartbeat),
        (Self::HeartbeatResponse, MessageType::MsgHeartbeatResponse),
        (Self::TimeoutNow, MessageType::MsgTimeoutNow),
        (Self::ReadIndex, MessageType::MsgReadIndex),
        (Self::ReadIndexResponse, MessageType::MsgReadIndexResp),
        (Self::Snapshot, MessageType::MsgSnapshot),
    ];

    /// The kind of a raft message; `None` for those that never leave a node.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let own = message.get_msg_type();
        Self::ALL.iter().find(|(_, theirs)| *theirs == own).map(|(kind, _)| *kind)
    }

    fn from_u8(value: u8) -> Result<(Self, MessageType), DecodeError> {
        let known = Self::ALL.iter().find(|(kind, _)| *kind as u8 == value);
        known.copied().ok_or(DecodeError::Unknown { field: "message kind", value: value.into() })
    }
}

/// What a node accepts from the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WireLimits {
    pub message_max_bytes: usize,
    pub entry_max_bytes: usize,
}

/// Encodes a message that raft wants sent.
///
/// # Errors
/// [`DecodeError`] if raft made something that this format does not know; it never does.
pub(crate) fn encode(message: &Message) -> Result<(MessageKind, Bytes), DecodeError> {
    let value = message.get_msg_type() as u64;
    let kind =
        MessageKind::of(message).ok_or(DecodeError::Unknown { field: "raft message", value })?;
    let data_bytes: usize = message.entries.iter().map(|entry| entry.data.len() + 16).sum();
    let mut out = Writer::with_capacity(64 + data_bytes);
    out.u8(VERSION);
    out.u8(kind as u8);
    out.varint(message.from);
    out.varint(message.to);
    out.varint(message.term);
    match kind {
        MessageKind::RequestVote | MessageKind::RequestPreVote => {
            out.varint(message.index);
            out.varint(message.log_term);
            out.varint(message.commit);
            out.varint(message.commit_term);
            out.u8((message.context == CAMPAIGN_TRANSFER).into());
        }
        MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => {
            out.u8(message.reject.into());
            out.varint(message.commit);
            out.varint(message.commit_term);
        }
        MessageKind::Append => {
            out.varint(message.index);
            out.varint(message.log_term);
            out.varint(message.commit);
            encode_entries(&mut out, &message.entries)?;
        }
        MessageKind::AppendResponse => {
            out.varint(message.index);
            out.varint(message.commit);
            out.u8(message.reject.into());
            out.varint(message.reject_hint);
            out.varint(message.log_term);
        }
        MessageKind::Heartbeat | MessageKind::HeartbeatResponse => {
            out.varint(message.commit);
            out.bytes(&message.context);
        }
        MessageKind::TimeoutNow => {}
        MessageKind::ReadIndex | MessageKind::ReadIndexResponse => {
            out.varint(message.index);
            out.bytes(message.entries.first().map_or(&[][..], |entry| &entry.data));
        }
        MessageKind::Snapshot => {
            SnapshotManifest::from_raft(message.get_snapshot())?.write(&mut out)
        }
    }
    Ok((kind, out.finish()))
}

fn encode_entries(out: &mut Writer, entries: &[Entry]) -> Result<(), DecodeError> {
    out.varint(entries.len() as u64);
    for entry in entries {
        let entry = LogEntry::from_raft(entry)?;
        out.u8(entry.kind as u8);
        out.varint(entry.term);
        out.bytes(&entry.data);
    }
    Ok(())
}

/// Decodes and checks a message that arrived over the connection of `authenticated`.
///
/// # Errors
/// [`WireError`]; nothing that fails here reaches raft.
pub(crate) fn decode(
    authenticated: RaftId,
    own: RaftId,
    bytes: Bytes,
    limits: WireLimits,
) -> Result<Message, WireError> {
    if bytes.len() > limits.message_max_bytes {
        let (len_bytes, max_bytes) = (bytes.len(), limits.message_max_bytes);
        return Err(WireError::TooLong { len_bytes, max_bytes });
    }
    let mut input = Reader::new(bytes);
    let version = input.u8("version")?;
    if version != VERSION {
        return Err(WireError::Version { version });
    }
    let (kind, message_type) = MessageKind::from_u8(input.u8("message kind")?)?;
    let claimed = input.id("sender")?;
    if claimed != authenticated {
        return Err(WireError::Sender { claimed, authenticated });
    }
    let to = input.id("recipient")?;
    if to != own {
        return Err(WireError::Recipient { to, own });
    }
    let mut message = Message::default();
    message.set_msg_type(message_type);
    message.from = claimed.get();
    message.to = to.get();
    message.term = input.varint("term", INDEX_MAX)?;
    // Raft takes a message without a term for one of its own; only a read request has none.
    if (message.term == 0) != (kind == MessageKind::ReadIndex) {
        let reason = "only a read request, and every one, comes without a term";
        return Err(DecodeError::Invalid { field: "term", reason }.into());
    }
    decode_fields(kind, &mut message, &mut input, limits)?;
    input.finish()?;
    Ok(message)
}

fn decode_fields(
    kind: MessageKind,
    message: &mut Message,
    input: &mut Reader,
    limits: WireLimits,
) -> Result<(), DecodeError> {
    match kind {
        MessageKind::RequestVote | MessageKind::RequestPreVote => {
            message.index = input.varint("last index", INDEX_MAX)?;
            message.log_term = input.varint("last term", INDEX_MAX)?;
            message.commit = input.varint("commit", INDEX_MAX)?;
            message.commit_term = input.varint("commit term", INDEX_MAX)?;
            if input.flag("transfer")? {
                message.context = Bytes::from_static(CAMPAIGN_TRANSFER);
            }
        }
        MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse => {
            message.reject = input.flag("reject")?;
            message.commit = input.varint("commit", INDEX_MAX)?;
            message.commit_term = input.varint("commit term", INDEX_MAX)?;
        }
        MessageKind::Append => decode_append(message, input, limits)?,
        MessageKind::AppendResponse => {
            message.index = input.varint("index", INDEX_MAX)?;
            message.commit = input.varint("commit", INDEX_MAX)?;
            message.reject = input.flag("reject")?;
            message.reject_hint = input.varint("reject hint", INDEX_MAX)?;
            message.log_term = input.varint("hint term", INDEX_MAX)?;
        }
        MessageKind::Heartbeat | MessageKind::HeartbeatResponse => {
            message.commit = input.varint("commit", INDEX_MAX)?;
            message.context = input.bytes("read context", READ_CONTEXT_MAX_BYTES)?;
        }
        MessageKind::TimeoutNow => {}
        MessageKind::ReadIndex | MessageKind::ReadIndexResponse => {
            message.index = input.varint("read index", INDEX_MAX)?;
            let data = input.bytes("read context", READ_CONTEXT_MAX_BYTES)?;
            if data.is_empty() {
                let reason = "a read needs one";
                return Err(DecodeError::Invalid { field: "read context", reason });
            }
            message.set_entries(vec![Entry { data, ..Entry::default() }].into());
        }
        MessageKind::Snapshot => {
            let manifest = SnapshotManifest::read(input)?;
            if manifest.term > message.term || manifest.source.get() != message.from {
                let reason = "it is newer than its message or held by another member";
                return Err(DecodeError::Invalid { field: "snapshot", reason });
            }
            message.set_snapshot(manifest.to_raft());
        }
    }
    Ok(())
}

fn decode_append(
    message: &mut Message,
    input: &mut Reader,
    limits: WireLimits,
) -> Result<(), DecodeError> {
    message.index = input.varint("previous index", INDEX_MAX)?;
    message.log_term = input.varint("previous term", INDEX_MAX)?;
    message.commit = input.varint("commit", INDEX_MAX)?;
    // Raft finds term zero wherever a log has no entry, so this would match any gap.
    if (message.index == 0) != (message.log_term == 0) {
        let reason = "index and term must be zero together";
        return Err(DecodeError::Invalid { field: "previous term", reason });
    }
    let count = input.varint("entry count", ENTRIES_MAX)? as usize;
    let fit = input.remaining() / ENTRY_MIN_BYTES;
    let mut entries = Vec::with_capacity(count.min(fit));
    let mut last_term = message.log_term;
    for offset in 0..count {
        let kind = input.u8("entry kind")?;
        let kind = EntryKind::from_u8(kind)
            .ok_or(DecodeError::Unknown { field: "entry kind", value: kind.into() })?;
        let term = input.varint("entry term", message.term)?;
        if term < last_term || term == 0 {
            return Err(DecodeError::Invalid {
                field: "entry term",
                reason: "terms run backwards",
            });
        }
        last_term = term;
        let data = input.bytes("entry data", limits.entry_max_bytes)?;
        let index = message.index + 1 + offset as u64;
        entries.push(LogEntry { index, term, kind, data }.into_raft()?);
    }
    message.set_entries(entries.into());
    Ok(())
}

#[cfg(test)]
mod tests;
