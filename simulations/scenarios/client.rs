//! Users: they add, look, read, change and end pins through any node, and keep the ledger honest.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ipfs_kit_actors::api::{self, Ack, AddEvent, AddOptions, ByteRange, Failure, Node};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{CidRequest, PinAdd, PinAddRequest, PinRm, PinStatus};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::content::Content;
use crate::ledger::{Ends, Known, Ledger};
use crate::rng::Rng;
use crate::stage::{Broken, Stage};
use crate::world::HostId;

type Shared<T> = Rc<RefCell<T>>;

/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two requests of a user, in milliseconds.
const PAUSE_MIN_MS: u64 = 50;
const PAUSE_MAX_MS: u64 = 3_000;
/// How long content lives that ends by itself, in milliseconds.
const LIFE_MIN_MS: u64 = 5_000;
const LIFE_MAX_MS: u64 = 60_000;

/// What became of an add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is pinned.
    Acknowledged(Cid),
    /// It may be pinned, now or later.
    Unknown(String),
}

/// Runs a request inside a node's process; an error says why nothing is known of its outcome.
pub async fn ask<T: 'static, F: Future<Output = Result<T, Failure>> + 'static>(
    cluster: &Shared<Cluster>,
    at: HostId,
    what: &str,
    request: impl FnOnce(Arc<dyn Node>) -> F,
) -> Result<T, String> {
    let trace = cluster.borrow().world.trace.clone();
    trace.event(format_args!("user asks {at} to {what}"));
    let answer = answered(cluster, at, request).await;
    let outcome = answer.as_ref().map_or_else(String::as_str, |_| "done");
    trace.event(format_args!("user asked {at} to {what}: {outcome}"));
    answer
}

async fn answered<T: 'static, F: Future<Output = Result<T, Failure>> + 'static>(
    cluster: &Shared<Cluster>,
    at: HostId,
    request: impl FnOnce(Arc<dyn Node>) -> F,
) -> Result<T, String> {
    let task = {
        let cluster = cluster.borrow();
        let run = cluster.machine(at).run();
        run.and_then(|run| run.spawn(request(run.handle()?.api())))
    };
    let task = task.ok_or_else(|| format!("{at} is down"))?;
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(failure))) => Err(format!("{}: {}", failure.code, failure.message)),
        Ok(Err(_)) => Err(format!("{at} died meanwhile")),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Adds a tree through a node.
pub async fn add(
    cluster: &Shared<Cluster>,
    ledger: &Shared<Ledger>,
    at: HostId,
    seed: u64,
    number: u64,
    options: AddOptions,
) -> Added {
    let content = Content::of(seed, number);
    let ends = if options.expires_in_ms.is_some() { Ends::ByTime } else { Ends::Never };
    let (events, mut told) = mpsc::channel(64);
    let source = content.source();
    let what = format!("add {}, {:?}", content.name(), options.ack);
    let add = |node: Arc<dyn Node>| async move { node.add(source, options, events).await };
    let asked = ask(cluster, at, &what, add);
    // From its root on the pin may come to be, whatever becomes of the request.
    let heard = {
        let ledger = ledger.clone();
        move |event| {
            if let AddEvent::Imported { root, .. } = event {
                ledger.borrow_mut().ask(&root, content.clone(), ends);
            }
        }
    };
    let mut asked = pin!(asked);
    let answer = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => heard(event),
            answer = &mut asked => break answer,
        }
    };
    while let Ok(event) = told.try_recv() {
        heard(event);
    }
    // A node may go on with an import that nobody waits for.
    tokio::task::spawn_local(async move {
        while let Some(event) = told.recv().await {
            heard(event);
        }
    });
    match answer {
        Ok(added) => {
            let index = added.index.unwrap_or(u64::MAX);
            ledger.borrow_mut().acknowledge(&added.root, index);
            Added::Acknowledged(added.root)
        }
        Err(reason) => Added::Unknown(reason),
    }
}

/// Reads a tree through a node and compares every byte; an error is why it could not be read.
pub async fn read(
    cluster: &Shared<Cluster>,
    ledger: &Shared<Ledger>,
    at: HostId,
    cid: &Cid,
) -> Result<(), String> {
    let content = ledger.borrow().items().get(cid).map(|item| item.content.clone());
    let content = content.ok_or("it is not in the ledger")?;
    for (name, expected) in content.files() {
        let path = format!("{cid}/{name}");
        let what = format!("read {path}");
        let read = |node: Arc<dyn Node>| async move { read_file(&*node, path).await };
        let bytes = ask(cluster, at, &what, read).await?;
        let mut ledger = ledger.borrow_mut();
        if bytes == expected {
            ledger.verified_bytes += bytes.len() as u64;
        } else {
            let (got, wanted) = (bytes.len(), expected.len());
            let detail = format!("{cid}/{name} through {at}: {got} bytes differ from {wanted}");
            ledger.accuse("READ-1", detail);
        }
    }
    Ok(())
}

async fn read_file(node: &dyn Node, path: String) -> Result<Vec<u8>, Failure> {
    let mut file = node.cat(path, ByteRange::default()).await?;
    let mut bytes = Vec::new();
    while let Some(part) = file.bytes.next().await {
        bytes.extend_from_slice(&part?);
    }
    Ok(bytes)
}

/// Reads a tree in fair weather, where it must succeed.
pub async fn read_back(stage: &mut Stage, at: HostId, cid: &Cid) -> Result<(), Broken> {
    let (cluster, ledger) = (stage.cluster.clone(), stage.ledger.clone());
    let result = stage.during(read(&cluster, &ledger, at, cid)).await?;
    result.map_err(|reason| Broken::new("READ-3", format!("{cid} through {at}: {reason}")))
}

/// One user, who does one thing after the other.
pub struct Client {
    cluster: Shared<Cluster>,
    ledger: Shared<Ledger>,
    seed: u64,
    rng: Rng,
    /// What this user added; nobody else changes it.
    mine: Vec<Cid>,
    /// Numbers of the trees that this user adds next, and how far apart they are.
    next: u64,
    stride: u64,
}

impl Client {
    /// The `number`-th of `count` users; trees below `first` are somebody else's.
    #[must_use]
    pub fn new(stage: &Stage, number: u64, count: u64, first: u64) -> Self {
        Self {
            cluster: stage.cluster.clone(),
            ledger: stage.ledger.clone(),
            seed: stage.seed,
            rng: Rng::new(stage.seed, &format!("client {number}")),
            mine: Vec::new(),
            next: first + number,
            stride: count,
        }
    }

    /// Goes on until it is dropped.
    pub async fn live(mut self) {
        loop {
            let pause_ms = self.rng.within(PAUSE_MIN_MS..=PAUSE_MAX_MS);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let running = self.cluster.borrow().running();
            let Some((at, _)) = self.rng.pick(&running) else { continue };
            let at = *at;
            let mine = self.rng.pick(&self.mine).cloned();
            let outcome = match (self.rng.within(0..=99), mine) {
                (60..=69, Some(cid)) => self.end(at, &cid).await,
                (70..=76, Some(cid)) => self.change(at, &cid).await,
                (77..=88, Some(cid)) => self.look(at, &cid).await,
                (89.., Some(cid)) => read(&self.cluster, &self.ledger, at, &cid).await,
                _ => self.add(at).await,
            };
            let mut ledger = self.ledger.borrow_mut();
            match outcome {
                Ok(()) => ledger.answered += 1,
                Err(_) => ledger.unanswered += 1,
            }
        }
    }

    async fn add(&mut self, at: HostId) -> Result<(), String> {
        let number = self.next;
        self.next += self.stride;
        let max = self.rng.within(1..=3) as u16;
        let expires = self.rng.chance(100);
        let life_ms = self.rng.within(LIFE_MIN_MS..=LIFE_MAX_MS);
        let options = AddOptions {
            name: format!("tree-{number}"),
            replicas_min: Some(self.rng.within(1..=u64::from(max)) as u16),
            replicas_max: Some(max),
            expires_in_ms: expires.then_some(life_ms),
            ack: if self.rng.chance(300) { Ack::Local } else { Ack::Replicated },
            ..AddOptions::default()
        };
        match add(&self.cluster, &self.ledger, at, self.seed, number, options).await {
            Added::Acknowledged(cid) => {
                if !expires {
                    self.mine.push(cid);
                }
                Ok(())
            }
            Added::Unknown(reason) => Err(reason),
        }
    }

    /// Ends a pin.
    async fn end(&mut self, at: HostId, cid: &Cid) -> Result<(), String> {
        self.ledger.borrow_mut().begin(cid);
        self.mine.retain(|mine| mine != cid);
        let request = CidRequest { cid: cid.clone() };
        let what = format!("end {cid}");
        let asked = ask(&self.cluster, at, &what, |node| async move {
            api::run::<PinRm>(&*node, request).await
        });
        let removed = asked.await?;
        self.ledger.borrow_mut().end(cid, removed.index);
        Ok(())
    }

    /// Asks for another number of copies.
    async fn change(&mut self, at: HostId, cid: &Cid) -> Result<(), String> {
        let max = self.rng.within(1..=3) as u16;
        let request = PinAddRequest {
            name: "changed".to_owned(),
            replicas_min: Some(self.rng.within(1..=u64::from(max)) as u16),
            replicas_max: Some(max),
            ..PinAddRequest::of(cid.clone())
        };
        let what = format!("change {cid}");
        let asked = ask(&self.cluster, at, &what, |node| async move {
            api::run::<PinAdd>(&*node, request).await
        });
        let answer = asked.await;
        if answer.is_err() {
            // It may take effect at any time, even after this user has ended the pin.
            self.ledger.borrow_mut().begin(cid);
            self.mine.retain(|mine| mine != cid);
        }
        answer.map(drop)
    }

    /// Looks a pin up. The answer is linearizable: it shows everything acknowledged before it was asked.
    async fn look(&mut self, at: HostId, cid: &Cid) -> Result<(), String> {
        let known = self.ledger.borrow().items().get(cid).map(|item| item.known);
        let request = CidRequest { cid: cid.clone() };
        let what = format!("look at {cid}");
        let asked = ask(&self.cluster, at, &what, |node| async move {
            api::run::<PinStatus>(&*node, request).await
        });
        let answer = asked.await;
        let is_missing = answer.as_ref().is_err_and(|reason| reason.starts_with("E_NOT_FOUND"));
        if is_missing && matches!(known, Some(Known::Present { .. })) {
            let detail = format!("{cid} was acknowledged, and {at} answers that it is not pinned");
            self.ledger.borrow_mut().accuse("READ-2", detail);
        }
        answer.map(drop)
    }
}
