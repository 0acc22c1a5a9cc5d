//! The program under test: its binary, its nodes and its clusters, as processes.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a node may take to answer after its start.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
pub const LOOK: Duration = Duration::from_millis(20);
const ANY_PORT: &str = "127.0.0.1:0";
/// Below what Linux and others give to connections, above what services use.
const STEADY_PORTS: Range<u32> = 20_000..32_000;

/// The binary.
#[derive(Clone)]
pub struct Program {
    binary: PathBuf,
    settings: Vec<(&'static str, &'static str)>,
}

/// A running node; killed when dropped.
pub struct Node<'a> {
    program: &'a Program,
    pub folder: PathBuf,
    child: Child,
}

impl Program {
    /// The given binary, or the release, built first if need be.
    pub fn new(binary: Option<PathBuf>) -> Result<Self> {
        if let Some(binary) = binary {
            ensure!(binary.is_file(), "{} is no file", binary.display());
            return Ok(Self { binary, settings: Vec::new() });
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--quiet", "--package", "ipfs-kit"])
            .status()
            .context("cargo can't be run; --binary names a binary")?;
        ensure!(built.success(), "the release can't be built");
        let here = std::env::current_exe()?;
        let binary = here.with_file_name("ipfs-kit");
        ensure!(binary.is_file(), "{} is not there; --binary names one", binary.display());
        Ok(Self { binary, settings: Vec::new() })
    }

    /// The same with a setting, by the name of its environment variable.
    pub fn with(&self, name: &'static str, value: &'static str) -> Self {
        let mut program = self.clone();
        program.settings.push((name, value));
        program
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IPFS_KIT_") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().copied());
        command.arg("--folder").arg(folder).stdin(Stdio::null());
        command
    }

    /// Runs a client command on a node's folder and returns what it printed.
    pub fn run(&self, folder: &Path, args: &[&str]) -> Result<String> {
        let output = self.command(folder).args(args).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("ipfs-kit {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// [`Program::run`], its output thrown away as it comes.
    pub fn run_unheard(&self, folder: &Path, args: &[&str]) -> Result<()> {
        let status = self.command(folder).args(args).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "ipfs-kit {}: {status}", args.join(" "));
        Ok(())
    }

    /// A value that a command prints as JSON.
    pub fn json(&self, folder: &Path, args: &[&str]) -> Result<Value> {
        let text = self.run(folder, &[&["--output", "json"], args].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes a node and starts it.
    pub fn node(&self, folder: &Path, init: &[&str]) -> Result<Node<'_>> {
        self.run(folder, &[&["--api", ANY_PORT, "init"], init].concat())?;
        self.up(folder)
    }

    /// Starts a node that was made before, and waits until it answers.
    pub fn up(&self, folder: &Path) -> Result<Node<'_>> {
        let log = std::fs::File::create(folder.join("bench.log"))?;
        let child = self.command(folder).arg("up").stdout(Stdio::null()).stderr(log).spawn()?;
        let mut node = Node { program: self, folder: folder.to_path_buf(), child };
        let until = Instant::now() + READY_WITHIN;
        while let Err(error) = self.run(folder, &["status"]) {
            if let Some(status) = node.child.try_wait()? {
                bail!("the node of {} ended: {status}", folder.display());
            }
            if Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(LOOK);
        }
        Ok(node)
    }

    /// Three masters in folders below `place`.
    pub fn masters(&self, place: &Path) -> Result<Vec<Node<'_>>> {
        let addr = free_address()?;
        let fixed = ["--listen", &addr, "--advertise", &addr];
        let first = [&["--role", "master", "--name", "m1"][..], &fixed].concat();
        let mut nodes = vec![self.node(&place.join("m1"), &first)?];
        for name in ["m2", "m3"] {
            let token = nodes[0].run(&["-q", "cluster", "token", "create", "--role", "master"])?;
            let addr = free_address()?;
            let join = ["--name", name, "--listen", &addr, "--advertise", &addr];
            let join = [&join[..], &["--role", "master", "--join", token.trim()]].concat();
            nodes.push(self.node(&place.join(name), &join)?);
        }
        wait("three masters vote", || {
            let list = nodes[0].json(&["node", "ls"])?;
            let votes = |node: &&Value| node["raft"] == "voter" && node["liveness"] == "alive";
            Ok(list.as_array().is_some_and(|list| list.iter().filter(votes).count() == 3))
        })?;
        Ok(nodes)
    }
}

impl Node<'_> {
    /// Runs a client command.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.program.run(&self.folder, args)
    }

    /// Runs a client command and gives it what `feed` writes.
    pub fn run_with(
        &self,
        args: &[&str],
        feed: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<String> {
        let mut command = self.program.command(&self.folder);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("the client has an input")?;
        let fed = feed(&mut input);
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ipfs-kit {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        fed?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A value that a command prints as JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        self.program.json(&self.folder, args)
    }

    /// Kills it where it is.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most that its resident memory ever was, in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("the kernel does not tell the resident memory")? * 1024)
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Err(error) = self.kill() {
            eprintln!("a node can't be killed: {error}");
        }
    }
}

/// Waits until something holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let now = holds();
        match now {
            Ok(true) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error.context(what.to_owned())),
            Ok(false) if Instant::now() >= until => bail!("not in time: {what}"),
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// The master that leads, and another one.
pub fn leader_and_other(nodes: &[Node<'_>]) -> Result<(usize, usize)> {
    let mut found = None;
    wait("a leader is known", || {
        for (at, node) in nodes.iter().enumerate() {
            let status = node.json(&["status"])?;
            if !status["node"].is_null() && status["view"]["leader"] == status["node"] {
                found = Some(at);
            }
        }
        Ok(found.is_some())
    })?;
    let leader = found.context("no leader")?;
    Ok((leader, (leader + 1) % nodes.len()))
}

/// An address that nobody listens on, and that stays free while its node is down: the kernel gives its port to
/// no connection.
fn free_address() -> Result<String> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    let tried = std::iter::repeat_with(|| {
        let at = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        format!("127.0.0.1:{}", STEADY_PORTS.start + at % STEADY_PORTS.len() as u32)
    });
    let bind = |address: &String| std::net::TcpListener::bind(address).is_ok();
    tried.take(STEADY_PORTS.len()).find(bind).context("no free port")
}
