//! Reading a CAR from a stream.

use std::io::{ErrorKind, Read};

use bytes::Bytes;

use super::{CarError, CarVersion, not_a_car, parse_header};
use crate::cid::{Block, Cid};
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_CAR_CID_LEN_BYTES, MAX_CAR_HEADER_LEN_BYTES};

/// The bytes of a CARv2 after its pragma: characteristics, then where the CARv1 begins, how long it is,
/// and where the index begins.
const V2_HEADER_LEN_BYTES: usize = 40;
/// The header of a CARv2 as dag-cbor, `{"version": 2}`, has this length.
const V2_PRAGMA_LEN_BYTES: u64 = 10;
/// Most bytes of a number: 2^63 fits into nine.
const LENGTH_BYTES_MAX: u32 = 9;

/// Reads a CAR front to back.
#[derive(Debug)]
pub struct CarReader<R> {
    input: R,
    offset: u64,
    version: CarVersion,
    roots: Vec<Cid>,
    /// Where the blocks end, as a CARv2 says.
    end: Option<u64>,
    finished: bool,
}

impl<R: Read> CarReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`CarError`].
    pub fn open(input: R) -> Result<Self, CarError> {
        let mut car = Self {
            input,
            offset: 0,
            version: CarVersion::One,
            roots: Vec::new(),
            end: None,
            finished: false,
        };
        let (version, roots) = car.header(None)?;
        car.roots = match version {
            1 => roots,
            2 => {
                car.version = CarVersion::Two;
                car.v2_header()?;
                match car.header(car.end)? {
                    (1, roots) => roots,
                    (version, _) => {
                        return Err(not_a_car(format!("a version {version} is in a CARv2")));
                    }
                }
            }
            version => return Err(CarError::Version { version }),
        };
        Ok(car)
    }

    /// Which form it has.
    pub const fn version(&self) -> CarVersion {
        self.version
    }

    /// The roots, as its header names them. Their blocks need not be in it.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// The next block, checked against its CID; `None` at the end, after the index of a CARv2 was read
    /// over.
    ///
    /// # Errors
    /// See [`CarError`]; there is nothing more after one.
    pub fn next_block(&mut self) -> Result<Option<Block>, CarError> {
        if self.finished {
            return Ok(None);
        }
        self.finished = true;
        let section = self.section()?;
        self.finished = section.is_none();
        if section.is_none() && self.end.is_some() {
            self.skip_index()?;
        }
        Ok(section)
    }

    fn section(&mut self) -> Result<Option<Block>, CarError> {
        let start = self.offset;
        if self.end == Some(start) {
            return Ok(None);
        }
        let max = (MAX_CAR_CID_LEN_BYTES + MAX_BLOCK_LEN_BYTES) as u64;
        let Some(len_bytes) = self.length("a block", max)? else {
            return match self.end {
                None => Ok(None),
                Some(_) => Err(self.truncated("the blocks")),
            };
        };
        self.check_end(start, len_bytes, "a block")?;
        let bytes = self.take(len_bytes, "a block")?;
        let mut rest = &bytes[..];
        let cid =
            Cid::read_bytes(&mut rest).map_err(|source| CarError::Cid { offset: start, source })?;
        let data = bytes.slice(bytes.len() - rest.len()..);
        let block = Block::verified(cid, data);
        block.map(Some).map_err(|source| CarError::Block { offset: start, source })
    }

    fn header(&mut self, end: Option<u64>) -> Result<(i128, Vec<Cid>), CarError> {
        let start = self.offset;
        let max = MAX_CAR_HEADER_LEN_BYTES as u64;
        let len_bytes = match self.length("the header", max) {
            Ok(Some(len_bytes)) => len_bytes,
            Ok(None) => return Err(not_a_car("it is empty")),
            // A file of another kind begins with anything.
            Err(error @ (CarError::Length { .. } | CarError::TooLong { .. })) => {
                return Err(not_a_car(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if end.is_some() {
            self.check_end(start, len_bytes, "the header")?;
        }
        let bytes = match self.take(len_bytes, "the header") {
            Err(error @ CarError::Truncated { .. }) => return Err(not_a_car(error.to_string())),
            taken => taken?,
        };
        let (version, roots) = parse_header(&bytes)?;
        if version == 2 && len_bytes != V2_PRAGMA_LEN_BYTES {
            return Err(CarError::V2Header { reason: "its first bytes are not those of a CARv2" });
        }
        Ok((version, roots))
    }

    fn v2_header(&mut self) -> Result<(), CarError> {
        let bytes = self.take(V2_HEADER_LEN_BYTES as u64, "the CARv2 header")?;
        let number = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
        };
        let (data_offset, data_size) = (number(16), number(24));
        let damaged = |reason| CarError::V2Header { reason };
        if data_size == 0 {
            return Err(damaged("it says that no blocks follow"));
        }
        let gap = data_offset
            .checked_sub(self.offset)
            .ok_or(damaged("its blocks would begin before it ends"))?;
        let end = data_offset.checked_add(data_size);
        self.end = Some(end.ok_or(damaged("its blocks would end beyond all bounds"))?);
        self.skip(gap)
    }

    fn check_end(&self, start: u64, claimed: u64, what: &'static str) -> Result<(), CarError> {
        let Some(end) = self.end else { return Ok(()) };
        let max = end.saturating_sub(self.offset);
        if claimed > max {
            return Err(CarError::TooLong { offset: start, what, claimed, max });
        }
        Ok(())
    }

    /// Reads over what a CARv2 has before its blocks.
    fn skip(&mut self, gap: u64) -> Result<(), CarError> {
        let mut gap_bytes = (&mut self.input).take(gap);
        let skipped = std::io::copy(&mut gap_bytes, &mut std::io::sink());
        let skipped = skipped.map_err(|source| CarError::Read { offset: self.offset, source })?;
        self.offset += skipped;
        if skipped < gap { Err(self.truncated("the padding")) } else { Ok(()) }
    }

    /// Reads the index to its end, so that a sender that broke off is noticed.
    fn skip_index(&mut self) -> Result<(), CarError> {
        let skipped = std::io::copy(&mut self.input, &mut std::io::sink());
        skipped.map(drop).map_err(|source| CarError::Read { offset: self.offset, source })
    }

    /// A length as unsigned varint; `None` where the stream ends instead.
    fn length(&mut self, what: &'static str, max: u64) -> Result<Option<u64>, CarError> {
        let start = self.offset;
        let mut claimed = 0_u64;
        for index in 0..LENGTH_BYTES_MAX {
            let Some(byte) = self.byte()? else {
                return if index == 0 { Ok(None) } else { Err(self.truncated("a length")) };
            };
            claimed |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // A last byte of zero says nothing: the number has a shorter form. A length of zero
                // holds not even a CID.
                if byte == 0 {
                    return Err(CarError::Length { offset: start });
                }
                return if claimed > max {
                    Err(CarError::TooLong { offset: start, what, claimed, max })
                } else {
                    Ok(Some(claimed))
                };
            }
        }
        Err(CarError::Length { offset: start })
    }

    fn byte(&mut self) -> Result<Option<u8>, CarError> {
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.offset += 1;
                    return Ok(Some(byte[0]));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(CarError::Read { offset: self.offset, source }),
            }
        }
    }

    /// Exactly so many bytes, which the caller has bounded. Memory grows with what really comes.
    fn take(&mut self, len_bytes: u64, inside: &'static str) -> Result<Bytes, CarError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(len_bytes).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        read.map_err(|source| CarError::Read { offset: self.offset, source })?;
        if (bytes.len() as u64) < len_bytes {
            return Err(self.truncated(inside));
        }
        Ok(bytes.into())
    }

    fn truncated(&self, inside: &'static str) -> CarError {
        CarError::Truncated { offset: self.offset, inside }
    }
}
