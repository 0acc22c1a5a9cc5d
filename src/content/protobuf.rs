//! The protobuf wire format, as far as dag-pb and UnixFS use it: strict, bounded, without copies.

use unsigned_varint::{decode, encode};

/// Why bytes are no protobuf message. They never become one; retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field claims more bytes than there are.
    #[error("field {field} is cut off: {claimed} bytes claimed, {available} available")]
    Truncated {
        /// The field number.
        field: u64,
        /// What its length says.
        claimed: u64,
        /// What follows.
        available: usize,
    },
    /// A number is cut off, longer than 64 bits or not in its shortest form.
    #[error("malformed number: {source}")]
    Number {
        /// What is wrong with it.
        #[source]
        source: decode::Error,
    },
    /// A field has a wire type that protobuf 3 does not know.
    #[error("field {field} has unknown wire type {wire_type}")]
    WireType {
        /// The field number.
        field: u64,
        /// The unknown type.
        wire_type: u64,
    },
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Walks the fields of a message.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = tag >> 3;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(field, 8)?;
                Value::Fixed64
            }
            2 => {
                let len_bytes = self.varint()?;
                Value::Bytes(self.take(field, len_bytes)?)
            }
            5 => {
                let bytes = self.take(field, 4)?;
                Value::Fixed32(bytes.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte)))
            }
            wire_type => return Err(WireError::WireType { field, wire_type }),
        };
        Ok(Some((field, value)))
    }

    /// A bare number, as in a packed list.
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        // Tags and most lengths have one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let (value, rest) =
            decode::u64(self.rest).map_err(|source| WireError::Number { source })?;
        self.rest = rest;
        Ok(value)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, field: u64, claimed: u64) -> Result<&'a [u8], WireError> {
        let split = usize::try_from(claimed).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) =
            split.ok_or(WireError::Truncated { field, claimed, available: self.rest.len() })?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Bytes that `value` takes as a varint.
pub(crate) const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(encode::u64(value, &mut encode::u64_buffer()));
}

/// Appends a number field. All field numbers here are below 16, so a tag is one byte.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    put_varint(out, value);
}

/// Appends the head of a field of bytes; `len_bytes` bytes must follow.
pub(crate) fn put_bytes_head(out: &mut Vec<u8>, field: u8, len_bytes: usize) {
    out.push(field << 3 | 2);
    put_varint(out, len_bytes as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_bytes_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Bytes that a field of `len_bytes` bytes takes with its head.
pub(crate) const fn bytes_field_len(len_bytes: usize) -> usize {
    1 + varint_len(len_bytes as u64) + len_bytes
}

/// Bytes that a number field takes.
pub(crate) const fn number_field_len(value: u64) -> usize {
    1 + varint_len(value)
}
