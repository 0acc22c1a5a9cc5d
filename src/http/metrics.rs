//! `/metrics`: the node, its API and its process in OpenMetrics text, which Prometheus and its relatives
//! read. Only what was counted or measured; the names are listed in `docs/operate.md`.

use std::fmt;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ipfs_kit_actors::api;
use ipfs_kit_core::member::Liveness;
use ipfs_kit_core::metrics::{
    ClusterMetrics, MailboxMetrics, NodeMetrics, PartMetrics, RaftMetrics, StoreMetrics,
};
use ipfs_kit_core::ops::{self, Nothing};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::meter::Meter;
use super::server::{Api, failure_response};
use crate::adapters::process::{self, ProcessFigures};

/// What every name of ours begins with.
const PREFIX: &str = "ipfs_kit";
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Everything, as it is now.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let figures = match api::run::<ops::Metrics>(&*api.node, Nothing {}).await {
        Ok(figures) => figures,
        Err(failure) => return failure_response(&failure),
    };
    match render(figures, &api.meter, process::figures()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn render(
    figures: NodeMetrics,
    meter: &Meter,
    process: ProcessFigures,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let ours = registry.sub_registry_with_prefix(PREFIX);
    ours.register_collector(Box::new(Node(figures)));
    meter.register(ours);
    registry.register_collector(Box::new(Process(process)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Writes one kind of figure after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter()
            .try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }
}

#[derive(Debug)]
struct Node(NodeMetrics);

impl Collector for Node {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (node, mut page) = (&self.0, Page(encoder));
        let about = [("version", node.version.clone()), ("role", node.role.to_string())];
        page.gauges("build_info", "Always 1; its labels say what runs", [(about, 1)])?;
        let uptime_seconds = node.uptime_ms as f64 / 1000.0;
        page.gauge("uptime_seconds", "Time since the node started", uptime_seconds)?;
        page.gauge("live", "Whether /healthz says yes", u64::from(node.live))?;
        page.gauge("ready", "Whether /readyz says yes", u64::from(node.ready))?;
        store(&mut page, &node.store)?;
        if let Some(cluster) = &node.cluster {
            member(&mut page, cluster)?;
        }
        parts(&mut page, &node.parts)?;
        page.counter("dead_letters", "Messages accepted and never handled", node.dead_letters)
    }
}

fn store(page: &mut Page<'_>, store: &StoreMetrics) -> fmt::Result {
    page.gauge("store_blocks", "Blocks held", store.blocks)?;
    page.gauge("store_block_bytes", "Bytes of the blocks held", store.block_bytes)?;
    page.gauge("store_used_bytes", "Bytes that the block store takes on disk", store.used_bytes)?;
    if let Some(max_bytes) = store.max_bytes {
        page.gauge("store_max_bytes", "Bytes that the block store may take", max_bytes)?;
    }
    page.gauge(
        "store_free_bytes",
        "Bytes that the block store may still take, after its bound and the reserve",
        store.free_bytes,
    )?;
    page.gauge("store_segments", "Segment files of the block store", store.segments)?;
    page.gauge("store_damaged_blocks", "Blocks known to be damaged", store.damaged)?;
    page.gauge(
        "store_trouble",
        "Whether the disk takes no blocks now",
        u64::from(store.in_trouble),
    )?;
    page.gauge(
        "disk_free_bytes",
        "Bytes free on the node's file system, the reserve included",
        store.disk_free_bytes,
    )
}

fn member(page: &mut Page<'_>, cluster: &ClusterMetrics) -> fmt::Result {
    page.gauge("view_index", "Last log index that this node has", cluster.index)?;
    if let Some(ms) = cluster.session_ms_ago {
        let seconds = ms as f64 / 1000.0;
        page.gauge("session_age_seconds", "Time since a leader answered this node", seconds)?;
    }
    let members = cluster.members.iter().map(|row| {
        let liveness = match row.liveness {
            Liveness::Alive => "alive",
            Liveness::Lost => "lost",
            Liveness::Draining => "draining",
        };
        ([("role", row.role.to_string()), ("liveness", liveness.to_owned())], row.count)
    });
    page.gauges("members", "Members of the cluster as this node knows them", members)?;
    if let Some(raft_metrics) = &cluster.raft {
        raft(page, raft_metrics)?;
    }
    if let Some(pins) = &cluster.pins {
        let rows = [
            ("pinned", pins.pinned),
            ("partial", pins.partial),
            ("pinning", pins.pinning),
            ("surplus", pins.surplus),
            ("failed", pins.failed),
        ];
        page.gauges("pins", "Pins of the cluster by status; on masters only", by("status", rows))?;
    }
    let copies = &cluster.copies;
    let rows =
        [("assigned", copies.assigned), ("pinned", copies.pinned), ("failed", copies.failed)];
    page.gauges("copies", "Copies that this node is asked to hold, by state", by("state", rows))?;
    if let Some(repair) = &cluster.repair {
        page.gauge(
            "repair_queued_pins",
            "Pins that wait for repair; on the leader",
            repair.queued,
        )?;
        page.gauge("repair_active_pins", "Pins being copied; on the leader", repair.under_way)?;
        page.gauge(
            "repair_paused",
            "Whether repair stands still because many holders vanished at once; on the leader",
            u64::from(repair.paused),
        )?;
    }
    let rows = [("gossip", cluster.deltas_by_gossip), ("feed", cluster.deltas_by_feed)];
    page.counters("deltas", "Changes of the state, by the way that was first", by("path", rows))?;
    let rows =
        [("gossip", cluster.outcomes_by_gossip), ("heartbeat", cluster.outcomes_by_heartbeat)];
    page.counters(
        "outcomes",
        "Holders' outcomes heard while leading, by the way that was first",
        by("path", rows),
    )
}

fn raft(page: &mut Page<'_>, raft: &RaftMetrics) -> fmt::Result {
    page.gauge("raft_term", "Current term of Raft", raft.term)?;
    page.gauge("raft_commit_index", "Last committed index", raft.commit)?;
    page.gauge("raft_applied_index", "Last applied index", raft.applied)?;
    page.gauge("raft_leader", "Whether this node leads", u64::from(raft.leading))?;
    page.gauge("raft_has_leader", "Whether a leader is known", u64::from(raft.has_leader))?;
    page.gauge("raft_voters", "Masters that vote", raft.voters)?;
    page.gauge("raft_learners", "Masters that only receive the log", raft.learners)
}

fn parts(page: &mut Page<'_>, parts: &[PartMetrics]) -> fmt::Result {
    let of = |part: &PartMetrics| [("actor", part.path.clone())];
    let each = |value: fn(&PartMetrics) -> u64| parts.iter().map(move |p| (of(p), value(p)));
    page.gauges("actor_up", "Whether a part runs", each(|part| u64::from(part.running)))?;
    page.counters("actor_restarts", "Times a part was started again", each(|part| part.restarts))?;
    page.counters(
        "actor_stalls",
        "Times a part held the thread longer than its budget",
        each(|part| part.stalls),
    )?;
    let boxes: Vec<(&PartMetrics, MailboxMetrics)> =
        parts.iter().filter_map(|part| Some((part, part.mailbox?))).collect();
    let each = |value: fn(&MailboxMetrics) -> u64| {
        boxes.iter().map(move |(part, mailbox)| (of(part), value(mailbox)))
    };
    page.gauges("actor_mailbox_messages", "Messages that wait", each(|mailbox| mailbox.depth))?;
    page.gauges("actor_mailbox_capacity", "Most that may wait", each(|mailbox| mailbox.capacity))?;
    page.gauges(
        "actor_mailbox_high_water",
        "Most that waited",
        each(|mailbox| mailbox.high_water),
    )?;
    let results = boxes.iter().flat_map(|(part, mailbox)| {
        let results = [
            ("handled", mailbox.handled),
            ("rejected", mailbox.rejected),
            ("expired", mailbox.expired),
            ("dead", mailbox.dead),
        ];
        let [actor] = of(part);
        results.map(|(result, count)| ([actor.clone(), ("result", result.to_owned())], count))
    });
    page.counters("actor_messages", "Messages by what became of them", results)
}

/// Rows that differ in one label.
fn by<const N: usize>(
    label: &'static str,
    rows: [(&'static str, u64); N],
) -> [([(&'static str, String); 1], u64); N] {
    rows.map(|(value, count)| ([(label, value.to_owned())], count))
}

/// The names that every Prometheus client library uses for a process.
#[derive(Debug)]
struct Process(ProcessFigures);

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (figures, mut page) = (&self.0, Page(encoder));
        if let Some(bytes) = figures.resident_bytes {
            page.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(seconds) = figures.cpu_seconds {
            page.counter("process_cpu_seconds", "Processor time, user and system", seconds)?;
        }
        if let Some(open) = figures.open_files {
            page.gauge("process_open_fds", "Open file descriptors", open)?;
        }
        if let Some(max) = figures.files_max {
            page.gauge("process_max_fds", "Most file descriptors that may be open", max)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
