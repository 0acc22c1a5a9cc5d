//! Talks to the service manager that started this process, after `sd_notify(3)`: one datagram for each
//! message, to the socket that it named. Without one, nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The connection to the service manager.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one of this process, as the environment names it. A socket that can't be reached is a warning:
    /// the manager will judge by its own deadlines.
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        match Self::connect(&name, watchdog) {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(%error, "the service manager can't be reached");
                Self::default()
            }
        }
    }

    /// A name that begins with `@` is abstract, any other a path.
    fn connect(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not hold up the node.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket), watchdog })
    }

    /// The node serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The node begins to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// The node still does its work.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// How often [`Self::alive`] has to be said: twice within what the manager grants. `None` if it does
    /// not watch.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|granted| granted / 2)
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

/// What the manager grants between two signs of life, if it is meant for this process.
fn watchdog(usec: Option<&OsStr>, pid: Option<&OsStr>, own_pid: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    let for_us = pid.is_none_or(|pid| number(pid) == Some(u64::from(own_pid)));
    let usec = usec.and_then(number).filter(|usec| *usec > 0 && for_us)?;
    Some(Duration::from_micros(usec))
}

/// A line break would begin another variable.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests;
