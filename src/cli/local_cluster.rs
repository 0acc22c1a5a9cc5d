//! A whole cluster on this machine, each node a process of its own: for `demo`, `up --dev` and the trials.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ipfs_kit_core::member::{Liveness, RaftStanding, Role};
use ipfs_kit_core::ops::{
    NodeInfo, NodeList, NodeLs, NodeStatus, Nothing, Status, TokenCreate, TokenCreateRequest,
};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::args::Globals;
use super::client::Client;
use super::error::CliError;
use super::init;
use crate::config::{self, Flag, Sources};

/// How long a node may take to answer after its start, on a machine that has much else to do.
const START_WITHIN: Duration = Duration::from_secs(90);
/// How long the cluster may take to reach a state that is waited for.
const REACH_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);
/// How long a node may take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What a cluster consists of: names and roles, the founder first.
pub const SHAPE: [(&str, Role); 7] = [
    ("master-1", Role::Master),
    ("master-2", Role::Master),
    ("master-3", Role::Master),
    ("worker-1", Role::Worker),
    ("worker-2", Role::Worker),
    ("worker-3", Role::Worker),
    ("leecher-1", Role::Leecher),
];

/// How soon the cluster acts on silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// The defaults of a real cluster.
    Relaxed,
    /// Within a second or two, so that a story needs no patience.
    Brisk,
}

/// Where nodes listen for members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// At a port that the kernel chooses at every start.
    #[default]
    Any,
    /// Each at a loopback address of its own, so that all may stop at once and find each other again.
    Fixed,
}

/// The port of fixed addresses.
const FIXED_PORT: u16 = 4701;

/// One node, a process of its own.
pub struct LocalNode {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    folder: PathBuf,
    child: Option<Child>,
}

impl LocalNode {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }
}

/// A cluster of processes in folders under one temporary folder.
pub struct LocalCluster {
    base: Option<tempfile::TempDir>,
    program: PathBuf,
    addresses: Addresses,
    nodes: Vec<LocalNode>,
    extra: Vec<Flag>,
    variables: Vec<(&'static str, String)>,
}

impl LocalCluster {
    /// An empty cluster of this very program in a new folder.
    pub fn new() -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::new("E_START", "can't find the program").because(&error))?;
        Self::of(program, Addresses::Any)
    }

    /// An empty cluster of a given program in a new folder.
    pub fn of(program: PathBuf, addresses: Addresses) -> Result<Self, CliError> {
        let base = tempfile::Builder::new().prefix("ipfs-kit-").tempdir().map_err(|error| {
            CliError::new("E_IO", "can't make a temporary folder").because(&error)
        })?;
        let (nodes, extra, variables) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { base: Some(base), program, addresses, nodes, extra, variables })
    }

    /// Settings for every node made from now on.
    pub fn set(&mut self, path: &'static str, value: &str) {
        self.extra.push(Flag { path, name: "the cluster's own setting", value: value.to_owned() });
    }

    /// A variable in the environment of every process started from now on.
    pub fn set_variable(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.base.as_ref().map_or(Path::new("."), tempfile::TempDir::path)
    }

    /// Starts all nodes, joins them with one-time tokens and waits until everybody is there.
    pub async fn start(
        &mut self,
        shape: &[(&str, Role)],
        timing: Timing,
        say: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), CliError> {
        let begun = Instant::now();
        for (at, (name, role)) in shape.iter().enumerate() {
            let token = match at {
                0 => None,
                _ => Some(self.token(*role).await?),
            };
            self.make(name, *role, timing, token.as_deref())?;
            self.spawn(at)?;
            if at == 0 {
                self.wait_ready(0).await?;
                say(format!("{name} runs and leads ({} ms)", begun.elapsed().as_millis()));
            }
        }
        for at in 1..shape.len() {
            self.wait_ready(at).await?;
        }
        let masters = shape.iter().filter(|(_, role)| *role == Role::Master).count();
        let count = shape.len();
        self.reach("everybody is there and every master votes", |list| {
            let alive = list.items.iter().filter(|n| n.liveness == Liveness::Alive).count();
            let voters = list.items.iter().filter(|n| n.raft == RaftStanding::Voter).count();
            alive == count && voters == masters
        })
        .await?;
        say(format!(
            "{count} nodes joined with one-time tokens ({} ms)",
            begun.elapsed().as_millis()
        ));
        Ok(())
    }

    async fn token(&self, role: Role) -> Result<String, CliError> {
        let request = TokenCreateRequest { role, expires_in_ms: Some(600_000) };
        let until = Instant::now() + REACH_WITHIN;
        loop {
            match self.any_master()?.run::<TokenCreate>(&request).await {
                Ok(created) => return Ok(created.token),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn make(
        &mut self,
        name: &str,
        role: Role,
        timing: Timing,
        join: Option<&str>,
    ) -> Result<(), CliError> {
        let folder = self.path().join(name);
        let mut set = vec![
            ("folder", folder.to_string_lossy().into_owned()),
            ("role", role.to_string()),
            ("name", name.to_owned()),
            ("listen", self.listen_of(self.nodes.len())),
            ("api.listen", "127.0.0.1:0".to_owned()),
            ("pins.replicas_min", "2".to_owned()),
            ("pins.replicas_max", "2".to_owned()),
            ("storage.max", "20GiB".to_owned()),
        ];
        if timing == Timing::Brisk {
            set.extend([
                ("cluster.heartbeat", "200ms".to_owned()),
                ("cluster.lease", "1s".to_owned()),
                ("cluster.repair_grace", "500ms".to_owned()),
            ]);
        }
        let mut flags: Vec<Flag> = set
            .into_iter()
            .map(|(path, value)| Flag { path, name: "the cluster's own setting", value })
            .collect();
        flags.extend(self.extra.iter().cloned());
        // Nothing of the user's own node leaks in: no environment, no file.
        let sources = Sources {
            flags,
            environment: Default::default(),
            ..Sources::of_process(Vec::new(), None)
        };
        let loaded = config::load(&sources)?;
        init::make(&loaded, join)?;
        self.nodes.push(LocalNode { name: name.to_owned(), role, folder, child: None });
        Ok(())
    }

    /// Two clusters of different processes never meet.
    fn listen_of(&self, at: usize) -> String {
        let [.., high, low] = std::process::id().to_be_bytes();
        match self.addresses {
            Addresses::Any => "127.0.0.1:0".to_owned(),
            Addresses::Fixed => format!("127.{}.{low}.{}:{FIXED_PORT}", high | 128, at + 1),
        }
    }

    /// Starts a node's process.
    pub fn spawn(&mut self, at: usize) -> Result<(), CliError> {
        let node = &mut self.nodes[at];
        let failed = |what: &str, error: &std::io::Error| {
            CliError::new("E_START", format!("{what} of {}", node.name)).because(error)
        };
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(node.folder.join("log"))
            .map_err(|error| failed("can't write the log", &error))?;
        // A stale address would be taken for the new run's.
        let _ = crate::http::folder::remove_address(&node.folder);
        let out = log.try_clone().map_err(|error| failed("can't write the log", &error))?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IPFS_KIT_") {
                command.env_remove(name);
            }
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let child = command
            .envs(variables)
            .arg("--folder")
            .arg(&node.folder)
            .arg("up")
            .arg("--with-parent")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            // Ctrl-C is for the story, which then stops its nodes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("can't start the process", &error))?;
        node.child = Some(child);
        Ok(())
    }

    /// Waits until a node answers.
    pub async fn wait_ready(&mut self, at: usize) -> Result<(), CliError> {
        let until = Instant::now() + START_WITHIN;
        loop {
            if let Some(exit) = self.exited(at) {
                let message = format!("{} ended while starting ({exit})", self.nodes[at].name);
                return Err(CliError::new("E_START", message).hint(self.log_hint(at)));
            }
            if let Ok(client) = self.client(at)
                && client.run::<Status>(&Nothing {}).await.is_ok()
            {
                return Ok(());
            }
            if Instant::now() >= until {
                let message = format!("{} does not answer", self.nodes[at].name);
                return Err(CliError::new("E_TIMEOUT", message).hint(self.log_hint(at)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn exited(&mut self, at: usize) -> Option<std::process::ExitStatus> {
        self.nodes[at].child.as_mut()?.try_wait().ok().flatten()
    }

    fn log_hint(&self, at: usize) -> String {
        let log = self.nodes[at].folder.join("log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(3).collect();
        format!(
            "its log is {}: {}",
            log.display(),
            tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
        )
    }

    /// A client of one node.
    pub fn client(&self, at: usize) -> Result<Client, CliError> {
        client_of(&self.nodes[at].folder)
    }

    /// A client of any master that runs.
    pub fn any_master(&self) -> Result<Client, CliError> {
        let masters = self.running().filter(|at| self.nodes[*at].role == Role::Master);
        let mut last = CliError::new("E_NO_QUORUM", "no master runs");
        for at in masters {
            match self.client(at) {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Nodes whose process was not killed.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].child.is_some())
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The nodes.
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// The members as a master sees them.
    pub async fn members(&self) -> Result<NodeList, CliError> {
        let until = Instant::now() + REACH_WITHIN;
        loop {
            let mut last = CliError::new("E_NO_QUORUM", "no master runs");
            for at in self.running().filter(|at| self.nodes[*at].role == Role::Master) {
                match self.client(at) {
                    Ok(client) => match client.run::<NodeLs>(&Nothing {}).await {
                        Ok(list) => return Ok(list),
                        Err(error) => last = error,
                    },
                    Err(error) => last = error,
                }
            }
            if Instant::now() >= until {
                return Err(last);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the members are as wanted; says since when it was waited.
    pub async fn reach(
        &self,
        what: &str,
        is_so: impl Fn(&NodeList) -> bool,
    ) -> Result<Duration, CliError> {
        let begun = Instant::now();
        loop {
            let list = self.members().await?;
            if is_so(&list) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() >= REACH_WITHIN {
                let shown: Vec<String> = list.items.iter().map(describe).collect();
                let message = format!("waited in vain: {what} ({})", shown.join(", "));
                return Err(CliError::new("E_TIMEOUT", message));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The status of a running node.
    pub async fn status(&self, at: usize) -> Result<NodeStatus, CliError> {
        self.client(at)?.run::<Status>(&Nothing {}).await
    }

    /// kill -9.
    pub async fn kill(&mut self, at: usize) -> Result<(), CliError> {
        self.kill_at_once(&[at]).await
    }

    /// kill -9 of several nodes, none of which notices the end of another.
    pub async fn kill_at_once(&mut self, victims: &[usize]) -> Result<(), CliError> {
        let mut dying = Vec::new();
        for at in victims {
            let node = &mut self.nodes[*at];
            let Some(mut child) = node.child.take() else { continue };
            let killed = child.start_kill();
            dying.push((node.name.clone(), child, killed));
        }
        for (name, mut child, killed) in dying {
            let ended = match killed {
                Ok(()) => child.wait().await.map(drop),
                Err(error) => Err(error),
            };
            ended.map_err(|error| {
                CliError::new("E_INTERNAL", format!("can't kill {name}")).because(&error)
            })?;
        }
        Ok(())
    }

    /// What users need to talk to the nodes.
    pub fn endpoints(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            text.push_str(&format!(
                "{:<10} {:<8} ipfs-kit --folder {} status\n",
                node.name,
                node.role.as_str(),
                node.folder.display()
            ));
        }
        text
    }

    /// Stops all processes in order and removes everything.
    pub async fn discard(&mut self) {
        let mut stopping = Vec::new();
        for node in &mut self.nodes {
            let Some(mut child) = node.child.take() else { continue };
            if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
                // Gone already: nothing to stop.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            stopping.push(async move {
                if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
                    // It is killed when dropped.
                    drop(child);
                }
            });
        }
        futures_util::future::join_all(stopping).await;
        if let Some(base) = self.base.take()
            && let Err(error) = base.close()
        {
            eprintln!("warning: the temporary folder could not be removed: {error}");
        }
    }

    /// Stops all processes at once and keeps the folders; where they are.
    pub fn keep(&mut self) -> PathBuf {
        for node in &mut self.nodes {
            // Killed when dropped.
            node.child.take();
        }
        self.base.take().map(tempfile::TempDir::keep).unwrap_or_default()
    }
}

/// A client of the node in a folder.
pub fn client_of(folder: &Path) -> Result<Client, CliError> {
    let folder: OsString = folder.to_owned().into();
    Client::open(&Globals { folder: Some(folder), ..Globals::default() })
}

fn describe(node: &NodeInfo) -> String {
    format!("{} {:?} {:?}", node.name, node.liveness, node.raft)
}
