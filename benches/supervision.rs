//! What supervision costs a question to an actor: the same actor asked through its supervised reference,
//! and as actix runs it alone.

use std::future::Future;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message};
use anyhow::{Context as _, Result, anyhow};
use ipfs_kit_actors::supervised;
use ipfs_kit_actors::supervision::{
    ActorRef, ChildSpec, Ctx, Strategy, SupervisorSpec, Tree, launch,
};
use tokio::task::LocalSet;

use crate::Scale;
use crate::figure::{Figure, Goal};
use crate::program::Program;

const ASKS: u64 = 3_000_000;
/// Of both the best of so many short runs in turn: other work on the machine only ever takes away.
const RUNS: u64 = 60;
const ASK_WITHIN: Duration = Duration::from_secs(5);

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

struct Plain(u64);

impl Actor for Plain {
    type Context = Context<Self>;
}

impl Handler<Add> for Plain {
    type Result = u64;

    fn handle(&mut self, Add(count): Add, _: &mut Context<Self>) -> u64 {
        self.0 += count;
        self.0
    }
}

struct Supervised(u64);

impl Actor for Supervised {
    type Context = Ctx<Self>;
}

supervised!(Supervised);

impl Handler<Add> for Supervised {
    type Result = u64;

    fn handle(&mut self, Add(count): Add, _: &mut Ctx<Self>) -> u64 {
        self.0 += count;
        self.0
    }
}

/// Questions per second, one after the other. A plain question waits for its answer until a deadline
/// too: nobody may ask without one.
pub fn supervision(_: &Program, scale: &Scale) -> Result<Vec<Figure>> {
    let asks = scale.of(ASKS) / RUNS;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let local = LocalSet::new();
    let (value, limit) = local.block_on(&runtime, async {
        let plain = Plain(0).start();
        let supervised = ActorRef::<Supervised>::vacant();
        let child = ChildSpec::actor("asked", &supervised, |_| Supervised(0));
        let spec = SupervisorSpec::new("bench", Strategy::OneForOne).child(child);
        let mut root = launch(spec, &Tree::new(), 1)?;
        root.ready().await.map_err(|exit| anyhow!("the actor did not start: {exit:?}"))?;
        let (mut value, mut limit) = (0.0, 0.0);
        for _ in 0..RUNS {
            limit = f64::max(
                limit,
                rate(asks, || tokio::time::timeout(ASK_WITHIN, plain.send(Add(1)))).await?,
            );
            value =
                f64::max(value, rate(asks, || supervised.ask_within(Add(1), ASK_WITHIN)).await?);
        }
        root.stop().await;
        Ok::<_, anyhow::Error>((value, limit))
    })?;
    Ok(vec![Figure {
        name: "supervision".into(),
        value,
        unit: "/s",
        limit: Some(limit),
        goals: vec![Goal::Ratio(0.7)],
    }])
}

async fn rate<F, T, E>(asks: u64, ask: impl Fn() -> F) -> Result<f64>
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let begun = Instant::now();
    for _ in 0..asks {
        ask().await.context("an actor does not answer")?;
    }
    Ok(asks as f64 / begun.elapsed().as_secs_f64())
}
