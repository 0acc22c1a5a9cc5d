//! The text is what a scraper expects, every line of it from a figure.

use std::collections::BTreeSet;

use ipfs_kit_core::member::Role;
use ipfs_kit_core::metrics::{CopyTally, MemberCount, PinTally, RepairMetrics};

use super::*;

/// A master that leads; every figure is its own number.
pub(crate) fn a_master() -> NodeMetrics {
    NodeMetrics {
        version: "9.8.7".into(),
        role: Role::Master,
        uptime_ms: 61_500,
        live: true,
        ready: false,
        store: StoreMetrics {
            blocks: 101,
            block_bytes: 102,
            used_bytes: 103,
            max_bytes: Some(104),
            free_bytes: 105,
            disk_free_bytes: 106,
            segments: 107,
            damaged: 108,
            in_trouble: true,
        },
        cluster: Some(ClusterMetrics {
            index: 201,
            session_ms_ago: Some(250),
            members: vec![MemberCount { role: Role::Worker, liveness: Liveness::Lost, count: 202 }],
            raft: Some(RaftMetrics {
                term: 203,
                commit: 204,
                applied: 205,
                leading: true,
                has_leader: true,
                voters: 3,
                learners: 206,
            }),
            pins: Some(PinTally {
                pinned: 207,
                partial: 208,
                pinning: 209,
                surplus: 210,
                failed: 211,
            }),
            copies: CopyTally { assigned: 212, pinned: 213, failed: 214 },
            repair: Some(RepairMetrics { queued: 215, under_way: 216, paused: true }),
            deltas_by_gossip: 217,
            deltas_by_feed: 218,
            outcomes_by_gossip: 219,
            outcomes_by_heartbeat: 220,
        }),
        parts: vec![
            PartMetrics {
                path: "/node".into(),
                running: true,
                restarts: 301,
                stalls: 302,
                mailbox: None,
            },
            PartMetrics {
                path: "/node/store".into(),
                running: false,
                restarts: 303,
                stalls: 304,
                mailbox: Some(MailboxMetrics {
                    depth: 305,
                    capacity: 306,
                    high_water: 307,
                    handled: 308,
                    rejected: 309,
                    expired: 310,
                    dead: 311,
                }),
            },
        ],
        dead_letters: 401,
    }
}

fn text_of(figures: NodeMetrics) -> String {
    let process = ProcessFigures {
        resident_bytes: Some(501),
        cpu_seconds: Some(1.5),
        open_files: Some(502),
        files_max: None,
    };
    render(figures, &Meter::default(), process).unwrap()
}

#[test]
fn every_figure_has_its_line() {
    let text = text_of(a_master());
    for line in [
        "ipfs_kit_build_info{version=\"9.8.7\",role=\"master\"} 1",
        "ipfs_kit_uptime_seconds 61.5",
        "ipfs_kit_live 1",
        "ipfs_kit_ready 0",
        "ipfs_kit_store_trouble 1",
        "ipfs_kit_session_age_seconds 0.25",
        "ipfs_kit_members{role=\"worker\",liveness=\"lost\"} 202",
        "ipfs_kit_raft_leader 1",
        "ipfs_kit_pins{status=\"failed\"} 211",
        "ipfs_kit_copies{state=\"assigned\"} 212",
        "ipfs_kit_repair_paused 1",
        "ipfs_kit_deltas_total{path=\"feed\"} 218",
        "ipfs_kit_outcomes_total{path=\"heartbeat\"} 220",
        "ipfs_kit_actor_up{actor=\"/node/store\"} 0",
        "ipfs_kit_actor_restarts_total{actor=\"/node\"} 301",
        "ipfs_kit_actor_messages_total{actor=\"/node/store\",result=\"dead\"} 311",
        "ipfs_kit_dead_letters_total 401",
        "process_resident_memory_bytes 501",
        "process_cpu_seconds_total 1.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // Every number that was put in comes out: no figure is left behind.
    let values: BTreeSet<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    for number in (101..=108).chain(201..=220).chain(301..=311).chain([401, 501, 502]) {
        assert!(values.contains(number.to_string().as_str()), "{number} is not in\n{text}");
    }
    assert!(!text.contains("process_max_fds"), "what is not known is left out");
}

#[test]
fn names_and_types_are_what_scrapers_expect() {
    let text = text_of(a_master());
    let mut types = BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            assert!(types.insert(described), "one description each: {line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let is_ours = name.starts_with("ipfs_kit_") || name.starts_with("process_");
            assert!(is_ours, "{line}");
            let counter = name.strip_suffix("_total");
            assert_eq!(
                types.contains(format!("{} counter", counter.unwrap_or(name)).as_str()),
                counter.is_some(),
                "counters end in _total: {line}"
            );
        }
    }
    assert!(types.len() > 30);
}

#[test]
fn a_node_without_a_cluster_shows_no_figure_of_one() {
    let text = text_of(NodeMetrics { cluster: None, ..a_master() });
    for name in ["raft", "pins", "members", "deltas", "repair"] {
        assert!(!text.contains(&format!("ipfs_kit_{name}")), "{name} is in\n{text}");
    }
    assert!(text.contains("ipfs_kit_store_blocks 101"));
}
