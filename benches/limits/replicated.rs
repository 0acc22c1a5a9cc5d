//! The bare work of one replicated commit on this machine: three members that share its disk and its cores.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{ALIGN_BYTES, SYNCS, direct_target, median};

/// What a pin takes in a message, generously.
const MESSAGE_BYTES: usize = 256;
const FOLLOWERS: usize = 2;
/// An answer that takes longer ends the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a leader takes, in the median, to send an entry to two followers and to write and sync it, until the
/// first follower that has written and synced it has said so. Nothing is decided, encrypted or applied.
pub fn commit_p50(folder: &Path) -> Result<Duration> {
    let answers = UdpSocket::bind("127.0.0.1:0")?;
    answers.set_read_timeout(Some(ANSWER_WITHIN))?;
    let to = answers.local_addr()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut followers = Vec::new();
    let mut streams = Vec::new();
    for number in 0..FOLLOWERS {
        let near = TcpStream::connect(listener.local_addr()?)?;
        near.set_nodelay(true)?;
        let (far, _) = listener.accept()?;
        let disk = Disk::new(&folder.join(format!("follower-{number}")))?;
        followers.push(std::thread::spawn(move || follow(far, &disk, to)));
        streams.push(near);
    }
    let took = lead(&folder.join("leader"), &mut streams, &answers)?;
    drop(streams);
    for follower in followers {
        follower.join().expect("no follower panics")?;
    }
    Ok(took)
}

fn lead(path: &Path, followers: &mut [TcpStream], answers: &UdpSocket) -> Result<Duration> {
    let disk = Disk::new(path)?;
    let mut took = Vec::new();
    let mut message = [7; MESSAGE_BYTES];
    for index in 0..SYNCS {
        let begun = Instant::now();
        message[..size_of::<u64>()].copy_from_slice(&index.to_be_bytes());
        for follower in &mut *followers {
            follower.write_all(&message)?;
        }
        disk.write(index)?;
        // The slower follower's word on an earlier entry may come first.
        while answer(answers)? != index {}
        took.push(begun.elapsed());
    }
    Ok(median(took))
}

fn answer(answers: &UdpSocket) -> Result<u64> {
    let mut index = [0; size_of::<u64>()];
    let len = answers.recv(&mut index).context("no follower answers")?;
    ensure!(len == index.len(), "a follower's answer is cut");
    Ok(u64::from_be_bytes(index))
}

fn follow(mut stream: TcpStream, disk: &Disk, to: std::net::SocketAddr) -> Result<()> {
    let answers = UdpSocket::bind("127.0.0.1:0")?;
    let mut message = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut message).is_ok() {
        let (index, _) = message.split_first_chunk().context("a message begins with its index")?;
        disk.write(u64::from_be_bytes(*index))?;
        answers.send_to(index, to)?;
    }
    Ok(())
}

/// A file with space that is there, for writes past the page cache.
struct Disk {
    file: OwnedFd,
    memory: Vec<u8>,
}

impl Disk {
    fn new(path: &Path) -> Result<Self> {
        let file = direct_target(path, SYNCS * ALIGN_BYTES as u64)?;
        let disk = Self { file, memory: vec![7; 2 * ALIGN_BYTES] };
        // Space that was never written costs more to sync.
        (0..SYNCS).try_for_each(|index| disk.put(index))?;
        rustix::fs::fdatasync(&disk.file)?;
        Ok(disk)
    }

    fn write(&self, index: u64) -> Result<()> {
        self.put(index)?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn put(&self, index: u64) -> Result<()> {
        let shift = self.memory.as_ptr().align_offset(ALIGN_BYTES);
        let page = &self.memory[shift..shift + ALIGN_BYTES];
        let written = rustix::io::pwrite(&self.file, page, index * ALIGN_BYTES as u64)?;
        ensure!(written == ALIGN_BYTES, "a page was written in part");
        Ok(())
    }
}
