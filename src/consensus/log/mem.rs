//! A log in memory.

use super::{LogEntry, LogError, LogView};

/// A [`LogView`] in memory, with the writes that a real log needs: append, reset to a snapshot and
/// compaction. It serves tests, and nodes that keep nothing.
#[derive(Debug, Clone, Default)]
pub struct MemLog {
    compacted_index: u64,
    compacted_term: u64,
    entries: Vec<LogEntry>,
}

impl MemLog {
    /// An empty log that starts after the given entry.
    pub fn starting_after(index: u64, term: u64) -> Self {
        Self { compacted_index: index, compacted_term: term, entries: Vec::new() }
    }

    /// Writes entries. Whatever the log held from the first one on is void.
    ///
    /// # Errors
    /// [`LogError::Missing`] if they would leave a gap, [`LogError::Compacted`] if they start in
    /// the compacted part. The log is unchanged.
    pub fn append(&mut self, entries: &[LogEntry]) -> Result<(), LogError> {
        let Some(first) = entries.first() else { return Ok(()) };
        if first.index <= self.compacted_index {
            return Err(LogError::Compacted { index: first.index });
        }
        if first.index > self.last_index() + 1 {
            return Err(LogError::Missing { index: self.last_index() + 1 });
        }
        self.entries.truncate(self.offset(first.index));
        self.entries.extend_from_slice(entries);
        Ok(())
    }

    /// Replaces everything by a snapshot that ends at the given entry.
    pub fn reset(&mut self, index: u64, term: u64) {
        *self = Self::starting_after(index, term);
    }

    /// Drops the entries up to and with `index`.
    ///
    /// # Errors
    /// [`LogError`] if the log does not hold that entry. The log is unchanged.
    pub fn compact(&mut self, index: u64) -> Result<(), LogError> {
        let term = self.term(index)?;
        self.entries.drain(..self.offset(index + 1));
        self.compacted_index = index;
        self.compacted_term = term;
        Ok(())
    }

    fn offset(&self, index: u64) -> usize {
        (index - self.compacted_index - 1) as usize
    }
}

impl LogView for MemLog {
    fn first_index(&self) -> u64 {
        self.compacted_index + 1
    }

    fn last_index(&self) -> u64 {
        self.compacted_index + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Result<u64, LogError> {
        if index == self.compacted_index {
            return Ok(self.compacted_term);
        }
        if index < self.compacted_index {
            return Err(LogError::Compacted { index });
        }
        let entry = self.entries.get(self.offset(index)).ok_or(LogError::Missing { index })?;
        Ok(entry.term)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, LogError> {
        if low <= self.compacted_index {
            return Err(LogError::Compacted { index: low });
        }
        if high > self.last_index() + 1 {
            return Err(LogError::Missing { index: high - 1 });
        }
        let mut taken_bytes = 0u64;
        let mut taken = Vec::new();
        for entry in &self.entries[self.offset(low)..self.offset(high)] {
            taken_bytes = taken_bytes.saturating_add(entry.weight_bytes());
            if taken_bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
