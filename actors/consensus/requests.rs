//! Requests between their arrival and their outcome: many into one entry, each answered once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::{Command, Entry, Outcome, RequestId};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use tokio::sync::oneshot;

use super::ProposeError;

/// Proposals that may wait for their outcome.
const WAITING_MAX: usize = 65_536;
/// Bytes of commands that go into one entry, well below what an entry may hold.
const ENTRY_BYTES: usize = limits::ENTRY_BYTES_MAX / 2;

/// Entries that are kept until they come back committed; of more, the oldest are decoded like anybody's.
const SENT_MAX: usize = 64;

type Reply = oneshot::Sender<Result<Vec<Outcome>, ProposeError>>;

/// Requests between their arrival and their outcome.
#[derive(Default)]
pub struct Requests {
    queued: VecDeque<(Vec<Command>, Reply)>,
    groups: BTreeMap<u64, Group>,
    by_request: BTreeMap<RequestId, Vec<(u64, usize)>>,
    next_group: u64,
    /// What was proposed here, as it was before it was encoded.
    sent: VecDeque<(Bytes, Entry)>,
}

/// The commands of one proposal.
struct Group {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    reply: Reply,
}

impl Requests {
    /// Takes a proposal in, or answers at once why not.
    pub fn queue(
        &mut self,
        commands: Vec<Command>,
        reply: Reply,
        leads: bool,
        leader: Option<NodeId>,
    ) {
        let refusal = if !leads {
            Some(ProposeError::NotLeader { leader })
        } else if self.groups.len() + self.queued.len() >= WAITING_MAX {
            Some(ProposeError::Overloaded)
        } else {
            None
        };
        match refusal {
            // Whoever asked may have given up.
            Some(refusal) => drop(reply.send(Err(refusal))),
            None => self.queued.push_back((commands, reply)),
        }
    }

    /// The next entries' bytes from everything that waits; each is registered for its outcome.
    pub fn take_entries(&mut self, stamped_ms: u64) -> Vec<Bytes> {
        let mut entries = Vec::new();
        let mut commands = Vec::new();
        let mut size = 0;
        while let Some((next, reply)) = self.queued.pop_front() {
            let len_bytes: usize = next.iter().map(codec::sealed_len).sum();
            if len_bytes > limits::ENTRY_BYTES_MAX - 1024 {
                let _ = reply.send(Err(ProposeError::TooLarge { len_bytes }));
                continue;
            }
            let full = size + len_bytes > ENTRY_BYTES
                || commands.len() + next.len() > limits::ENTRY_COMMANDS_MAX;
            if full && !commands.is_empty() {
                let commands = std::mem::take(&mut commands);
                entries.push(self.seal(Entry { stamped_ms, commands }, size));
                size = 0;
            }
            self.register(&next, reply);
            commands.extend(next);
            size += len_bytes;
        }
        if !commands.is_empty() {
            entries.push(self.seal(Entry { stamped_ms, commands }, size));
        }
        entries
    }

    /// Encodes an entry whose commands take so many bytes, and keeps it for when it comes back.
    fn seal(&mut self, entry: Entry, len_bytes: usize) -> Bytes {
        /// Beside the commands: the envelope, the stamp and their number.
        const HEAD_BYTES: usize = 32;
        let bytes = Bytes::from(codec::seal_sized(Kind::Entry, &entry, len_bytes + HEAD_BYTES));
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((bytes.clone(), entry));
        bytes
    }

    /// What these committed bytes say, if they were proposed here: then they need not be decoded.
    pub fn came_back(&mut self, bytes: &[u8]) -> Option<Entry> {
        let at = self.sent.iter().position(|(sent, _)| sent == bytes)?;
        // Those in front were replaced by another leader's.
        self.sent.drain(..=at).next_back().map(|(_, entry)| entry)
    }

    fn register(&mut self, commands: &[Command], reply: Reply) {
        self.next_group += 1;
        let group = self.next_group;
        for (at, command) in commands.iter().enumerate() {
            self.by_request.entry(command.request).or_default().push((group, at));
        }
        let count = commands.len();
        self.groups.insert(group, Group { outcomes: vec![None; count], missing: count, reply });
    }

    /// An applied command's outcome; the proposal whose last one it is gets its answer.
    pub fn settle(&mut self, request: RequestId, outcome: &Outcome) {
        let Some(waiting) = self.by_request.remove(&request) else { return };
        for (group, at) in waiting {
            let Some(entry) = self.groups.get_mut(&group) else { continue };
            if entry.outcomes[at].replace(outcome.clone()).is_none() {
                entry.missing -= 1;
            }
            if entry.missing == 0
                && let Some(done) = self.groups.remove(&group)
            {
                let outcomes = done.outcomes.into_iter().flatten().collect();
                // Whoever asked may have given up.
                let _ = done.reply.send(Ok(outcomes));
            }
        }
    }

    /// The leadership is gone: nobody here will learn what becomes of what was proposed.
    pub fn lose(&mut self, leader: Option<NodeId>) {
        self.by_request.clear();
        self.sent.clear();
        for (_, group) in std::mem::take(&mut self.groups) {
            // Whoever asked may have given up.
            let _ = group.reply.send(Err(ProposeError::Lost { leader }));
        }
        for (_, reply) in self.queued.drain(..) {
            let _ = reply.send(Err(ProposeError::NotLeader { leader }));
        }
    }

    /// Whether something waits to be proposed.
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }
}

#[cfg(test)]
mod tests;
