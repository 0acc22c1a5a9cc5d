//! Placement: which members are asked to hold a pin. `placement/README.md` states the problem.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker
//! 2005): every member has a score for every pin, the best ones hold it, so that a member that comes
//! or goes moves only its own share. The leader decides and the result is committed; nobody has to
//! agree with it on floating point.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::{Cid, NodeId};
use crate::member::{HoldPolicy, Liveness, Member, Role};
use crate::state::ClusterState;

/// A member over this part of its fair share, in percent, is passed over while others fit.
const LOAD_CAP_PERCENT: u128 = 110;
/// Pins that a member may be over its fair share in any case: without it, small clusters would answer
/// every count of three or four with movement.
const LOAD_SLACK_PINS: u64 = 4;
/// Most members named in one explanation.
pub const REJECTED_MAX: usize = 64;

/// What is asked of a placement.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The pin.
    pub cid: &'a Cid,
    /// New holders wanted.
    pub copies: usize,
    /// Holders that stay; new ones are placed beside them, in other zones where possible.
    pub beside: &'a BTreeSet<NodeId>,
    /// Members that are not to be asked this time, for example because they gave up on it.
    pub avoid: &'a BTreeSet<NodeId>,
}

/// The answer: as many holders as could be found, and why there are no more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// New holders, best first.
    pub holders: Vec<NodeId>,
    /// Present exactly if there are fewer than wanted.
    pub shortfall: Option<Explanation>,
}

/// Why too few members can hold a pin, member by member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// New holders wanted.
    pub wanted: usize,
    /// New holders found.
    pub found: usize,
    /// Members that were not chosen, at most [`REJECTED_MAX`].
    pub rejected: Vec<(NodeId, Rejection)>,
    /// Members beyond those.
    pub unlisted: usize,
}

/// Why one member was not chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rejection {
    /// Leechers hold nothing for others.
    Leecher,
    /// Its hold policy is `never`.
    HoldsNothing,
    /// It is lost.
    Lost,
    /// It is leaving.
    Draining,
    /// It holds a copy already.
    HoldsItAlready,
    /// The caller asked to pass over it.
    GaveUp,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leecher => "is a leecher",
            Self::HoldsNothing => "holds nothing by its own policy",
            Self::Lost => "is lost",
            Self::Draining => "is leaving",
            Self::HoldsItAlready => "holds it already",
            Self::GaveUp => "gave up on it",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} more holders wanted, {} found", self.wanted, self.found)?;
        for (at, (node, why)) in self.rejected.iter().enumerate() {
            write!(f, "{} {node} {why}", if at == 0 { ":" } else { "," })?;
        }
        if self.unlisted > 0 {
            write!(f, ", and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

/// Who is asked first. Masters that hold only for want of workers come after every worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tier {
    Holder,
    Reserve,
}

impl Tier {
    fn of(member: &Member) -> Self {
        match (member.spec.role, member.spec.hold) {
            (Role::Master, HoldPolicy::Auto) => Self::Reserve,
            _ => Self::Holder,
        }
    }
}

/// A failure domain: copies in one zone die together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Domain<'a> {
    Zone(&'a str),
    Own(NodeId),
}

impl<'a> Domain<'a> {
    fn of(member: &'a Member) -> Self {
        match member.spec.zone.as_str() {
            "" => Self::Own(member.id),
            zone => Self::Zone(zone),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Total {
    weight: u64,
    load: u64,
}

/// The members and what each is asked to hold, as a base for many placements.
pub struct Fleet<'a> {
    members: &'a BTreeMap<NodeId, Member>,
    /// Pins assigned, by member that may get more.
    loads: BTreeMap<NodeId, u64>,
    totals: BTreeMap<Tier, Total>,
}

struct Ranked<'a> {
    member: &'a Member,
    tier: Tier,
    score: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LoadRule {
    UnderCap,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ZoneRule {
    Distinct,
    Any,
}

/// The order in which rules are given up: balance before zone spread, because an uneven fleet is slower
/// and two copies in one rack are lost.
const RELAXATIONS: [(ZoneRule, LoadRule); 4] = [
    (ZoneRule::Distinct, LoadRule::UnderCap),
    (ZoneRule::Distinct, LoadRule::Any),
    (ZoneRule::Any, LoadRule::UnderCap),
    (ZoneRule::Any, LoadRule::Any),
];

impl<'a> Fleet<'a> {
    /// The fleet of a state.
    pub fn of(state: &'a ClusterState) -> Self {
        Self::new(state.members(), |node| state.holding_count(node) as u64)
    }

    /// A fleet from members and the number of pins assigned to each.
    pub fn new(members: &'a BTreeMap<NodeId, Member>, load: impl Fn(NodeId) -> u64) -> Self {
        let mut fleet = Self { members, loads: BTreeMap::new(), totals: BTreeMap::new() };
        for member in members.values().filter(|member| refusal(member).is_none()) {
            let pins = load(member.id);
            fleet.loads.insert(member.id, pins);
            let total = fleet.totals.entry(Tier::of(member)).or_default();
            total.weight += weight(member);
            total.load += pins;
        }
        fleet
    }

    /// Counts a placement that was decided but is not in the state yet.
    pub fn count(&mut self, node: NodeId) {
        let Some(load) = self.loads.get_mut(&node) else { return };
        *load += 1;
        if let Some(member) = self.members.get(&node) {
            self.totals.entry(Tier::of(member)).or_default().load += 1;
        }
    }

    /// Finds new holders. Rules are given up in a stated order rather than failing: first the load cap,
    /// then distinct zones; lost, leaving and unwilling members never.
    pub fn choose(&self, wish: &Wish<'_>) -> Choice {
        let mut ranked = Vec::new();
        let mut rejected = Vec::new();
        let mut domains = BTreeSet::new();
        for member in self.members.values() {
            if wish.beside.contains(&member.id) {
                domains.insert(Domain::of(member));
                rejected.push((member.id, Rejection::HoldsItAlready));
            } else if let Some(why) = refusal(member) {
                rejected.push((member.id, why));
            } else if wish.avoid.contains(&member.id) {
                rejected.push((member.id, Rejection::GaveUp));
            } else {
                ranked.push(self.rank(wish.cid, member));
            }
        }
        sort(&mut ranked);
        let holders = self.pick(&ranked, domains, wish.copies, &RELAXATIONS);
        let shortfall = (holders.len() < wish.copies).then(|| {
            let unlisted = rejected.len().saturating_sub(REJECTED_MAX);
            rejected.truncate(REJECTED_MAX);
            Explanation { wanted: wish.copies, found: holders.len(), rejected, unlisted }
        });
        Choice { holders, shortfall }
    }

    /// Of these holders, the ones that a fresh placement of so many copies would like best: what is left
    /// over is what a trim may release.
    pub fn keep(&self, cid: &Cid, holders: &BTreeSet<NodeId>, copies: usize) -> BTreeSet<NodeId> {
        let members = holders.iter().filter_map(|node| self.members.get(node));
        let mut ranked: Vec<_> = members.map(|member| self.rank(cid, member)).collect();
        sort(&mut ranked);
        let rules = [(ZoneRule::Distinct, LoadRule::Any), (ZoneRule::Any, LoadRule::Any)];
        self.pick(&ranked, BTreeSet::new(), copies, &rules).into_iter().collect()
    }

    fn rank(&self, cid: &Cid, member: &'a Member) -> Ranked<'a> {
        Ranked { member, tier: Tier::of(member), score: score(cid, member) }
    }

    fn pick(
        &self,
        ranked: &[Ranked<'a>],
        mut domains: BTreeSet<Domain<'a>>,
        copies: usize,
        rules: &[(ZoneRule, LoadRule)],
    ) -> Vec<NodeId> {
        let mut chosen = Vec::new();
        for tier in [Tier::Holder, Tier::Reserve] {
            for (zones, load) in rules {
                for candidate in ranked.iter().filter(|candidate| candidate.tier == tier) {
                    if chosen.len() == copies {
                        return chosen;
                    }
                    let member = candidate.member;
                    let domain = Domain::of(member);
                    if !chosen.contains(&member.id)
                        && (*zones == ZoneRule::Any || !domains.contains(&domain))
                        && (*load == LoadRule::Any || self.is_under_cap(member))
                    {
                        chosen.push(member.id);
                        domains.insert(domain);
                    }
                }
            }
        }
        chosen
    }

    fn is_under_cap(&self, member: &Member) -> bool {
        let load = self.loads.get(&member.id).copied().unwrap_or(0);
        let total = self.totals.get(&Tier::of(member)).copied().unwrap_or_default();
        let over_slack = u128::from((load + 1).saturating_sub(LOAD_SLACK_PINS));
        // load <= cap * (total load * weight / total weight), without a division.
        over_slack * 100 * u128::from(total.weight)
            <= LOAD_CAP_PERCENT * u128::from(total.load + 1) * u128::from(weight(member))
    }
}

/// How many members of a cluster may hold copies, whether they are there just now or not: a promise is not
/// made smaller because somebody is away. One that is leaving does not count.
pub fn capacity(members: &BTreeMap<NodeId, Member>) -> u16 {
    let may_hold = |member: &&Member| member.may_hold() && member.liveness != Liveness::Draining;
    u16::try_from(members.values().filter(may_hold).count()).unwrap_or(u16::MAX)
}

/// New holders for one pin of a state.
pub fn choose(state: &ClusterState, wish: &Wish<'_>) -> Choice {
    Fleet::of(state).choose(wish)
}

/// Why nothing new may be placed on a member, whatever the pin.
fn refusal(member: &Member) -> Option<Rejection> {
    match (member.spec.role, member.spec.hold, member.liveness) {
        (Role::Leecher, _, _) => Some(Rejection::Leecher),
        (_, HoldPolicy::Never, _) => Some(Rejection::HoldsNothing),
        (_, _, Liveness::Lost) => Some(Rejection::Lost),
        (_, _, Liveness::Draining) => Some(Rejection::Draining),
        (Role::Worker | Role::Master, HoldPolicy::Auto | HoldPolicy::Always, Liveness::Alive) => {
            None
        }
    }
}

fn weight(member: &Member) -> u64 {
    u64::from(member.spec.weight.max(1))
}

/// `weight / -ln u` with u uniform in (0, 1) from the pin and the member: the member with the largest
/// score is chosen with a probability in proportion to its weight.
fn score(cid: &Cid, member: &Member) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(cid.as_bytes());
    hasher.update(&member.id.0.to_le_bytes());
    let word: [u8; 8] =
        *hasher.finalize().as_bytes().first_chunk().expect("a BLAKE3 digest has 32 bytes");
    // 53 bits fill a double exactly; half a step keeps u away from 0 and 1.
    let u = ((u64::from_le_bytes(word) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    weight(member) as f64 / -u.ln()
}

fn sort(ranked: &mut [Ranked<'_>]) {
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.member.id.cmp(&b.member.id)));
}

#[cfg(test)]
mod tests;
