//! What happens in a run: a story that every seed tells, then churn drawn from the seed, then peace.

pub mod churn;
pub mod client;
pub mod peace;
pub mod story;

use std::collections::BTreeSet;

use ipfs_kit_core::member::Role;

use crate::cluster::{Cluster, Profile, Sabotage};
use crate::faults::{Schedule, Shape};
use crate::stage::{Broken, Stage};
use crate::trace::Trace;
use crate::world::HostId;

/// The machines of every run: three masters, three workers, a leecher.
pub const MEMBERS: [(&str, Role); 7] = [
    ("m1", Role::Master),
    ("m2", Role::Master),
    ("m3", Role::Master),
    ("w1", Role::Worker),
    ("w2", Role::Worker),
    ("w3", Role::Worker),
    ("l1", Role::Leecher),
];

/// The machine with the leecher.
pub const LEECHER: HostId = HostId(6);

/// The machines as faults see them.
#[must_use]
pub fn shape() -> Shape {
    let of = |wanted: fn(Role) -> bool| {
        let members = MEMBERS.iter().enumerate().filter(|(_, (_, role))| wanted(*role));
        members.map(|(number, _)| HostId(number)).collect()
    };
    Shape { masters: of(|role| role == Role::Master), others: of(|role| role != Role::Master) }
}

/// Sets up the machines of a run.
#[must_use]
pub fn stage(seed: u64, sabotage: &BTreeSet<Sabotage>, trace: Trace) -> Stage {
    let profile = Profile::draw(seed, sabotage);
    Stage::new(Cluster::new(seed, &MEMBERS, profile, trace))
}

/// The whole run: story, `churn_ms` of faults and workload, peace and the final scan. The schedule is
/// handed out as soon as it is drawn, since a run may break at any step.
pub async fn run(
    stage: &mut Stage,
    sabotage: &BTreeSet<Sabotage>,
    churn_ms: u64,
    schedule: &mut Schedule,
) -> Result<(), Broken> {
    story::run(stage, sabotage).await?;
    churn::run(stage, churn_ms, schedule).await?;
    peace::run(stage).await
}
