//! Stable error codes: one table for exit codes, HTTP status codes and help.

/// What kind of failure a code is; scripts act on the kind, people on the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It failed, and none of the others says it better.
    Failure,
    /// The request is wrong; the same request fails again.
    Usage,
    /// What was asked for is not there.
    NotFound,
    /// It was done, but the state that was asked for is not reached.
    Degraded,
    /// No token, or a wrong one.
    Unauthorised,
    /// The node's role does not support it.
    Role,
    /// No quorum or no leader.
    NoQuorum,
    /// It contradicts what is there.
    Conflict,
    /// What is stored is damaged, or can't be stored; somebody has to look after it.
    Storage,
    /// Not finished in time; it may still happen.
    Timeout,
    /// The user ended it.
    Interrupted,
}

impl Class {
    /// All, in the order of their exit codes.
    pub const ALL: [Self; 11] = [
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Degraded,
        Self::Unauthorised,
        Self::Role,
        Self::NoQuorum,
        Self::Conflict,
        Self::Storage,
        Self::Timeout,
        Self::Interrupted,
    ];

    /// The exit code of a command.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Degraded => 4,
            Self::Unauthorised => 5,
            Self::Role => 6,
            Self::NoQuorum => 7,
            Self::Conflict => 8,
            Self::Storage => 9,
            Self::Timeout => 62,
            Self::Interrupted => 130,
        }
    }

    /// The status code of an HTTP answer.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Failure | Self::Degraded | Self::Storage | Self::Interrupted => 500,
            Self::Usage => 400,
            Self::NotFound => 404,
            Self::Unauthorised => 401,
            Self::Role => 403,
            Self::NoQuorum => 503,
            Self::Conflict => 409,
            Self::Timeout => 504,
        }
    }

    /// One line of help.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "wrong usage: flag, argument, configuration or request",
            Self::NotFound => "not found",
            Self::Degraded => "degraded: the command is done, the target state is not reached",
            Self::Unauthorised => "unauthorised: no token, or a wrong one",
            Self::Role => "the node's role does not support this",
            Self::NoQuorum => "no quorum or no leader",
            Self::Conflict => "conflict with what is there",
            Self::Storage => "the node's storage is damaged or fails; look after it first",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One stable code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// What is printed and sent.
    pub name: &'static str,
    /// Its kind.
    pub class: Class,
    /// Whether the same request may work later.
    pub retryable: bool,
    /// One line of help.
    pub meaning: &'static str,
}

const fn code(name: &'static str, class: Class, meaning: &'static str) -> Code {
    Code { name, class, retryable: false, meaning }
}

const fn later(code: Code) -> Code {
    Code { retryable: true, ..code }
}

/// Every code of this program, by name. Codes are never renamed or reused.
pub static CODES: &[Code] = &[
    later(code("E_BUSY", Class::Failure, "too much is going on; the request was not begun")),
    code("E_CANCELLED", Class::Interrupted, "the request was cancelled before it was done"),
    code("E_CAR", Class::Usage, "the file or stream is no CAR, is cut off, or has a wrong block"),
    code("E_CODEC", Class::Usage, "a codec that is not known, or a block that is not of its codec"),
    code("E_CONFIG", Class::Usage, "the configuration can't be used"),
    code("E_CONFLICT", Class::Conflict, "the request contradicts what is there"),
    code("E_CONTENT", Class::Failure, "the content is not what its kind requires"),
    code("E_CORRUPT", Class::Storage, "stored data is damaged"),
    code("E_DESTINATION", Class::Conflict, "the destination exists already, or can't be written"),
    code("E_EXPOSED", Class::Unauthorised, "a file that holds a secret is open to others"),
    code("E_FULL", Class::Failure, "the node's storage is full"),
    code(
        "E_IDENTITY",
        Class::Conflict,
        "another node has this identity, it was removed, or it is not proven",
    ),
    code("E_INCOMPLETE", Class::Failure, "blocks below a root are missing"),
    code("E_INTERNAL", Class::Failure, "a defect of this program"),
    code("E_INTERRUPTED", Class::Interrupted, "ended by the user"),
    code(
        "E_INVALID_TREE",
        Class::Usage,
        "the files can't be imported as they are named or ordered",
    ),
    code("E_IO", Class::Failure, "a file or connection could not be read or written"),
    code("E_MISMATCH", Class::Conflict, "another cluster, another version, or not this program"),
    code("E_NETWORK", Class::Failure, "the network could not be started or went down"),
    code("E_NOT_A_FILE", Class::Usage, "a file is needed, and this is none"),
    code("E_NOT_FOUND", Class::NotFound, "no such thing, here or on any reachable member"),
    later(code("E_NOT_LEADER", Class::NoQuorum, "the node does not lead any more")),
    code("E_NOT_PERMITTED", Class::Role, "the node's role may not run the operation"),
    later(code("E_NOT_READY", Class::NoQuorum, "the node is still starting or joining")),
    later(code("E_NOT_RUNNING", Class::Role, "the part of the node that it needs is not running")),
    code("E_NOT_UNIXFS", Class::Failure, "the block is no file or folder"),
    later(code("E_NO_NODE", Class::Failure, "no node is running in the folder")),
    later(code("E_NO_QUORUM", Class::NoQuorum, "too few masters are reachable to decide anything")),
    code("E_PATH", Class::NotFound, "no such local file or folder"),
    code("E_PORT_IN_USE", Class::Conflict, "another program listens on the address"),
    code("E_PROTOCOL", Class::Failure, "the node's answer was not understood; versions may differ"),
    code("E_READ", Class::Failure, "the upload ended before it was whole"),
    later(code("E_REPLICATION", Class::Degraded, "committed, but too few copies could be made")),
    code("E_SOURCE", Class::Failure, "a local file could not be read as it was when it was found"),
    code("E_START", Class::Failure, "the node could not be started, or gave up"),
    code("E_STORE", Class::Storage, "the node's storage failed"),
    code("E_STREAM", Class::Usage, "the operation is a stream, which a call can't carry"),
    later(code("E_TIMEOUT", Class::Timeout, "not finished in time; it may still happen")),
    code("E_TOKEN", Class::Unauthorised, "the join token is wrong, used, expired or too weak"),
    later(code(
        "E_TOO_FEW_HOLDERS",
        Class::Failure,
        "fewer members can hold it than copies are needed",
    )),
    code("E_TOO_LARGE", Class::Usage, "more than the bound for such a thing"),
    code("E_UNAUTHORISED", Class::Unauthorised, "no token, or a wrong one"),
    later(code("E_UNAVAILABLE", Class::Failure, "nobody who could answer is reachable now")),
    code("E_UNHEALTHY", Class::Failure, "doctor found something that does not work"),
    code("E_UNKNOWN_OPERATION", Class::Usage, "there is no such operation"),
    later(code("E_UNREACHABLE", Class::NoQuorum, "no master could be reached")),
    later(code("E_UPLOAD", Class::Failure, "the node stopped taking an upload")),
    code("E_USAGE", Class::Usage, "the request is not valid"),
    code("E_VERIFY", Class::Failure, "what came back differs from what was added"),
    code("E_VERSION", Class::Conflict, "written by another version of this program"),
];

/// The class of a code; one that we don't know is a plain failure.
pub fn class_of(name: &str) -> Class {
    find(name).map_or(Class::Failure, |code| code.class)
}

/// The code of that name.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.binary_search_by(|code| code.name.cmp(name)).ok().map(|at| &CODES[at])
}

#[cfg(test)]
mod tests;
