//! The trace sees every difference and names the first one.

use std::sync::Arc;
use std::time::Duration;

use super::*;

async fn run(lines: Lines, words: &[&str]) -> Trace {
    let trace = Trace::begin(lines);
    for word in words {
        tokio::time::advance(Duration::from_millis(5)).await;
        trace.event(format_args!("{word}"));
    }
    trace
}

#[tokio::test(start_paused = true)]
async fn equal_events_hash_equally_and_different_ones_do_not() {
    let first = run(Lines::Recent, &["a", "b"]).await;
    assert_eq!(first.hash(), run(Lines::Recent, &["a", "b"]).await.hash());
    assert_ne!(first.hash(), run(Lines::Recent, &["a", "c"]).await.hash());
    assert_eq!(first.recent(), ["      0.005 a", "      0.010 b"]);
    assert_eq!(first.events(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_difference_is_named() {
    let words = ["a", "b", "c"];
    let recording = Arc::new(run(Lines::Record, &words).await.take_recording());
    let compare = || Lines::Compare(Arc::clone(&recording));
    assert_eq!(run(compare(), &words).await.divergence(), None);
    let other = run(compare(), &["a", "x", "c"]).await.divergence().unwrap();
    assert_eq!((other.index, other.first.as_str()), (1, "      0.010 b"));
    let longer = run(compare(), &["a", "b", "c", "d"]).await.divergence().unwrap();
    assert_eq!((longer.index, longer.first.as_str()), (3, ""));
    let shorter = run(compare(), &["a", "b"]).await.divergence().unwrap();
    assert_eq!((shorter.index, shorter.second.as_str()), (2, ""));
}

#[tokio::test(start_paused = true)]
async fn a_busy_loop_is_noticed() {
    let trace = Trace::begin(Lines::Recent);
    for _ in 0..EVENTS_PER_MS_MAX {
        trace.event(format_args!("again"));
    }
    assert_eq!(trace.busy_loop_ms(), None);
    trace.event(format_args!("again"));
    assert_eq!(trace.busy_loop_ms(), Some(0));
    assert_eq!(trace.recent().len(), RECENT_LINES_MAX);
}
