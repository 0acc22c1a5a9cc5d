//! Commands and nodes as processes.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// The binary under test.
pub const KIT: &str = env!("CARGO_BIN_EXE_ipfs-kit");
/// How long anything may take on a busy machine before the test calls it broken.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);
/// Among a node's settings: no file of it grows beyond this, as on a disk that fails.
pub const FILES_KIB_MAX: &str = "FILES_KIB_MAX";
/// Lets the kernel choose.
const ANY_PORT: &str = "127.0.0.1:0";
/// Below what Linux and others give to connections, above what services use.
const STEADY_PORTS: Range<u32> = 20_000..32_000;

/// A test's own folder, gone at its end.
pub struct Place(TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("ipfs-kit-program-").tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with some content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Makes a node of the folder `name` and runs it.
    pub async fn node(&self, name: &str, init: &[&str]) -> Node {
        let folder = self.path(name);
        let made = kit(&folder, &["--api", ANY_PORT, "init", "--name", name], init).await;
        assert!(made.status.success(), "{made:?}");
        Node::up(&folder, &[]).await
    }

    /// The first master of a new cluster. A machine has an address that stays, so this one has too.
    pub async fn master(&self, name: &str) -> Node {
        let addr = free_address();
        self.node(name, &["--role", "master", "--listen", &addr, "--advertise", &addr]).await
    }

    /// A member that joins with a new token.
    pub async fn worker(&self, name: &str, master: &Node) -> Node {
        self.member(name, master, "worker").await
    }

    /// A member of some role that joins with a new token.
    pub async fn member(&self, name: &str, master: &Node, role: &str) -> Node {
        let (token, addr) = (master.token(&["--role", role]).await, free_address());
        let listen = ["--listen", &addr, "--advertise", &addr];
        self.node(name, &[&["--role", role, "--join", &token], &listen[..]].concat()).await
    }
}

/// An address that nobody listens on, and that stays free while its node is down: the kernel gives its port to
/// no connection and to nobody who asks for any port. No other call in this process gets it.
pub fn free_address() -> String {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    let tried = std::iter::repeat_with(|| {
        let at = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        format!("127.0.0.1:{}", STEADY_PORTS.start + at % STEADY_PORTS.len() as u32)
    });
    let bind = |address: &String| std::net::TcpListener::bind(address).is_ok();
    tried.take(STEADY_PORTS.len()).find(bind).expect("a free port")
}

/// Runs a command on a folder to its end.
pub async fn kit(folder: &Path, args: &[&str], more: &[&str]) -> Ended {
    let mut command = command(folder);
    command.args(args).args(more);
    to_its_end(command).await
}

/// What any HTTP client gets from a node's API: status and text.
pub async fn http_get(node: &Node, path: &str, token: Option<&str>) -> (u16, String) {
    let address = std::fs::read_to_string(node.folder.join("api.addr")).unwrap();
    let client = ipfs_kit::http::client::of_api().build().unwrap();
    let mut request = client.get(format!("http://{}{path}", address.trim()));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// As [`kit`], started by another program that takes a command line.
pub async fn kit_through(starter: &[&str], folder: &Path, args: &[&str]) -> Ended {
    to_its_end(wrapped(command(folder).args(args), starter)).await
}

/// As [`kit`], for arguments that are no UTF-8.
pub async fn kit_os(folder: &Path, args: &[OsString]) -> Ended {
    let mut command = command(folder);
    command.args(args);
    to_its_end(command).await
}

/// A command on a folder, for tests that watch it run.
pub fn spawn_kit(folder: &Path, args: &[&str]) -> Command {
    let mut command = command(folder);
    command.args(args);
    command
}

async fn to_its_end(mut command: Command) -> Ended {
    command.stdin(Stdio::null());
    let args = format!("{:?}", command.as_std());
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args} did not end")).unwrap();
    Ended::of(output)
}

/// The same command with another program in front of it.
fn wrapped(command: &Command, starter: &[&str]) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new(starter[0]);
    outer.args(&starter[1..]).arg(KIT).args(inner.get_args()).kill_on_drop(true);
    outer.current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// The binary without anything that this machine's user has set.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(KIT);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IPFS_KIT_") {
            command.env_remove(name);
        }
    }
    let home = folder.parent().unwrap();
    command.env("HOME", home).current_dir(home).arg("--folder").arg(folder).kill_on_drop(true);
    command
}

impl Ended {
    /// What a process left behind.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// It failed with this exit code and this stable code, says all of `parts`, and says what to do.
    #[track_caller]
    pub fn refused(&self, exit: i32, code: &str, parts: &[&str]) {
        assert_eq!(self.status.code(), Some(exit), "{self:?}");
        assert!(self.stderr.contains(&format!("  code: {code}\n")), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(self.stderr.contains("  hint: "), "it says what to do: {self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:?}");
        }
    }
}

/// A node that runs; killed when dropped, and by the kernel if this process dies.
pub struct Node {
    pub folder: PathBuf,
    child: Child,
}

impl Node {
    /// Runs the node of a folder and waits until it answers.
    pub async fn up(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut node = Self { folder: folder.to_owned(), child: start(folder, settings) };
        let answers = async |node: &mut Self| {
            if let Some(status) = node.child.try_wait().unwrap() {
                panic!("the node ended with {status}: {}", node.log());
            }
            node.run(&["status"]).await.status.success()
        };
        let end = Instant::now() + PATIENCE;
        while !answers(&mut node).await {
            assert!(Instant::now() < end, "the node does not answer: {}", node.log());
            tokio::time::sleep(LOOK).await;
        }
        node
    }

    /// What it has written to standard output and standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_of(&self.folder)).unwrap()
    }

    /// Runs a command on the node to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        kit(&self.folder, args, &[]).await
    }

    /// Runs a command that has to succeed; what it prints.
    pub async fn says(&self, args: &[&str]) -> String {
        let ended = self.run(args).await;
        assert!(ended.status.success(), "{args:?}: {ended:?}, log: {}", self.log());
        ended.stdout
    }

    /// As [`Node::says`], as JSON.
    pub async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> =
            ["--output", "json"].into_iter().chain(args.iter().copied()).collect();
        serde_json::from_str(&self.says(&args).await).unwrap()
    }

    /// Runs a command until it is as wanted, since clusters take a moment to agree.
    pub async fn until(&self, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let args: Vec<&str> =
            ["--output", "json"].into_iter().chain(args.iter().copied()).collect();
        let end = Instant::now() + PATIENCE;
        loop {
            let ended = self.run(&args).await;
            if let Ok(value) = serde_json::from_str(&ended.stdout)
                && wanted(&value)
            {
                return value;
            }
            assert!(Instant::now() < end, "{args:?}: {ended:?}, log: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A new token for a worker.
    pub async fn token(&self, args: &[&str]) -> String {
        // Right after the start nobody leads yet.
        let create = ["-q", "cluster", "token", "create"];
        let args: Vec<&str> = create.iter().chain(args).copied().collect();
        self.says(&args).await.trim().to_owned()
    }

    /// It takes content and gives it back: whatever went before has left no damage.
    pub async fn works(&self, content: &str) {
        let path = self.folder.with_extension("input");
        std::fs::write(&path, content).unwrap();
        let mut add = vec!["-q", "add"];
        if self.json(&["status"]).await["cluster"].is_string() {
            add.extend(["--replicas", "1"]);
        }
        add.push(path.to_str().unwrap());
        let cid = self.says(&add).await;
        assert_eq!(self.says(&["cat", cid.trim()]).await, content);
    }

    /// Ends it where it is.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Asks it to stop in order; it ends with success.
    pub async fn stop(self) {
        self.terminate();
        let (status, log) = self.ended().await;
        assert!(status.success(), "{status}: {log}");
    }

    /// Stops it in order; its folder, for the next run.
    pub async fn stopped(self) -> PathBuf {
        let folder = self.folder.clone();
        self.stop().await;
        folder
    }

    /// Asks it to stop in order.
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end: how it ended, and all that it wrote.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.child.wait()).await;
        (status.unwrap_or_else(|_| panic!("it runs on: {}", self.log())).unwrap(), self.log())
    }

    /// Waits until it has written something.
    pub async fn has_written(&self, part: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(part) {
            assert!(Instant::now() < end, "{part:?} is not in {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Runs `up`, which is expected to end by itself.
pub async fn up_ends(folder: &Path, settings: &[(&str, &str)]) -> Ended {
    let mut child = start(folder, settings);
    let status = timeout(PATIENCE, child.wait()).await;
    let log = std::fs::read_to_string(log_of(folder)).unwrap();
    let status = status.unwrap_or_else(|_| panic!("it runs on: {log}")).unwrap();
    // The log comes before the error.
    let error = log.find("error: ").map_or("", |at| &log[at..]);
    Ended { status, stdout: log.clone(), stderr: error.to_owned() }
}

fn start(folder: &Path, settings: &[(&str, &str)]) -> Child {
    let log = std::fs::File::create(log_of(folder)).unwrap();
    let mut command = command(folder);
    command.args(["up", "--with-parent"]).envs(settings.iter().copied());
    if let Some((_, kib)) = settings.iter().find(|(name, _)| *name == FILES_KIB_MAX) {
        // The shell becomes the node; a file that grows too large is an error and no signal.
        let limited = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        command = wrapped(&command, &["bash", "-c", &limited]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

fn log_of(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}
