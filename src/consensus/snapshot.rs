//! What Raft says about a snapshot. The state itself never travels through Raft: a manifest names
//! it, the caller streams it beside, and the manifest is stepped once the state has arrived whole.

use bytes::Bytes;
use raft::eraftpb as pb;

use crate::codec::{DecodeError, INDEX_MAX, Reader, Writer};
use crate::conf::ConfState;
use crate::id::RaftId;

/// Describes one durable checkpoint of the applied state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotManifest {
    /// The last entry whose effect the state holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members of the group at that entry.
    pub conf: ConfState,
    /// The length of the state in bytes.
    pub size_bytes: u64,
    /// The BLAKE3 hash of the state.
    pub checksum: [u8; 32],
    /// The member that holds the state and streams it.
    pub source: RaftId,
}

impl SnapshotManifest {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.varint(self.index);
        writer.varint(self.term);
        self.conf.write(writer);
        writer.varint(self.size_bytes);
        writer.fixed(&self.checksum);
        writer.varint(self.source.get());
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let manifest = Self {
            index: reader.varint("snapshot index", INDEX_MAX)?,
            term: reader.varint("snapshot term", INDEX_MAX)?,
            conf: ConfState::read(reader)?,
            size_bytes: reader.varint("snapshot size", u64::MAX)?,
            checksum: reader.array("snapshot checksum")?,
            source: reader.id("snapshot source")?,
        };
        if manifest.index == 0 || manifest.term == 0 || manifest.conf.voters.is_empty() {
            let reason = "it has no index, no term or no voters";
            return Err(DecodeError::Invalid { field: "snapshot", reason });
        }
        Ok(manifest)
    }

    pub(crate) fn to_raft(&self) -> pb::Snapshot {
        let mut writer = Writer::default();
        self.write(&mut writer);
        let mut snapshot = pb::Snapshot { data: writer.finish(), ..pb::Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(self.conf.to_raft());
        snapshot
    }

    /// Raft carries the manifest as the snapshot's data, so nothing has to be put together again.
    pub(crate) fn from_raft(snapshot: &pb::Snapshot) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Bytes::clone(&snapshot.data));
        let manifest = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(manifest)
    }
}
