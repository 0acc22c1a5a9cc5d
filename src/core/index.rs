//! The index over what was added: found by a part of its name, in pages, in bounded time.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::delta::Change;
use crate::id::{Cid, ParseError};
use crate::limits;
use crate::ops::{IndexEntry, IndexFindRequest, IndexPage};
use crate::pin::{ContentKind, Pin};
use crate::state::ClusterState;

/// Entries compared for one page; a page may therefore be short, or empty, and still have a next one.
pub const SCAN_MAX: usize = 20_000;
/// Entries in a page when the caller does not say.
const PAGE_DEFAULT: usize = 100;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    kind: ContentKind,
    size_bytes: Option<u64>,
    created_ms: u64,
}

impl Record {
    fn of(pin: &Pin) -> Self {
        let (kind, size_bytes) = (pin.spec.kind, pin.spec.size_bytes);
        Self { kind, size_bytes, created_ms: pin.created_ms }
    }
}

/// Names, kinds, sizes and times of pins, by name and then root. As large as the pins it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    records: BTreeMap<(String, Cid), Record>,
    names: BTreeMap<Cid, String>,
}

impl Index {
    /// The index of these pins.
    pub fn of(pins: impl IntoIterator<Item = Pin>) -> Self {
        let mut index = Self::default();
        pins.into_iter().for_each(|pin| index.put(&pin));
        index
    }

    /// Follows a change; changes of members are none of its business.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Pin { new: Some(pin), .. } => self.put(&pin.read()),
            Change::Pin { cid, new: None, .. } => self.remove(cid),
            Change::Member { .. } => {}
        }
    }

    /// Adds a pin or what changed of it.
    pub fn put(&mut self, pin: &Pin) {
        let (cid, name) = (&pin.spec.cid, &pin.spec.name);
        if self.names.get(cid).is_some_and(|old| old != name) {
            self.remove(cid);
        }
        self.names.insert(cid.clone(), name.clone());
        self.records.insert((name.clone(), cid.clone()), Record::of(pin));
    }

    /// Takes a pin out.
    pub fn remove(&mut self, cid: &Cid) {
        if let Some(name) = self.names.remove(cid) {
            self.records.remove(&(name, cid.clone()));
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A page of entries whose names contain the text, upper and lower case of ASCII letters being the
    /// same. Fails only on a page mark that no page gave.
    pub fn find(&self, request: &IndexFindRequest) -> Result<IndexPage, ParseError> {
        let after = request.after.as_deref().map(read_mark).transpose()?;
        let limit = request.limit.unwrap_or(PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut items = Vec::new();
        let mut last = None;
        let records = self.records.range((from, Bound::Unbounded));
        for (scanned, (key, record)) in records.enumerate() {
            if items.len() == limit || scanned == SCAN_MAX {
                let next = last.map(|(name, cid): &(String, Cid)| mark(name, cid));
                return Ok(IndexPage { items, next });
            }
            last = Some(key);
            let (name, cid) = key;
            if contains(name, &request.name) {
                items.push(entry(name, cid, record));
            }
        }
        Ok(IndexPage { items, next: None })
    }
}

/// A page of a state's pins, in the order of their roots: a master holds every pin already and keeps no
/// index beside them. Fails only on a page mark that no page gave.
pub fn find_among(
    state: &ClusterState,
    request: &IndexFindRequest,
) -> Result<IndexPage, ParseError> {
    let after = request.after.as_deref().map(read_mark).transpose()?.map(|(_, cid)| cid);
    let limit = request.limit.unwrap_or(PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
    let mut items = Vec::new();
    let mut last: Option<Pin> = None;
    for (scanned, pin) in state.pins_after(after.as_ref()).enumerate() {
        if items.len() == limit || scanned == SCAN_MAX {
            let next = last.map(|pin| mark(&pin.spec.name, &pin.spec.cid));
            return Ok(IndexPage { items, next });
        }
        let pin = pin.read();
        if contains(&pin.spec.name, &request.name) {
            items.push(entry(&pin.spec.name, &pin.spec.cid, &Record::of(&pin)));
        }
        last = Some(pin);
    }
    Ok(IndexPage { items, next: None })
}

fn entry(name: &str, cid: &Cid, record: &Record) -> IndexEntry {
    IndexEntry {
        name: name.to_owned(),
        kind: record.kind,
        size_bytes: record.size_bytes,
        cid: cid.clone(),
        created_ms: record.created_ms,
    }
}

fn contains(name: &str, part: &str) -> bool {
    let (name, part) = (name.as_bytes(), part.as_bytes());
    part.is_empty() || name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Where a page ended: the root first, because a name may contain anything.
fn mark(name: &str, cid: &Cid) -> String {
    format!("{cid} {name}")
}

fn read_mark(text: &str) -> Result<(String, Cid), ParseError> {
    let fail = || ParseError::new("page mark", text, "the `next` of the page before");
    let (cid, name) = text.split_once(' ').ok_or_else(fail)?;
    if name.len() > limits::PIN_NAME_LEN_BYTES_MAX {
        return Err(fail());
    }
    Ok((name.to_owned(), cid.parse().map_err(|_| fail())?))
}

#[cfg(test)]
mod tests;
