//! Tests of the forwarding to `tracing`.

use super::*;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<String>>>);

impl Visit for &Capture {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push(format!("{value:?}"));
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= TracingLevel::INFO
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        assert_eq!(event.metadata().target(), "raft");
        event.record(&mut { self });
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn lines_arrive_with_their_pairs_and_only_if_wanted() {
    let capture = Capture::default();
    tracing::subscriber::with_default(capture.clone(), || {
        let logger = logger().new(o!("raft_id" => 3));
        slog::info!(logger, "became follower"; "term" => 7);
        slog::debug!(logger, "not wanted");
        assert!(!TracingDrain.is_enabled(Level::Debug));
    });
    assert_eq!(*capture.0.lock().unwrap(), ["became follower term=7 raft_id=3"]);
}
