//! A load generator, as a process of its own: requests on one pipelined stream of the HTTP API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cid::Cid;
use cid::multihash::Multihash;
use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// Codec of raw bytes, hash function SHA-256: 36 bytes of CID.
const RAW: u64 = 0x55;
const SHA2_256: u64 = 0x12;
/// An answer that takes longer ends the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What to send where.
#[derive(Args, Clone)]
pub struct Load {
    /// Where the API of the node listens
    #[arg(long)]
    pub address: String,
    /// The file with its token
    #[arg(long)]
    pub token: PathBuf,
    /// What to ask
    #[arg(long, value_enum)]
    pub ask: Ask,
    /// How many requests
    #[arg(long)]
    pub count: u64,
    /// Requests without an answer at a time
    #[arg(long)]
    pub outstanding: u64,
    /// Which CIDs
    #[arg(long)]
    pub seed: u64,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ask {
    /// Pin CIDs.
    Add,
    /// Look at them.
    Status,
}

impl Ask {
    fn path(self) -> &'static str {
        match self {
            Self::Add => "/api/v1/pins/add",
            Self::Status => "/api/v1/pins/status",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Took {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Requests that were answered with an error.
    pub failed: u64,
}

impl Load {
    /// Runs it in another process; an error unless every request was answered without one.
    pub fn in_process(&self) -> Result<f64> {
        let text = |value: u64| value.to_string();
        let ask =
            clap::ValueEnum::to_possible_value(&self.ask).context("every value has a name")?;
        let output = Command::new(std::env::current_exe()?)
            .args(["load", "--address", &self.address, "--ask", ask.get_name()])
            .args(["--count", &text(self.count), "--outstanding", &text(self.outstanding)])
            .args(["--seed", &text(self.seed), "--token"])
            .arg(&self.token)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the load generator failed");
        let took: Took = serde_json::from_slice(&output.stdout)?;
        ensure!(took.failed == 0, "{} of {} requests failed", took.failed, self.count);
        Ok(self.count as f64 / took.seconds)
    }

    /// Runs it here.
    pub fn run(&self) -> Result<Took> {
        let token = std::fs::read_to_string(&self.token)?;
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let path = self.ask.path();
        let (address, token) = (&self.address, token.trim());
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )?;
        let mut answers = Chunks::new(stream.try_clone()?)?;
        let mut requests = Requests::new(self.ask, self.seed);
        let (mut sent, mut answered, mut failed) = (0, 0, 0);
        let mut text = Vec::new();
        let begun = Instant::now();
        while answered < self.count {
            text.clear();
            while sent < self.count && sent - answered < self.outstanding {
                requests.push(&mut text)?;
                sent += 1;
            }
            if !text.is_empty() {
                let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
                chunk.extend_from_slice(&text);
                chunk.extend_from_slice(b"\r\n");
                stream.write_all(&chunk)?;
            }
            let (lines, errors) = answers.next_lines()?;
            answered += lines;
            failed += errors;
        }
        let seconds = begun.elapsed().as_secs_f64();
        stream.write_all(b"0\r\n\r\n")?;
        Ok(Took { seconds, failed })
    }
}

/// Requests for CIDs that nobody has.
struct Requests {
    ask: Ask,
    random: ChaCha8Rng,
    number: u64,
}

impl Requests {
    fn new(ask: Ask, seed: u64) -> Self {
        Self { ask, random: ChaCha8Rng::seed_from_u64(seed), number: 0 }
    }

    fn push(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut digest = [0; 32];
        self.random.fill_bytes(&mut digest);
        let cid = Cid::new_v1(RAW, Multihash::<64>::wrap(SHA2_256, &digest)?);
        self.number += 1;
        match self.ask {
            Ask::Add => writeln!(
                out,
                r#"{{"cid":"{cid}","name":"pin-{:012}","replicas_min":2,"replicas_max":2}}"#,
                self.number
            )?,
            Ask::Status => writeln!(out, r#"{{"cid":"{cid}"}}"#)?,
        }
        Ok(())
    }
}

/// The body of a chunked answer.
struct Chunks {
    input: BufReader<TcpStream>,
    chunk: Vec<u8>,
}

impl Chunks {
    /// Reads the head of the answer when the first lines are wanted.
    fn new(stream: TcpStream) -> Result<Self> {
        let mut input = BufReader::with_capacity(1 << 20, stream);
        let mut line = String::new();
        input.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "the node answers {}", line.trim());
        while line != "\r\n" {
            line.clear();
            ensure!(input.read_line(&mut line)? > 0, "the answer ends in its head");
        }
        Ok(Self { input, chunk: Vec::new() })
    }

    /// The lines that came, at least one, and how many of them are errors.
    fn next_lines(&mut self) -> Result<(u64, u64)> {
        let mut head = String::new();
        self.input.read_line(&mut head)?;
        let len = usize::from_str_radix(head.trim(), 16).context("no length of a chunk")?;
        if len == 0 {
            bail!("the answer ends early");
        }
        self.chunk.resize(len + 2, 0);
        self.input.read_exact(&mut self.chunk)?;
        let lines = self.chunk[..len].split_inclusive(|byte| *byte == b'\n');
        let mut count = (0, 0);
        for line in lines {
            count.0 += 1;
            if line.starts_with(br#"{"error""#) {
                eprintln!("{}", String::from_utf8_lossy(line).trim());
                count.1 += 1;
            }
        }
        Ok(count)
    }
}
