//! What the kernel counts of this process, from `/proc`.

use std::fs;

/// This process in figures. What the kernel does not tell is left out, never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Bytes of memory that are resident.
    pub resident_bytes: Option<u64>,
    /// Seconds of processor time, user and system.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Most file descriptors that may be open.
    pub files_max: Option<u64>,
}

/// Looks now.
pub fn figures() -> ProcessFigures {
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let resident =
        fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident_pages(&text));
    let ticks = fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ticks(&text));
    ProcessFigures {
        resident_bytes: resident.map(|pages| pages * page_bytes),
        cpu_seconds: ticks.map(|ticks| ticks as f64 / ticks_per_second as f64),
        // The listing itself holds one open.
        open_files: fs::read_dir("/proc/self/fd")
            .ok()
            .map(|all| all.count().saturating_sub(1) as u64),
        files_max: files_max(),
    }
}

/// Most file descriptors that this process may have open; `None` without a limit.
pub fn files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// The second number: resident pages.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Fields 14 and 15, user and system time. The second field is the program's name, which may hold
/// anything but ends with the last closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests;
