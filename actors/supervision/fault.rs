//! Faults: any error, turned into the cause of an exit.

use ipfs_kit_core::restart::Cause;

use super::node::short_type_name;

/// Longest chain of sources that is put into words.
const SOURCES_MAX: usize = 16;

/// Why a child gives up. Made from any error by `?` or `into`; the chain of sources is kept as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(Cause);

impl Fault {
    /// A fault in words, for where there is no error type. `kind` names its class.
    pub fn new(kind: &str, text: impl Into<String>) -> Self {
        Self(Cause::new(kind, text))
    }

    pub(crate) fn of(cause: Cause) -> Self {
        Self(cause)
    }

    /// The cause as the tree shows it.
    pub fn cause(&self) -> &Cause {
        &self.0
    }

    pub(crate) fn into_cause(self) -> Cause {
        self.0
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        for _ in 0..SOURCES_MAX {
            let Some(inner) = source else { break };
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        Self(Cause::new(short_type_name(std::any::type_name::<E>()), text))
    }
}
