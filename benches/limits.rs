//! What this machine allows: the least work that each task can't do without.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use sha2::{Digest, Sha256};

pub mod replicated;
pub mod tls;

/// Bytes read, hashed and written at once; aligned.
const PIECE_BYTES: usize = 2 << 20;
/// Direct I/O wants addresses on the borders of pages.
const ALIGN_BYTES: usize = 4096;

/// Syncs of which the median is taken.
const SYNCS: u64 = 500;
/// Round trips likewise.
const ROUND_TRIPS: usize = 2000;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `job` with every piece of a file on all cores.
fn over_pieces(
    file: &OwnedFd,
    job: impl Fn(u64, &mut [u8]) -> Result<()> + Sync,
) -> Result<Duration> {
    let len = rustix::fs::fstat(file)?.st_size.cast_unsigned();
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut memory = vec![0; PIECE_BYTES + ALIGN_BYTES];
            let shift = memory.as_ptr().align_offset(ALIGN_BYTES);
            let piece = &mut memory[shift..shift + PIECE_BYTES];
            loop {
                let offset = next.fetch_add(PIECE_BYTES as u64, Ordering::Relaxed);
                if offset >= len {
                    return Ok(());
                }
                let want = (len - offset).min(PIECE_BYTES as u64) as usize;
                let mut read = 0;
                while read < want {
                    // The end of a file that is read past the page cache need not be aligned.
                    let room = &mut piece[read..want.next_multiple_of(ALIGN_BYTES)];
                    let count = rustix::io::pread(file, room, offset + read as u64)?;
                    anyhow::ensure!(count > 0, "a file became shorter while it was read");
                    read += count;
                }
                job(offset, &mut piece[..want])?;
            }
        };
        // Two for each core, so that one hashes while another waits for the disk.
        let workers: Vec<_> = (0..2 * threads()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    Ok(begun.elapsed())
}

/// Reads and hashes a file on all cores.
pub fn hash(source: &Path) -> Result<Duration> {
    over_pieces(&File::open(source)?.into(), |_, piece| {
        std::hint::black_box(Sha256::digest(piece));
        Ok(())
    })
}

/// Reads and hashes the segments of a block store on all cores, from the disk itself; bytes in a second.
pub fn hash_from_disk(folder: &Path) -> Result<f64> {
    let (mut bytes, mut took) = (0, Duration::ZERO);
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty())
            .context("this file system gives no direct reads")?;
        bytes += rustix::fs::fstat(&file)?.st_size;
        took += over_pieces(&file, |_, piece| {
            std::hint::black_box(Sha256::digest(piece));
            Ok(())
        })?;
    }
    Ok(bytes as f64 / took.as_secs_f64())
}

/// Reads and hashes the segments of a block store from the disk, and beside that writes as many bytes to the
/// same disk, durably, as two nodes on it do; bytes in a second, each way.
pub fn copy_on_disk(segments: &Path, place: &Path) -> Result<f64> {
    let mut len_bytes = 0;
    for entry in std::fs::read_dir(segments)? {
        len_bytes += entry?.metadata()?.len();
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let written = scope.spawn(|| write(place, len_bytes));
        hash_from_disk(segments)?;
        written.join().expect("the writer does not panic")
    })?;
    Ok(len_bytes as f64 / begun.elapsed().as_secs_f64())
}

/// Writes so many bytes durably: direct, aligned, into space that was allocated before.
fn write(place: &Path, len_bytes: u64) -> Result<()> {
    let path = place.join("copied");
    let target = direct_target(&path, len_bytes)?;
    let memory = vec![7; PIECE_BYTES + ALIGN_BYTES];
    let shift = memory.as_ptr().align_offset(ALIGN_BYTES);
    let mut at = 0;
    while at < len_bytes {
        at += rustix::io::pwrite(&target, &memory[shift..shift + PIECE_BYTES], at)? as u64;
    }
    rustix::fs::fdatasync(&target)?;
    std::fs::remove_file(path)?;
    Ok(())
}

fn direct_target(path: &Path, len_bytes: u64) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let target = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .context("this file system takes no direct writes")?;
    rustix::fs::fallocate(&target, FallocateFlags::empty(), 0, len_bytes)?;
    Ok(target)
}

/// Reads and hashes a file on all cores, and writes it durably: direct, aligned, into space that was
/// allocated before.
pub fn hash_and_write(source: &Path, folder: &Path) -> Result<Duration> {
    let len = std::fs::metadata(source)?.len();
    let path = folder.join("written");
    let begun = Instant::now();
    let target = direct_target(&path, len)?;
    over_pieces(&File::open(source)?.into(), |offset, piece| {
        std::hint::black_box(Sha256::digest(&*piece));
        // The last piece may be no multiple of a page; its tail does not change the figure.
        let aligned = piece.len() - piece.len() % ALIGN_BYTES;
        let mut written = 0;
        while written < aligned {
            written +=
                rustix::io::pwrite(&target, &piece[written..aligned], offset + written as u64)?;
        }
        Ok(())
    })?;
    rustix::fs::fdatasync(&target)?;
    let took = begun.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

/// Walks a tree, reads every file and hashes it, on all cores.
pub fn walk_and_hash(root: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut folders = vec![root.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    let share = files.len().div_ceil(threads()).max(1);
    std::thread::scope(|scope| {
        let work = |files: &[PathBuf]| -> Result<()> {
            for file in files {
                std::hint::black_box(Sha256::digest(std::fs::read(file)?));
            }
            Ok(())
        };
        let workers: Vec<_> =
            files.chunks(share).map(|files| scope.spawn(move || work(files))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    Ok(begun.elapsed())
}

/// How long 4 KiB take to be durable, in the median: a direct write into space that is there, and a
/// sync.
pub fn sync_p50(folder: &Path) -> Result<Duration> {
    let path = folder.join("synced");
    let target = direct_target(&path, SYNCS * ALIGN_BYTES as u64)?;
    let memory = vec![7; 2 * ALIGN_BYTES];
    let shift = memory.as_ptr().align_offset(ALIGN_BYTES);
    let mut took = Vec::new();
    for at in 0..SYNCS {
        let begun = Instant::now();
        let page = &memory[shift..shift + ALIGN_BYTES];
        anyhow::ensure!(rustix::io::pwrite(&target, page, at * ALIGN_BYTES as u64)? == ALIGN_BYTES);
        rustix::fs::fdatasync(&target)?;
        took.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(median(took))
}

/// How long a byte takes to another thread and back over TCP on loopback, in the median.
pub fn round_trip_p50() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut took = Vec::new();
    let mut byte = [1];
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        took.push(begun.elapsed());
    }
    drop(near);
    echo.join().expect("the echo does not panic");
    Ok(median(took))
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}
