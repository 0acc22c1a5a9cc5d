//! Users: they add, read, pin, change and end pins through any node, one thing after the other, and keep
//! the ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use ipfs_kit::cli::client::Client;
use ipfs_kit::cli::error::CliError;
use ipfs_kit::cli::local_cluster::client_of;
use ipfs_kit_actors::api::{Ack, AddOptions, Added};
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::ops::{CidRequest, PinAdd, PinAddRequest, PinRm};

use crate::content::Content;
use crate::ledger::{Ending, Known, Ledger};
use crate::read::read_file;
use crate::rng::Rng;

/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a user who found nobody asks again.
const PAUSE: Duration = Duration::from_millis(20);

/// What all users share.
#[derive(Clone)]
pub struct World {
    /// The run's seed.
    pub seed: u64,
    /// Where the nodes are.
    pub folders: Arc<Vec<PathBuf>>,
    /// What everybody was told.
    pub ledger: Arc<Ledger>,
    /// Set when users shall go home.
    pub over: Arc<AtomicBool>,
    /// Pins that a user keeps, about.
    pub keeps: usize,
}

/// One user.
pub struct User {
    world: World,
    rng: Rng,
    /// What this user asked for; nobody else changes it.
    mine: Vec<Cid>,
    /// The number of what is added next, and how far apart a user's numbers are.
    next: u64,
    stride: u64,
}

impl User {
    /// The `number`-th of `count` users.
    pub fn new(world: &World, number: u64, count: u64) -> Self {
        let rng = Rng::new(world.seed, &format!("user {number}"));
        Self { world: world.clone(), rng, mine: Vec::new(), next: number, stride: count }
    }

    /// Does one thing after the other until it is over.
    pub async fn live(mut self) -> Result<Self> {
        while !self.world.over.load(Ordering::Relaxed) {
            let Some(client) = self.any_node() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            self.act(&client).await?;
        }
        Ok(self)
    }

    fn any_node(&mut self) -> Option<Client> {
        let folder = self.rng.pick(&self.world.folders)?;
        client_of(folder).ok()
    }

    async fn act(&mut self, client: &Client) -> Result<()> {
        let present = self.mine_that_is(|known| known == Known::Present);
        let crowded = present.len() > self.world.keeps;
        let draw = self.rng.within(0..=99);
        let one = self.rng.pick(&present).cloned();
        match (draw, one) {
            (0..=29, Some(one)) if crowded || draw < 15 => self.unpin(client, &one).await,
            (30..=41, Some(one)) => self.pin_part(client, &one).await,
            (42..=51, Some(one)) => self.change(client, &one).await,
            (52..=59, Some(one)) => self.look(client, &one).await,
            (60..=64, _) => {
                match self.rng.pick(&self.mine_that_is(|k| k == Known::Absent)).cloned() {
                    Some(gone) => self.add(client, gone).await,
                    None => Ok(()),
                }
            }
            _ if !crowded => {
                let content = Content::of(self.world.seed, self.next)?;
                self.next += self.stride;
                self.mine.push(content.cid.clone());
                self.add(client, content).await
            }
            _ => Ok(()),
        }
    }

    fn mine_that_is(&self, wanted: impl Fn(Known) -> bool) -> Vec<Content> {
        let ledger = self.world.ledger.open();
        let mine = self.mine.iter().filter_map(|cid| ledger.items.get(cid));
        mine.filter(|item| wanted(item.known)).map(|item| item.content.clone()).collect()
    }

    fn replicas(&mut self) -> (u16, u16) {
        let max = self.rng.within(1..=3) as u16;
        (self.rng.within(1..=u64::from(max)) as u16, max)
    }

    async fn add(&mut self, client: &Client, content: Content) -> Result<()> {
        let (min, max) = self.replicas();
        let options = AddOptions {
            name: "trial".into(),
            replicas_min: Some(min),
            replicas_max: Some(max),
            ack: if self.rng.within(0..=3) == 0 { Ack::Local } else { Ack::Replicated },
            ..AddOptions::default()
        };
        let ledger = Arc::clone(&self.world.ledger);
        let before = ledger.open().begin(&content);
        let answer = in_time(upload(client, &content, &options)).await;
        let mut ledger = ledger.open();
        if let Ending::Answered(added) = &answer
            && added.root != content.cid
        {
            ledger.losses.push(format!("{} was added as {}", content.cid, added.root));
        }
        ledger.end(&content.cid, before, answer.map(|_| Known::Present));
        Ok(())
    }

    async fn unpin(&mut self, client: &Client, content: &Content) -> Result<()> {
        let before = self.world.ledger.open().begin(content);
        let request = CidRequest { cid: content.cid.clone() };
        let answer = in_time(client.run::<PinRm>(&request)).await;
        self.world.ledger.open().end(&content.cid, before, answer.map(|_| Known::Absent));
        Ok(())
    }

    /// Pins a part of what is pinned, which must then outlive the whole.
    async fn pin_part(&mut self, client: &Client, whole: &Content) -> Result<()> {
        let Some(part) = whole.part()? else { return Ok(()) };
        let known = self.world.ledger.open().items.get(&part.cid).map(|item| item.known);
        if !matches!(known, None | Some(Known::Absent)) {
            return Ok(());
        }
        if known.is_none() {
            self.mine.push(part.cid.clone());
        }
        self.pin(client, &part).await
    }

    /// Asks for another number of copies.
    async fn change(&mut self, client: &Client, content: &Content) -> Result<()> {
        self.pin(client, content).await
    }

    async fn pin(&mut self, client: &Client, content: &Content) -> Result<()> {
        let (min, max) = self.replicas();
        let before = self.world.ledger.open().begin(content);
        let request = PinAddRequest {
            name: "trial".into(),
            replicas_min: Some(min),
            replicas_max: Some(max),
            ..PinAddRequest::of(content.cid.clone())
        };
        let answer = in_time(client.run::<PinAdd>(&request)).await;
        self.world.ledger.open().end(&content.cid, before, answer.map(|_| Known::Present));
        Ok(())
    }

    /// Reads a file of something that is pinned; while nodes die, not every reading succeeds.
    async fn look(&mut self, client: &Client, content: &Content) -> Result<()> {
        let files = content.files();
        let Some((path, expected)) = self.rng.pick(&files) else { return Ok(()) };
        let read = in_time(read_file(client, path)).await;
        let mut ledger = self.world.ledger.open();
        match read {
            Ending::Answered(bytes) if bytes != *expected => {
                ledger.losses.push(format!("{path} has other bytes than were added"));
            }
            Ending::Answered(_) => ledger.answered += 1,
            Ending::Lost => ledger.unanswered += 1,
            Ending::NobodyThere => {}
        }
        Ok(())
    }
}

async fn upload(
    client: &Client,
    content: &Content,
    options: &AddOptions,
) -> Result<Added, CliError> {
    let bytes = content.clone();
    let write = move |out: &mut _| bytes.write(out);
    let added = match content.is_file() {
        true => client.add_file(options, write, |_| {}).await,
        false => client.add(options, write, |_| {}).await,
    };
    added.map(|(added, ())| added)
}

/// An answer, if there is one.
async fn in_time<T>(asked: impl Future<Output = Result<T, CliError>>) -> Ending<T> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ending::Answered(answer),
        Ok(Err(error)) if error.code() == "E_NO_NODE" => {
            tokio::time::sleep(PAUSE).await;
            Ending::NobodyThere
        }
        Ok(Err(_)) | Err(_) => Ending::Lost,
    }
}
