//! The hello: what each pair of ends concludes, and what a stranger may learn.

use std::future::{pending, ready};

use futures_util::future::join;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const MEMBER: Standing = Standing::Member { newest: None };

const BASE: Hello =
    Hello { cluster_id: ClusterId([1; 16]), epoch: 3, wire_version: 2, incarnation: 9 };

async fn meet(
    dialler: Hello,
    answerer: Hello,
    standing: Standing,
) -> (Result<Hello, HelloError>, Result<Hello, HelloError>) {
    meet_rival(dialler, answerer, standing, ready(false)).await
}

async fn meet_rival(
    dialler: Hello,
    answerer: Hello,
    standing: Standing,
    rival: impl Future<Output = bool>,
) -> (Result<Hello, HelloError>, Result<Hello, HelloError>) {
    let (near, far) = tokio::io::duplex(1024);
    let (mut near, mut far) = (near.compat(), far.compat());
    join(say(&mut near, dialler, LIMIT), hear(&mut far, answerer, standing, rival, LIMIT)).await
}

#[tokio::test]
async fn equals_accept_and_learn_each_others_incarnation() {
    let dialler = Hello { incarnation: 1, ..BASE };
    assert_eq!(meet(dialler, BASE, MEMBER).await, (Ok(BASE), Ok(dialler)));
}

#[tokio::test]
async fn another_cluster_is_named_where_it_is_refused_and_kept_from_the_refused() {
    let foreign = Hello { cluster_id: ClusterId([2; 16]), ..BASE };
    for standing in [MEMBER, Standing::Stranger] {
        let (near, far) = meet(foreign, BASE, standing).await;
        assert_eq!(near, Err(HelloError::ForeignCluster { theirs: None }));
        assert_eq!(far, Err(HelloError::ForeignCluster { theirs: Some(foreign.cluster_id) }));
    }
}

#[tokio::test]
async fn epochs_and_versions_are_named_at_both_ends() {
    let (near, far) = meet(Hello { epoch: 4, ..BASE }, BASE, MEMBER).await;
    assert_eq!(near, Err(HelloError::WrongEpoch { ours: 4, theirs: 3 }));
    assert_eq!(far, Err(HelloError::WrongEpoch { ours: 3, theirs: 4 }));
    let (near, far) = meet(Hello { wire_version: 1, ..BASE }, BASE, MEMBER).await;
    assert_eq!(near, Err(HelloError::WrongWireVersion { ours: 1, theirs: 2 }));
    assert_eq!(far, Err(HelloError::WrongWireVersion { ours: 2, theirs: 1 }));
}

#[tokio::test]
async fn a_stranger_of_the_same_cluster_is_told_nothing_but_the_verdict() {
    let judged = Err(HelloError::NotRegistered);
    assert_eq!(meet(BASE, BASE, Standing::Stranger).await, (judged.clone(), judged.clone()));
    let answer = encode_answer(&BASE, Standing::Stranger, &judged);
    assert!(answer[5..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_removed_member_is_told_the_verdict_and_nothing_else() {
    let judged = Err(HelloError::Removed);
    for dialler in [BASE, Hello { epoch: BASE.epoch - 1, ..BASE }] {
        assert_eq!(meet(dialler, BASE, Standing::Removed).await, (judged.clone(), judged.clone()));
    }
    let answer = encode_answer(&BASE, Standing::Removed, &judged);
    assert!(answer[5..].iter().all(|byte| *byte == 0));
    let foreign = Hello { cluster_id: ClusterId([2; 16]), ..BASE };
    let (near, _) = meet(foreign, BASE, Standing::Removed).await;
    assert_eq!(near, Err(HelloError::ForeignCluster { theirs: None }));
}

/// The newer history may have begun before the removal, and have the member.
#[tokio::test]
async fn who_was_removed_in_an_older_history_is_not_told_so() {
    let newer = Hello { epoch: BASE.epoch + 1, ..BASE };
    let stranger = Err(HelloError::NotRegistered);
    assert_eq!(meet(newer, BASE, Standing::Removed).await, (stranger.clone(), stranger));
}

#[tokio::test]
async fn a_verdict_of_a_later_program_is_a_refusal_without_a_reason() {
    let mut answer = encode_answer(&BASE, MEMBER, &Ok(BASE));
    answer[0] = 9;
    assert_eq!(read_answer(&BASE, &answer), Err(HelloError::Malformed));
}

#[tokio::test]
async fn an_older_start_of_a_connected_identity_is_refused() {
    let standing = Standing::Member { newest: Some(10) };
    let stale = Err(HelloError::StaleIncarnation { newest: 10 });
    assert_eq!(meet(BASE, BASE, standing).await, (stale.clone(), stale));
    let (_, far) = meet(Hello { incarnation: 10, ..BASE }, BASE, standing).await;
    assert!(far.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_newer_start_is_refused_while_the_connected_one_answers() {
    let standing = Standing::Member { newest: Some(8) };
    let in_use = Err(HelloError::IdentityInUse { other: 8 });
    assert_eq!(meet_rival(BASE, BASE, standing, ready(true)).await, (in_use.clone(), in_use));
    let (near, far) = meet_rival(BASE, BASE, standing, ready(false)).await;
    assert!(near.is_ok() && far.is_ok());
    // One that is silent: the verdict comes in time.
    let (near, far) = meet_rival(BASE, BASE, standing, pending()).await;
    assert!(near.is_ok() && far.is_ok());
    // The same start on a second connection has no rival.
    let standing = Standing::Member { newest: Some(9) };
    let (near, _) = meet_rival(BASE, BASE, standing, ready(true)).await;
    assert!(near.is_ok());
}

#[tokio::test]
async fn garbage_is_no_hello() {
    let (mut near, far) = tokio::io::duplex(1024);
    let mut far = far.compat();
    let garbage = async {
        tokio::io::AsyncWriteExt::write_all(&mut near, &[7; HELLO_LEN]).await.unwrap();
        let mut answer = [0; ANSWER_LEN];
        tokio::io::AsyncReadExt::read_exact(&mut near, &mut answer).await.unwrap();
        drop(near);
        answer[0]
    };
    let (verdict, far) = join(garbage, hear(&mut far, BASE, MEMBER, ready(true), LIMIT)).await;
    assert_eq!(far, Err(HelloError::Malformed));
    assert_eq!(verdict, Verdict::Malformed as u8);
}

#[tokio::test(start_paused = true)]
async fn silence_times_out_at_both_ends() {
    let (near, far) = tokio::io::duplex(1024);
    assert_eq!(say(&mut near.compat(), BASE, LIMIT).await, Err(HelloError::TimedOut));
    drop(far);
    let (_near, far) = tokio::io::duplex(1024);
    assert_eq!(
        hear(&mut far.compat(), BASE, MEMBER, ready(true), LIMIT).await,
        Err(HelloError::TimedOut)
    );
}
