//! The bounded reader and writer under every encoding of this package.
//!
//! Integers are unsigned LEB128 in their shortest form, byte strings carry their length, lists
//! their count. One value has exactly one encoding, so equal values have equal bytes. The reader
//! checks every length against a limit that the caller names before it allocates anything.

use bytes::Bytes;
use thiserror::Error;

use crate::id::RaftId;

/// The largest log index and term that is accepted from outside. Far beyond any real log, and far
/// enough below `u64::MAX` that adding one never overflows.
pub const INDEX_MAX: u64 = 1 << 62;

/// Why bytes are no valid encoding. Decoding has no side effect: state is intact after any of
/// these, and the same bytes will fail again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{field} is cut short")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
    },
    /// A number, length or count is above its limit.
    #[error("{field} is {value}, at most {max} is allowed")]
    TooLarge {
        /// The field that was being read.
        field: &'static str,
        /// The value found.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// An enumerated field has a value that this version does not know.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// The field that was being read.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// A field contradicts the rules of its type.
    #[error("{field} is invalid: {reason}")]
    Invalid {
        /// The field that was being read.
        field: &'static str,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Bytes follow the end of the value.
    #[error("{len_bytes} bytes follow the end of the value")]
    Trailing {
        /// How many.
        len_bytes: usize,
    },
}

/// Builds one encoded value.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub fn with_capacity(len_bytes: usize) -> Self {
        Self { out: Vec::with_capacity(len_bytes) }
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    pub fn fixed(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.fixed(value);
    }

    pub fn finish(self) -> Bytes {
        self.out.into()
    }
}

/// Reads one encoded value; byte strings are slices of the input, not copies.
#[derive(Debug)]
pub(crate) struct Reader {
    input: Bytes,
}

impl Reader {
    pub fn new(input: Bytes) -> Self {
        Self { input }
    }

    pub fn remaining(&self) -> usize {
        self.input.len()
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.fixed(field, 1)?[0])
    }

    pub fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Unknown { field, value: other.into() }),
        }
    }

    /// Reads a number of at most `max`.
    pub fn varint(&mut self, field: &'static str, max: u64) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..).step_by(7) {
            let byte = self.u8(field)?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Invalid { field, reason: "the number overflows 64 bits" });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::Invalid { field, reason: "the number is padded" });
                }
                break;
            }
        }
        if value > max {
            return Err(DecodeError::TooLarge { field, value, max });
        }
        Ok(value)
    }

    pub fn id(&mut self, field: &'static str) -> Result<RaftId, DecodeError> {
        let value = self.varint(field, u64::MAX)?;
        RaftId::new(value).ok_or(DecodeError::Invalid { field, reason: "zero is no node" })
    }

    pub fn fixed(&mut self, field: &'static str, len: usize) -> Result<Bytes, DecodeError> {
        if self.input.len() < len {
            return Err(DecodeError::Truncated { field });
        }
        Ok(self.input.split_to(len))
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.fixed(field, N)?);
        Ok(array)
    }

    /// Reads a byte string of at most `max` bytes.
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<Bytes, DecodeError> {
        let len = self.varint(field, max as u64)?;
        self.fixed(field, len as usize)
    }

    pub fn finish(self) -> Result<(), DecodeError> {
        match self.input.len() {
            0 => Ok(()),
            len_bytes => Err(DecodeError::Trailing { len_bytes }),
        }
    }
}

#[cfg(test)]
mod tests;
