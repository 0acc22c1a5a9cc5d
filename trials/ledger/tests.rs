//! The ledger accuses exactly where somebody was told something else.

use super::*;

fn ledger_with(known: Known) -> (Inner, Cid) {
    let content = Content::of(1, 1).unwrap();
    let mut ledger = Inner::default();
    ledger.begin(&content);
    ledger.items.get_mut(&content.cid).unwrap().known = known;
    (ledger, content.cid)
}

fn losses(known: Known, is_pinned: bool) -> usize {
    let (mut ledger, cid) = ledger_with(known);
    ledger.compare(&is_pinned.then_some(cid).into_iter().collect());
    ledger.losses.len()
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_must_be_so() {
    assert_eq!(losses(Known::Present, true), 0);
    assert_eq!(losses(Known::Present, false), 1);
    assert_eq!(losses(Known::Absent, false), 0);
    assert_eq!(losses(Known::Absent, true), 1);
    let mut ledger = Inner::default();
    ledger.compare(&[Content::of(1, 1).unwrap().cid].into());
    assert_eq!(ledger.losses.len(), 1, "nobody asked for it");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_open_until_it_can_take_effect_no_more() {
    let begun = Known::Unknown(Instant::now());
    for is_pinned in [true, false] {
        assert_eq!(losses(begun, is_pinned), 0);
    }
    let (mut ledger, cid) = ledger_with(begun);
    let pinned: BTreeSet<Cid> = [cid.clone()].into();
    ledger.compare(&pinned);
    assert_eq!(ledger.items[&cid].known, begun, "it may still go either way");
    tokio::time::advance(LATE * 2).await;
    ledger.compare(&pinned);
    assert_eq!(ledger.items[&cid].known, Known::Present);
    ledger.compare(&BTreeSet::new());
    assert_eq!(ledger.losses.len(), 1, "what was seen must stay");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_began_changes_nothing() {
    let (mut ledger, cid) = ledger_with(Known::Present);
    let content = ledger.items[&cid].content.clone();
    for (ending, known) in [
        (Ending::NobodyThere, Known::Present),
        (Ending::Answered(Known::Absent), Known::Absent),
        (Ending::Lost, Known::Unknown(Instant::now())),
    ] {
        let before = ledger.begin(&content);
        assert_eq!(ledger.items[&cid].known, Known::Unknown(Instant::now()), "it is under way");
        ledger.end(&cid, before, ending);
        assert_eq!(ledger.items[&cid].known, known);
    }
}
