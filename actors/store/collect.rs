//! Collections: marking what is kept, sweeping the rest.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use cid::Cid;
use ipfs_kit_content::cid::Codec;
use ipfs_kit_content::walk::{DagWalk, LeafMemory, WalkError};
use ipfs_kit_core::ops::CollectReport;
use ipfs_kit_store::blocks::{
    BlockStore, GcError, GcSession, GetError, Key, SweepControl, SweepProgress, SweepReport,
};

use super::{Deps, leased_import};

/// Blocks that a marking walk names at once.
const WALK_BATCH: usize = 512;
/// Leaves that a marking walk remembers; beyond it a leaf that is linked often is marked often.
const LEAVES: LeafMemory = LeafMemory::First(1_000_000);
/// Damaged roots that one collection reports; the next one goes on.
const DAMAGED_MAX: usize = 1_000;
/// Keys that are looked at together.
const PAGE_KEYS: usize = 4_096;

/// Why nothing was collected or removed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// An import or another collection is under way. Retry later.
    #[error("an import or a collection is under way")]
    Busy,
    /// The block is not here.
    #[error("{0} is not here")]
    NotHere(ipfs_kit_core::id::Cid),
    /// Something keeps the block.
    #[error("{cid} is kept by {root}, which is pinned or held here")]
    Kept {
        /// The block.
        cid: ipfs_kit_core::id::Cid,
        /// A root above it.
        root: ipfs_kit_core::id::Cid,
    },
    /// The store failed.
    #[error("the collection was given up: {0}")]
    Failed(String),
}

/// What a collection kept: as long as both are so, another one would remove nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// Fingerprint of the roots as it began.
    roots: u64,
    /// Blocks that were there as it began, without those that it removed.
    blocks: u64,
}

/// What became of a collection.
pub(super) enum Outcome {
    Swept { report: SweepReport, kept: Kept, damaged: Vec<Cid> },
    NothingNew,
    Busy,
}

/// Everything that is kept with all below it: what is held, what is to be held, what was just added.
fn roots(deps: &Deps) -> BTreeSet<Cid> {
    let mut roots: BTreeSet<Cid> = deps.holdings.roots().iter().map(|cid| cid.to_cid()).collect();
    if let Some(view) = &deps.view {
        view.read(|view| roots.extend(view.pins().keys().map(|cid| cid.to_cid())));
    }
    roots.extend(deps.blocks.leases().iter().filter_map(leased_import));
    roots
}

/// One collection, unless nothing can have changed since the last one.
pub(super) fn run(deps: &Deps, last: Option<Kept>) -> Result<Outcome, String> {
    let begun = deps.flights.ground(|| deps.blocks.begin_gc());
    let mut session = match begun {
        None | Some(Err(GcError::Running)) => return Ok(Outcome::Busy),
        Some(Err(error)) => return Err(error.to_string()),
        Some(Ok(session)) => session,
    };
    let blocks = deps.blocks.stat().map_err(|error| error.to_string())?.blocks;
    let roots = roots(deps);
    let mut hasher = DefaultHasher::new();
    roots.hash(&mut hasher);
    let kept = Kept { roots: hasher.finish(), blocks };
    if last == Some(kept) {
        return Ok(Outcome::NothingNew);
    }
    let held: BTreeSet<_> = deps.holdings.roots().into_iter().collect();
    let mut damaged = Vec::new();
    for root in roots {
        let whole = mark(&deps.blocks, &session, root).map_err(|error| error.to_string())?;
        if !whole && damaged.len() < DAMAGED_MAX && held.contains(&root.into()) {
            damaged.push(root);
        }
    }
    // Leases taken meanwhile: their roots are safe, what is below them has to be marked.
    while !session.new_roots().is_empty() {
        for root in deps.blocks.leases().iter().filter_map(leased_import) {
            mark(&deps.blocks, &session, root).map_err(|error| error.to_string())?;
        }
    }
    let mut control = |_: SweepProgress| SweepControl::Continue;
    let report = session.sweep(&mut control).map_err(|error| error.to_string())?;
    let kept = Kept { blocks: blocks.saturating_sub(report.removed_blocks), ..kept };
    Ok(Outcome::Swept { report, kept, damaged })
}

/// Why a root can't be marked; then nothing is swept.
#[derive(Debug, thiserror::Error)]
enum MarkError {
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Read(#[from] GetError),
}

/// Marks everything below a root that is here; `false` if something is not: it is being fetched, was never
/// whole, or has decayed.
fn mark(blocks: &BlockStore, session: &GcSession, root: Cid) -> Result<bool, MarkError> {
    mark_each(blocks, session, root, &mut |_| {})
}

/// The same, with a look at every block.
fn mark_each(
    blocks: &BlockStore,
    session: &GcSession,
    root: Cid,
    on_block: &mut dyn FnMut(&Cid),
) -> Result<bool, MarkError> {
    let mut walk = DagWalk::new([root], LEAVES)?;
    let mut whole = true;
    loop {
        let named = walk.next(WALK_BATCH);
        if named.is_empty() {
            return Ok(whole);
        }
        for cid in named {
            on_block(&cid);
            if !session.mark(cid) {
                whole = false;
                walk.missing(&cid)?;
            } else if Codec::of(&cid) == Some(Codec::Raw) {
                walk.visited(&cid, None)?;
            } else {
                match blocks.get(cid) {
                    Ok(Some(bytes)) => match walk.visited(&cid, Some(&bytes)) {
                        // Nothing can be below it, and one wrong pin must not keep everything.
                        Err(WalkError::Links { source }) => {
                            tracing::debug!(%root, reason = %source, "not walked");
                            walk.skip(&cid)?;
                        }
                        visited => visited?,
                    },
                    Ok(None) | Err(GetError::Corrupt { .. }) => {
                        whole = false;
                        walk.missing(&cid)?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// What to tell of a collection that was asked for.
pub(super) fn report(result: &Result<Outcome, String>) -> Result<CollectReport, CollectError> {
    match result {
        Ok(Outcome::Swept { report, damaged, .. }) => Ok(CollectReport {
            removed_blocks: report.removed_blocks,
            removed_bytes: report.removed_bytes,
            freed_bytes: report.freed_bytes,
            removed_segments: report.removed_segments as u64,
            moved_blocks: report.moved_blocks,
            damaged_blocks: report.damaged_blocks,
            postponed_segments: report.postponed_segments as u64,
            incomplete_roots: damaged.iter().map(ipfs_kit_core::id::Cid::from).collect(),
        }),
        Ok(Outcome::NothingNew) => Ok(CollectReport::default()),
        Ok(Outcome::Busy) => Err(CollectError::Busy),
        Err(reason) => Err(CollectError::Failed(reason.clone())),
    }
}

/// Deletes one block that nothing keeps: a collection in which everything else is marked.
pub(super) fn remove(deps: &Deps, cid: Cid) -> Result<(), CollectError> {
    fn failed(error: impl std::fmt::Display) -> CollectError {
        CollectError::Failed(error.to_string())
    }
    let mut session = match deps.flights.ground(|| deps.blocks.begin_gc()) {
        None | Some(Err(GcError::Running)) => return Err(CollectError::Busy),
        Some(begun) => begun.map_err(failed)?,
    };
    if !deps.blocks.has(cid) || ipfs_kit_content::cid::identity_data(&cid).is_some() {
        return Err(CollectError::NotHere(cid.into()));
    }
    let target = Key::from(cid);
    let check = |roots: BTreeSet<Cid>| {
        for root in roots {
            let mut kept = false;
            let mut look = |cid: &Cid| kept |= Key::from(cid) == target;
            mark_each(&deps.blocks, &session, root, &mut look).map_err(failed)?;
            if kept {
                return Err(CollectError::Kept { cid: cid.into(), root: root.into() });
            }
        }
        Ok(())
    };
    check(roots(deps))?;
    while !session.new_roots().is_empty() {
        check(deps.blocks.leases().iter().filter_map(leased_import).collect())?;
    }
    let mut page = deps.blocks.page(None, PAGE_KEYS);
    while let Some((last, _)) = page.last().copied() {
        for (key, _) in page.iter().filter(|(key, _)| *key != target) {
            session.mark(key);
        }
        page = deps.blocks.page(Some(last), PAGE_KEYS);
    }
    session.sweep(&mut |_: SweepProgress| SweepControl::Continue).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests;
