//! What is taken in, how much of it, and how long it is waited for. Time is virtual.

use futures_util::stream;

use super::*;

const MAX: usize = 10;
const LONG: Duration = Duration::from_secs(60);

/// A body of these pieces, each after a pause.
fn slow(pieces: &'static [&'static str], pause: Duration) -> Body {
    let pieces = stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>(*piece)
    });
    Body::from_stream(pieces)
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_taken_in_and_a_silent_one_is_given_up() {
    let pause = LONG - Duration::from_secs(1);
    let taken = whole(slow(&["a", "b", "c", "d"], pause), MAX, LONG).await;
    assert_eq!(taken, Ok(Bytes::from_static(b"abcd")));
    let pause = LONG + Duration::from_secs(1);
    let silent = whole(slow(&["a"], pause), MAX, LONG).await.unwrap_err();
    assert_eq!(silent, Unread::Idle(LONG));
    let failure = silent.failure("the request", MAX);
    assert_eq!(failure.code, "E_READ");
    assert_eq!(failure.message, "the request stalled: nothing has come for 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_bound_is_not_kept_and_a_broken_one_is_no_whole() {
    assert_eq!(whole(Body::from("0123456789"), MAX, LONG).await.unwrap().len(), MAX);
    assert_eq!(whole(Body::from("0123456789x"), MAX, LONG).await, Err(Unread::TooLarge));
    let pieces = slow(&["01234", "56789", "x"], Duration::ZERO);
    assert_eq!(whole(pieces, MAX, LONG).await, Err(Unread::TooLarge));
    let broken = [Ok("part"), Err(io::Error::other("gone"))];
    let broken = Body::from_stream(stream::iter(broken));
    assert_eq!(whole(broken, MAX, LONG).await, Err(Unread::CutOff));
}
