//! Join tokens: one line of text that is all a new machine needs.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::id::{ClusterId, ParseError, PeerKey, TokenId};
use crate::limits;
use crate::member::Role;

/// What a token carries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The cluster it admits to.
    pub cluster: ClusterId,
    /// The cluster's history epoch when it was made.
    pub epoch: u64,
    /// Its public half.
    pub token: TokenId,
    /// Its secret half. Never logged, never stored by the cluster.
    pub secret: [u8; 16],
    /// The highest role it admits.
    pub role_cap: Role,
    /// When it ends, in milliseconds of committed time.
    pub expires_ms: u64,
    /// Masters to ask, with their addresses.
    pub masters: Vec<(PeerKey, Vec<String>)>,
}

const PREFIX: &str = "ipfskit1";
const CHECK_LEN_BYTES: usize = 4;

impl JoinToken {
    /// What the cluster stores of the secret.
    pub fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }

    /// The line of text.
    pub fn to_text(&self) -> String {
        let mut bytes = codec::seal(Kind::Token, self);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_LEN_BYTES]);
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Reads the line of text; a mistyped or cut one is told apart from none at all.
    pub fn from_text(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let fail = |expected| ParseError::new("join token", &redact(text), expected);
        let body = text.strip_prefix(PREFIX).ok_or_else(|| fail("a line that starts ipfskit1"))?;
        if body.len() > 2 * limits::TOKEN_BYTES_MAX {
            return Err(fail("a line of at most 8192 characters"));
        }
        let bytes = BASE32_NOPAD
            .decode(body.to_ascii_uppercase().as_bytes())
            .map_err(|_| fail("letters a-z and digits 2-7 only; was the whole line copied?"))?;
        let (bytes, check) = bytes
            .split_last_chunk::<CHECK_LEN_BYTES>()
            .ok_or_else(|| fail("the whole line; it is cut short"))?;
        if blake3::hash(bytes).as_bytes()[..CHECK_LEN_BYTES] != *check {
            return Err(fail("the whole line unchanged; its check digits do not match"));
        }
        codec::open(Kind::Token, bytes, limits::TOKEN_BYTES_MAX)
            .map_err(|_| fail("a token of this program's version"))
    }
}

/// Enough of a token to recognise it, not enough to use it.
fn redact(text: &str) -> String {
    let head: String = text.chars().take(12).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("token", &self.token)
            .field("role_cap", &self.role_cap)
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
