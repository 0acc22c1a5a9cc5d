//! Changes as followers receive them, and the hash by which they check that they have missed nothing.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::id::{Cid, NodeId};
use crate::member::Member;
use crate::pin::SharedPin;

/// Sum of all items' hashes modulo 2^256: order does not matter, and an item is taken out by subtraction.
/// (Multiset hashing by addition: Clarke et al., ASIACRYPT 2003.)
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct SetHash([u64; 4]);

impl SetHash {
    /// Hash of one item. `None`, the absent item, is zero.
    pub fn of_member(member: Option<&Member>) -> Self {
        member.map_or(Self::default(), |member| Self::of(1, &codec::seal(Kind::Item, member)))
    }

    /// Hash of one item. `None`, the absent item, is zero.
    pub fn of_pin(pin: Option<&SharedPin>) -> Self {
        pin.map_or(Self::default(), |pin| Self::of(2, pin.as_bytes()))
    }

    fn of(table: u8, item: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let digest = hasher.update(&[table]).update(item).finalize();
        let mut words = [0u64; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_bytes().chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        Self(words)
    }

    /// The set with an item's old form replaced by its new one.
    #[must_use]
    pub fn replace(self, old: Self, new: Self) -> Self {
        self.minus(old).plus(new)
    }

    fn plus(self, other: Self) -> Self {
        let mut out = [0u64; 4];
        let mut carry = false;
        for (i, word) in out.iter_mut().enumerate() {
            let (sum, over) = self.0[i].overflowing_add(other.0[i]);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = over || over_carry;
        }
        Self(out)
    }

    fn minus(self, other: Self) -> Self {
        let mut out = [0u64; 4];
        let mut borrow = false;
        for (i, word) in out.iter_mut().enumerate() {
            let (difference, under) = self.0[i].overflowing_sub(other.0[i]);
            let (difference, under_borrow) = difference.overflowing_sub(u64::from(borrow));
            *word = difference;
            borrow = under || under_borrow;
        }
        Self(out)
    }

    /// The first 8 bytes, as shown to people.
    pub fn short(self) -> String {
        hex::encode(self.0[0].to_le_bytes())
    }
}

/// One item's change.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Change {
    /// A member came, changed or went.
    Member {
        /// Its number.
        node: NodeId,
        /// Hash of what stood there.
        old: SetHash,
        /// What stands there now.
        new: Option<Box<Member>>,
    },
    /// A pin came, changed or went.
    Pin {
        /// Its root.
        cid: Cid,
        /// Hash of what stood there.
        old: SetHash,
        /// What stands there now.
        new: Option<SharedPin>,
    },
}

impl Change {
    /// No less than its encoded size, without encoding it.
    pub fn size_bytes_max(&self) -> usize {
        // Numbers take 9 bytes at most, and lengths, tags and optional ones likewise.
        const NUMBER: usize = 9;
        const HASH: usize = 4 * NUMBER;
        match self {
            Self::Member { new, .. } => 2 * NUMBER + HASH + codec::sealed_len(new),
            Self::Pin { cid, new, .. } => {
                let pin = new.as_ref().map_or(0, |pin| NUMBER + pin.as_bytes().len());
                3 * NUMBER + cid.as_bytes().len() + HASH + pin
            }
        }
    }

    /// The set hash after this change.
    pub fn fold(&self, hash: SetHash) -> SetHash {
        match self {
            Self::Member { old, new, .. } => hash.replace(*old, SetHash::of_member(new.as_deref())),
            Self::Pin { old, new, .. } => hash.replace(*old, SetHash::of_pin(new.as_ref())),
        }
    }
}

/// What happened in the log range `[from, to]`. A follower at `from - 1` becomes one at `to`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Delta {
    /// The cluster's history epoch.
    pub epoch: u64,
    /// First log index covered.
    pub from: u64,
    /// Last log index covered.
    pub to: u64,
    /// Committed time at `to`, in milliseconds.
    pub clock_ms: u64,
    /// The items that changed, in order.
    pub changes: Vec<Change>,
    /// The whole set's hash at `to`.
    pub hash: SetHash,
}

/// The leader's regular word: where the log is. Gossiped, and in every heartbeat's answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Beacon {
    /// The cluster's history epoch.
    pub epoch: u64,
    /// Raft term of the leader.
    pub term: u64,
    /// The leader.
    pub leader: NodeId,
    /// Last applied index.
    pub index: u64,
    /// The set's hash there.
    pub hash: SetHash,
    /// Committed time, in milliseconds.
    pub clock_ms: u64,
}

#[cfg(test)]
mod tests;
