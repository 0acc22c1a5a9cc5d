//! The `Range` header (RFC 9110, 14.1.2), one range at most.

use ipfs_kit_actors::api::ByteRange;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// From a byte on.
    From(ByteRange),
    /// The last so many bytes.
    Last(u64),
}

/// Reads a `Range` header. What is no single byte range is `None`, and then the whole is sent, as the
/// standard allows.
pub fn parse(header: &str) -> Option<Range> {
    let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(Range::Last),
        (first, "") => Some(Range::From(ByteRange { offset: number(first)?, length: None })),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            let length = last.checked_sub(first)?.checked_add(1)?;
            Some(Range::From(ByteRange { offset: first, length: Some(length) }))
        }
    }
}

/// How many bytes of a file of `size_bytes` a range covers.
pub fn covered_bytes(range: ByteRange, size_bytes: u64) -> u64 {
    size_bytes.saturating_sub(range.offset).min(range.length.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
