//! The UnixFS 1.5 message that the payload of a dag-pb node holds.
//!
//! After the [UnixFS specification](https://specs.ipfs.tech/unixfs/). Unknown fields are skipped, as
//! protobuf asks; known ones must have the right type.

use crate::protobuf::{
    Fields, Value, WireError, bytes_field_len, number_field_len, put_bytes, put_bytes_head,
    put_number,
};

#[cfg(test)]
mod tests;

/// The hash that places names in a HAMT: the first 64 bits of MurmurHash3 x64 128.
pub const HAMT_HASH_MURMUR3: u64 = 0x22;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    /// A leaf of a file in an old form.
    Raw,
    /// A directory in one block.
    Directory,
    /// A file, or an inner node or leaf of one.
    File,
    /// Reserved.
    Metadata,
    /// A symbolic link.
    Symlink,
    /// A shard of a directory in many blocks.
    HamtShard,
}

impl DataType {
    const fn code(self) -> u64 {
        match self {
            Self::Raw => 0,
            Self::Directory => 1,
            Self::File => 2,
            Self::Metadata => 3,
            Self::Symlink => 4,
            Self::HamtShard => 5,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Directory),
            2 => Some(Self::File),
            3 => Some(Self::Metadata),
            4 => Some(Self::Symlink),
            5 => Some(Self::HamtShard),
            _ => None,
        }
    }
}

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds since the Unix epoch; negative before it.
    pub seconds: i64,
    /// Nanoseconds within the second, 1 to 999,999,999; `None` for a whole second.
    pub nanoseconds: Option<u32>,
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<'a> {
    /// What the node is.
    pub data_type: DataType,
    /// File content, symlink target or shard bitmap.
    pub data: Option<&'a [u8]>,
    /// Bytes of file content in this node and below.
    pub filesize: Option<u64>,
    /// Bytes of file content below each link.
    pub blocksizes: Vec<u64>,
    /// The hash of a shard's names.
    pub hash_type: Option<u64>,
    /// The width of a shard.
    pub fanout: Option<u64>,
    /// Unix permissions, and the upper bits as they came.
    pub mode: Option<u32>,
    /// The modification time.
    pub mtime: Option<Mtime>,
}

/// Why bytes are no UnixFS message. They never become one; retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum UnixfsError {
    /// The bytes are no protobuf message.
    #[error("unixfs data is no protobuf message")]
    Wire {
        /// What is wrong with them.
        #[from]
        source: WireError,
    },
    /// The type is absent.
    #[error("unixfs data has no type")]
    NoType,
    /// The type is unknown.
    #[error("unixfs type {code} is unknown")]
    UnknownType {
        /// The number found.
        code: u64,
    },
    /// A known field has the wrong type or an impossible value.
    #[error("unixfs field {field} has a wrong type or value")]
    Field {
        /// The field number.
        field: u64,
    },
}

impl<'a> Data<'a> {
    /// A message that holds nothing but its type.
    pub const fn new(data_type: DataType) -> Self {
        Self {
            data_type,
            data: None,
            filesize: None,
            blocksizes: Vec::new(),
            hash_type: None,
            fanout: None,
            mode: None,
            mtime: None,
        }
    }

    /// A leaf with `content`; an empty one has no content field at all, as every writer does it.
    pub fn leaf(data_type: DataType, content: &'a [u8]) -> Self {
        Self {
            data: (!content.is_empty()).then_some(content),
            filesize: Some(content.len() as u64),
            ..Self::new(data_type)
        }
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// See [`UnixfsError`].
    pub fn decode(message: &'a [u8]) -> Result<Self, UnixfsError> {
        let mut fields = Fields::new(message);
        let mut data_type = None;
        let mut out = Self::new(DataType::Raw);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Varint(code)) => {
                    let known = DataType::from_code(code);
                    data_type = Some(known.ok_or(UnixfsError::UnknownType { code })?);
                }
                (2, Value::Bytes(bytes)) => out.data = Some(bytes),
                (3, Value::Varint(size)) => out.filesize = Some(size),
                (4, Value::Varint(size)) => out.blocksizes.push(size),
                (4, Value::Bytes(packed)) => {
                    let mut sizes = Fields::new(packed);
                    while !sizes.is_empty() {
                        out.blocksizes.push(sizes.varint()?);
                    }
                }
                (5, Value::Varint(code)) => out.hash_type = Some(code),
                (6, Value::Varint(fanout)) => out.fanout = Some(fanout),
                (7, Value::Varint(mode)) => {
                    let mode = u32::try_from(mode).map_err(|_| UnixfsError::Field { field })?;
                    out.mode = Some(mode);
                }
                (8, Value::Bytes(mtime)) => out.mtime = Some(decode_mtime(mtime)?),
                (1..=8, _) => return Err(UnixfsError::Field { field }),
                _ => {}
            }
        }
        out.data_type = data_type.ok_or(UnixfsError::NoType)?;
        Ok(out)
    }

    /// Bytes of the encoded message.
    pub fn encoded_len(&self) -> usize {
        let optional = |value: Option<u64>| value.map_or(0, number_field_len);
        number_field_len(self.data_type.code())
            + self.data.map_or(0, |data| bytes_field_len(data.len()))
            + optional(self.filesize)
            + self.blocksizes.iter().copied().map(number_field_len).sum::<usize>()
            + optional(self.hash_type)
            + optional(self.fanout)
            + optional(self.mode.map(u64::from))
            + self.mtime.map_or(0, |mtime| bytes_field_len(mtime_len(mtime)))
    }

    /// Appends the encoded message: fields in the order of their numbers, lists not packed.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.data_type.code());
        if let Some(data) = self.data {
            put_bytes(out, 2, data);
        }
        let mut optional = |field, value: Option<u64>| {
            if let Some(value) = value {
                put_number(out, field, value);
            }
        };
        optional(3, self.filesize);
        self.blocksizes.iter().for_each(|size| optional(4, Some(*size)));
        optional(5, self.hash_type);
        optional(6, self.fanout);
        optional(7, self.mode.map(u64::from));
        if let Some(mtime) = self.mtime {
            put_bytes_head(out, 8, mtime_len(mtime));
            put_number(out, 1, mtime.seconds.cast_unsigned());
            if let Some(nanoseconds) = mtime.nanoseconds {
                out.push(2 << 3 | 5);
                out.extend_from_slice(&nanoseconds.to_le_bytes());
            }
        }
    }

    /// The encoded message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out
    }

    /// The dag-pb block without links whose payload is this message, copied once.
    pub fn encode_node(&self) -> Vec<u8> {
        let len_bytes = self.encoded_len();
        let mut out = Vec::with_capacity(bytes_field_len(len_bytes));
        put_bytes_head(&mut out, 1, len_bytes);
        self.encode_into(&mut out);
        out
    }
}

fn mtime_len(mtime: Mtime) -> usize {
    number_field_len(mtime.seconds.cast_unsigned()) + mtime.nanoseconds.map_or(0, |_| 5)
}

fn decode_mtime(message: &[u8]) -> Result<Mtime, UnixfsError> {
    let wrong = || UnixfsError::Field { field: 8 };
    let mut fields = Fields::new(message);
    let (mut seconds, mut nanoseconds) = (None, None);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Value::Varint(value)) => seconds = Some(value.cast_signed()),
            (2, Value::Fixed32(value)) if (1..1_000_000_000).contains(&value) => {
                nanoseconds = Some(value);
            }
            (1..=2, _) => return Err(wrong()),
            _ => {}
        }
    }
    Ok(Mtime { seconds: seconds.ok_or_else(wrong)?, nanoseconds })
}
