//! A file of which this process keeps what was not synced.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipfs_kit_store::disk::{DiskError, DiskErrorKind, DiskFile};

use super::luck::Luck;

/// Bytes of one file that are kept; beyond that the oldest land, as they do on a busy machine.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A file under any name, opened any number of times.
#[derive(Debug)]
pub(super) struct Unsynced {
    real: Arc<dyn DiskFile>,
    data: Mutex<Data>,
}

#[derive(Debug)]
struct Data {
    /// As this process sees it.
    len_bytes: u64,
    waiting: VecDeque<Write>,
    kept_bytes: usize,
    luck: Luck,
}

#[derive(Debug)]
enum Write {
    Bytes { offset: u64, bytes: Vec<u8> },
    Len(u64),
    Room(u64),
}

impl Unsynced {
    pub(super) fn new(real: Arc<dyn DiskFile>, luck: Luck) -> Result<Self, DiskError> {
        let len_bytes = real.len()?;
        let data = Data { len_bytes, waiting: VecDeque::new(), kept_bytes: 0, luck };
        Ok(Self { real, data: Mutex::new(data) })
    }

    pub(super) fn is_synced(&self) -> bool {
        self.data().waiting.is_empty()
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write; by chance a part of what waits lands.
    fn write(&self, write: Write) -> Result<(), DiskError> {
        let mut data = self.data();
        data.len_bytes = match &write {
            Write::Bytes { offset, bytes } => data.len_bytes.max(offset + bytes.len() as u64),
            Write::Len(len_bytes) => *len_bytes,
            Write::Room(len_bytes) => data.len_bytes.max(*len_bytes),
        };
        data.kept_bytes += write.len();
        data.waiting.push_back(write);
        let waiting = data.waiting.len();
        let landing = data.luck.lands(waiting);
        self.land(&mut data, landing)?;
        self.tear(&mut data)?;
        while data.kept_bytes > KEPT_BYTES_MAX {
            self.land(&mut data, 1)?;
        }
        Ok(())
    }

    /// Carries out the first `count` writes that wait.
    fn land(&self, data: &mut Data, count: usize) -> Result<(), DiskError> {
        for _ in 0..count {
            let Some(write) = data.waiting.front() else { break };
            match write {
                Write::Bytes { offset, bytes } => self.real.write_at(*offset, bytes)?,
                Write::Len(len_bytes) => self.real.set_len(*len_bytes)?,
                Write::Room(len_bytes) => self.real.preallocate(*len_bytes)?,
            }
            data.kept_bytes -= write.len();
            data.waiting.pop_front();
        }
        Ok(())
    }

    /// A part of the next write lands; it waits on, to be carried out as a whole later.
    fn tear(&self, data: &mut Data) -> Result<(), DiskError> {
        let Some(Write::Bytes { offset, bytes }) = data.waiting.front() else { return Ok(()) };
        let torn = data.luck.tears(bytes.len());
        self.real.write_at(*offset, &bytes[..torn])
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let data = self.data();
        let len = usize::try_from(data.len_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(buf.len());
        let buf = &mut buf[..len];
        let there = self.real.read_at(offset, buf)?;
        buf[there..].fill(0);
        for write in &data.waiting {
            write.show(offset, buf);
        }
        Ok(len)
    }
}

impl Write {
    fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Len(_) | Self::Room(_) => 0,
        }
    }

    /// What a reader of `buf`, which begins at `from`, sees of it.
    fn show(&self, from: u64, buf: &mut [u8]) {
        match self {
            Self::Bytes { offset, bytes } => {
                let begin = from.max(*offset);
                let end = (from + buf.len() as u64).min(offset + bytes.len() as u64);
                if begin < end {
                    let seen = &bytes[(begin - offset) as usize..(end - offset) as usize];
                    buf[(begin - from) as usize..(end - from) as usize].copy_from_slice(seen);
                }
            }
            // What was cut off reads as zeros if the file grows again.
            Self::Len(len_bytes) => {
                let kept = len_bytes.saturating_sub(from).min(buf.len() as u64) as usize;
                buf[kept..].fill(0);
            }
            Self::Room(_) => {}
        }
    }
}

/// One opening of a file.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: Arc<Unsynced>,
    path: String,
    is_writable: bool,
    forgets_syncs: bool,
}

impl HeldFile {
    pub(super) fn new(
        file: Arc<Unsynced>,
        path: &str,
        is_writable: bool,
        forgets_syncs: bool,
    ) -> Self {
        Self { file, path: path.to_owned(), is_writable, forgets_syncs }
    }

    fn check_writable(&self, op: &'static str) -> Result<(), DiskError> {
        match self.is_writable {
            true => Ok(()),
            false => Err(DiskError::new(op, &self.path, io::ErrorKind::PermissionDenied.into())),
        }
    }
}

impl DiskFile for HeldFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.file.read(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_writable("write")?;
        self.file.write(Write::Bytes { offset, bytes: bytes.to_vec() })
    }

    fn sync(&self) -> Result<(), DiskError> {
        if self.forgets_syncs {
            return Ok(());
        }
        {
            let mut data = self.file.data();
            let waiting = data.waiting.len();
            let landed = self.file.land(&mut data, waiting);
            landed.map_err(|error| error.with_kind(DiskErrorKind::Sync))?;
        }
        self.file.real.sync()
    }

    fn set_len(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.check_writable("resize")?;
        self.file.write(Write::Len(len_bytes))
    }

    fn preallocate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.check_writable("preallocate")?;
        self.file.write(Write::Room(len_bytes))
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.data().len_bytes)
    }
}
