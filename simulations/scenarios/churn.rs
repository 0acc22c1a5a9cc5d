//! Churn: users go on working while everything that the seed has drawn goes wrong.

use super::client::Client;
use super::shape;
use crate::faults::Schedule;
use crate::stage::{Broken, Stage};

/// Users at work at the same time.
const CLIENTS: u64 = 3;
/// The first tree of theirs; the ones before are the story's.
const FIRST_TREE: u64 = 100;

/// Lets `churn_ms` of it pass.
pub async fn run(stage: &mut Stage, churn_ms: u64, schedule: &mut Schedule) -> Result<(), Broken> {
    let from_ms = stage.now_ms();
    *schedule = Schedule::draw(stage.seed, &shape(), from_ms, from_ms + churn_ms);
    stage.tell(&format!("churn: {:?}", schedule.mix));
    stage.plan(schedule.clone());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| Client::new(stage, number, CLIENTS, FIRST_TREE))
        .map(|client| tokio::task::spawn_local(client.live()))
        .collect();
    let passed = stage.pass(churn_ms).await;
    for client in &clients {
        client.abort();
    }
    for client in clients {
        // A client that panicked is the harness's own fault and must not go unnoticed.
        match client.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }
    passed
}
