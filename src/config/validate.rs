//! Rules between settings. Rules within one setting belong to its form.

use super::{ApiAddress, Origin, Problem, Role, Settings};

/// Every broken rule, blamed on the stronger of the settings that break it.
pub(super) fn check(settings: &Settings, origin_of: impl Fn(&str) -> Origin) -> Vec<Problem> {
    let mut problems = Vec::new();
    // `right` is blamed unless it is a default and `left` is not: nobody looks for a default.
    let mut require = |holds: bool, left: &str, right: &str, message: String| {
        if !holds {
            let blame_left = origin_of(right) == Origin::Default;
            let key = if blame_left { left } else { right };
            problems.push(Problem { key: key.to_owned(), origin: origin_of(key), message });
        }
    };
    let Settings { raft, cluster, pins, .. } = settings;
    require(
        pins.replicas_min <= pins.replicas_max,
        "pins.replicas_min",
        "pins.replicas_max",
        format!(
            "pins.replicas_max ({}) is below pins.replicas_min ({})",
            pins.replicas_max, pins.replicas_min
        ),
    );
    require(
        cluster.lease > 2 * cluster.heartbeat,
        "cluster.heartbeat",
        "cluster.lease",
        "cluster.lease must be more than twice cluster.heartbeat, or one lost message ends a session"
            .to_owned(),
    );
    require(
        raft.election_ticks >= 2 * raft.heartbeat_ticks,
        "raft.heartbeat_ticks",
        "raft.election_ticks",
        format!(
            "raft.election_ticks ({}) must be at least twice raft.heartbeat_ticks ({}), or one late \
             heartbeat is an election",
            raft.election_ticks, raft.heartbeat_ticks
        ),
    );
    let stays_here = match &settings.api.listen {
        ApiAddress::Unix(_) => true,
        ApiAddress::Tcp(address) => address.is_loopback(),
    };
    require(
        stays_here || settings.api.expose,
        "api.expose",
        "api.listen",
        format!(
            "{} leads out of this machine; use a loopback address, or set api.expose: true",
            settings.api.listen
        ),
    );
    require(
        !settings.listen.is_empty() || settings.role == Role::Leecher,
        "role",
        "listen",
        format!("a {} needs an address to listen on", settings.role),
    );
    problems
}
