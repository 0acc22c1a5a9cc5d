//! Who belongs to the cluster, and what each member may do.
//!
//! The registry is the allow-list: a peer that is not in it reaches the join protocol and nothing
//! else. The caller replaces it as a whole whenever the committed one changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::BitOr;
use std::sync::{Arc, PoisonError, RwLock};

use libp2p::PeerId;

use crate::addr::NetAddr;
use crate::gossip::Topic;
use crate::identity::PeerKey;

#[cfg(test)]
mod tests;

/// How many addresses of one member are used; later ones are ignored.
pub const MAX_ADDRS_PER_PEER: usize = 16;

/// A set of things that a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right at all: the member may call and be called, and hear gossip.
    pub const NONE: Self = Self(0);
    /// May author messages on the pins topic.
    pub const AUTHOR_PINS: Self = Self(1);
    /// May author messages on the status topic.
    pub const AUTHOR_STATUS: Self = Self(1 << 1);
    /// May author messages on the discovery topic.
    pub const AUTHOR_DISCOVERY: Self = Self(1 << 2);
    /// May open the Raft lane (voters and learners).
    pub const RAFT: Self = Self(1 << 3);
    /// Every right.
    pub const ALL: Self = Self(0b1111);

    /// Whether every right of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn to_author(topic: Topic) -> Self {
        match topic {
            Topic::Pins => Self::AUTHOR_PINS,
            Topic::Status => Self::AUTHOR_STATUS,
            Topic::Discovery => Self::AUTHOR_DISCOVERY,
        }
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::AUTHOR_PINS, "author-pins"),
            (Self::AUTHOR_STATUS, "author-status"),
            (Self::AUTHOR_DISCOVERY, "author-discovery"),
            (Self::RAFT, "raft"),
        ];
        let held = names.iter().filter(|(right, _)| self.contains(*right)).map(|(_, name)| name);
        f.debug_set().entries(held).finish()
    }
}

/// Whether this node looks after the connection to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Stay connected: dial, and dial again after every loss.
    Keep,
    /// Connect when asked to, or when the member dials.
    OnDemand,
}

/// What this node knows of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// Where it can be dialled; the first [`MAX_ADDRS_PER_PEER`] are used.
    pub addrs: Vec<NetAddr>,
    /// What it may do.
    pub rights: Rights,
    /// Whether this node keeps a connection to it.
    pub link: Link,
}

/// Everybody whom this node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// The members.
    pub members: BTreeMap<PeerKey, PeerEntry>,
    /// Identities that were removed for good, as far as this node knows: they are told so. Who is a member
    /// is one whatever stands here.
    pub removed: BTreeSet<PeerKey>,
}

/// The members as the behaviours and the stream tasks see them.
#[derive(Clone, Default)]
pub(crate) struct Membership {
    members: Arc<RwLock<BTreeMap<PeerId, Member>>>,
}

#[derive(Clone, Copy)]
struct Member {
    rights: Rights,
    link: Link,
}

impl Membership {
    pub(crate) fn replace(&self, registry: &BTreeMap<PeerKey, PeerEntry>) {
        let members = registry
            .iter()
            .map(|(key, entry)| {
                (key.to_peer_id(), Member { rights: entry.rights, link: entry.link })
            })
            .collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some()
    }

    pub(crate) fn rights(&self, peer: &PeerId) -> Option<Rights> {
        self.get(peer).map(|member| member.rights)
    }

    pub(crate) fn link(&self, peer: &PeerId) -> Option<Link> {
        self.get(peer).map(|member| member.link)
    }

    fn get(&self, peer: &PeerId) -> Option<Member> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(peer).copied()
    }
}
