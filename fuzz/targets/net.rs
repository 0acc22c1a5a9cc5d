//! The streams between members and from strangers, as their readers see them.

use ipfs_kit_net::testkit;

/// Runs a reader to its end or to where it waits for more; its timers need a runtime.
fn run(reader: impl Future<Output = ()>) {
    use futures_util::FutureExt;
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O needs nothing that can be missing");
    }
    RUNTIME.with(|runtime| {
        let _context = runtime.enter();
        // `None`: it waits for something that does not come in memory.
        let _ = reader.now_or_never();
    });
}

pub fn hello(bytes: &[u8]) {
    run(testkit::hello(bytes));
}

pub fn hello_seeds() -> Vec<Vec<u8>> {
    vec![testkit::hello_bytes().to_vec(), [&[0][..], &testkit::hello_bytes()].concat()]
}

pub fn lane(bytes: &[u8]) {
    run(testkit::lane(bytes));
}

pub fn lane_seeds() -> Vec<Vec<u8>> {
    vec![[&[0, 0, 0, 3][..], b"one", &[0, 0, 0, 0], &[0, 0, 0, 3], b"two"].concat()]
}

pub fn call(bytes: &[u8]) {
    run(testkit::call(bytes));
}

pub fn call_seeds() -> Vec<Vec<u8>> {
    let request = [&[0, 0, 0, 19, 136, 0, 0, 0, 100, 0, 0, 0, 2][..], b"ab"].concat();
    let answer = [&[0, 0, 0, 0, 2][..], b"ok"].concat();
    vec![request, answer, vec![1, 0, 0, 0, 0], vec![3, 0, 0, 0, 9]]
}

pub fn join(bytes: &[u8]) {
    run(testkit::join(bytes));
}

pub fn join_seeds() -> Vec<Vec<u8>> {
    let request = [&testkit::CLUSTER.0[..], &[0, 0, 0, 2], b"ab"].concat();
    let answer = [&[0, 0, 0, 0, 0, 0, 0, 0, 2][..], b"ok"].concat();
    vec![request, answer, vec![2, 0, 0, 1, 0, 0, 0, 0, 0]]
}
