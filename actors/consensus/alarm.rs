//! An alarm that is set for nearly every commit and hardly ever rings.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// Rings once at the time for which it was set last.
///
/// The runtime's timer behind it is armed only if it would ring too late, and goes off for nothing if the alarm
/// was set to a later time meanwhile: arming one wakes the runtime, which costs more than looking at the clock.
#[derive(Default)]
pub struct Alarm {
    at: Option<Instant>,
    armed: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Whether it is to ring.
    pub fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Sets it, instead of what it was set for.
    pub fn set(&mut self, at: Instant) {
        self.at = Some(at);
        match &mut self.armed {
            Some(timer) if timer.deadline() > at => timer.as_mut().reset(at),
            Some(_) => {}
            None => self.armed = Some(Box::pin(sleep_until(at))),
        }
    }

    /// Not to ring.
    pub fn clear(&mut self) {
        self.at = None;
    }

    /// Waits until it rings, for ever if it is not set. Can be dropped at any point and called again.
    pub async fn rings(&mut self) {
        while let Some(timer) = &mut self.armed {
            timer.as_mut().await;
            match self.at {
                Some(at) if at > Instant::now() => timer.as_mut().reset(at),
                at => {
                    (self.at, self.armed) = (None, None);
                    if at.is_some() {
                        return;
                    }
                }
            }
        }
        pending().await
    }
}

#[cfg(test)]
mod tests;
