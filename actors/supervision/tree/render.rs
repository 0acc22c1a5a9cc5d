//! The tree as text, for terminals and test failures.

use std::fmt::Write as _;

use super::view::{NodeView, Snapshot, State};

const HEADINGS: [&str; 8] =
    ["PATH", "STATE", "INC", "MBOX", "HANDLING", "P99", "RST", "LAST ERROR"];
/// Longest text of an error in the table.
const ERROR_CHARS_MAX: usize = 60;

impl Snapshot {
    /// One line per node: path, state, incarnation, mailbox, current message, 99th percentile of the
    /// handler, restarts, last error.
    pub fn render(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        for root in &self.roots {
            self.push_rows(root, "", "", &mut rows);
        }
        let mut widths = [0; HEADINGS.len()];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                let padding = width - cell.chars().count() + 2;
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', padding));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn push_rows(&self, node: &NodeView, branch: &str, below: &str, rows: &mut Vec<[String; 8]>) {
        let name = if branch.is_empty() { node.path.as_str() } else { node.path.name() };
        rows.push(self.row(node, format!("{branch}{name}")));
        for (n, child) in node.children.iter().enumerate() {
            let last = n + 1 == node.children.len();
            let (fork, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.push_rows(child, &format!("{below}{fork}"), &format!("{below}{stem}"), rows);
        }
    }

    fn row(&self, node: &NodeView, path: String) -> [String; 8] {
        let mailbox = node.mailbox.map_or(String::new(), |m| format!("{}/{}", m.depth, m.capacity));
        let handling = node.current.as_ref().map_or(String::new(), |current| {
            let dots = if current.awaiting { "…" } else { "" };
            format!("{}{dots} {}", current.message, micros(current.age_us))
        });
        let busy = node.mailbox.is_some_and(|mailbox| mailbox.handled > 0);
        let p99 = if busy { micros(node.handler.p99_us) } else { String::new() };
        let restarts = match (node.restarts_in_window, node.restarts_limit) {
            (Some(now), Some(limit)) => format!("{now}/{limit}"),
            _ => node.restarts.to_string(),
        };
        let state = node.state.as_str().to_owned();
        let incarnation = node.incarnation.to_string();
        [path, state, incarnation, mailbox, handling, p99, restarts, self.last_error(node)]
    }

    fn last_error(&self, node: &NodeView) -> String {
        let mut text = String::new();
        if let Some(last) = node.last_exit.as_ref().filter(|last| last.exit.is_abnormal()) {
            text.push_str(last.exit.as_str());
            if let Some(cause) = last.exit.cause() {
                let words: String = cause.text.chars().take(ERROR_CHARS_MAX).collect();
                let place = cause.location.as_deref().map(|at| format!("{at} "));
                let _ = write!(text, ": {}{words}", place.unwrap_or_default());
            }
            let _ = write!(text, " {} ago", millis(self.taken_at_ms.saturating_sub(last.at_ms)));
        }
        if node.state == State::BackOff
            && let Some(next_ms) = node.next_start_ms
        {
            let _ = write!(text, "  next {}", millis(next_ms.saturating_sub(self.taken_at_ms)));
        }
        text
    }
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}µs"),
        _ => millis(us / 1_000),
    }
}

fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}
