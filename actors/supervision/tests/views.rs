//! Snapshots, watches, health, stalls, test verbs.

use super::*;

#[test]
fn a_snapshot_is_plain_data_that_survives_the_wire() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::RestForOne, &["b", "a"]).await;
        world.of("a").tell(Panic).expect("it is there");
        world.running("a", 2).await;
        let snapshot = world.tree.snapshot();
        let json = serde_json::to_string(&snapshot).expect("plain data");
        assert_eq!(serde_json::from_str::<Snapshot>(&json).expect("the same"), snapshot);
        let names: Vec<_> = snapshot.nodes().iter().map(|node| node.path.name()).collect();
        assert_eq!(names, ["node", "b", "a"], "in the order of starting");
        world.stop().await;
    });
}

#[test]
fn the_rendered_tree_shows_what_an_operator_needs() {
    testkit::run(|tree| async move {
        let slow = BackOff { base_ms: 5_000, ..quick() };
        let log = Log::default();
        let (store, store_ref) = worker("store", &log);
        let (sync, sync_ref) = worker("state-sync", &log);
        let cluster = SupervisorSpec::new("cluster", Strategy::OneForOne)
            .back_off(BackOff { cap_ms: 5_000, ..slow });
        let spec = SupervisorSpec::new("node", Strategy::RestForOne)
            .child(store)
            .child(ChildSpec::supervisor(cluster.child(sync)));
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        store_ref.tell(Hold(MINUTE)).expect("there is room");
        store_ref.tell(Add(1)).expect("there is room");
        sync_ref.tell(Fail).expect("there is room");
        wait_for_state(&tree, &path("/node/cluster/state-sync"), State::BackOff, 1, SECOND).await;
        tokio::time::sleep(SECOND).await;
        let text = tree.snapshot().render();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..4], ["PATH", "STATE", "INC", "MBOX"]);
        assert_eq!(lines[1], ["/node", "running", "1", "0/5"]);
        assert_eq!(lines[2][..7], ["├─", "store", "running", "1", "1/8", "Hold…", "1.0s"]);
        assert_eq!(lines[3][..4], ["└─", "cluster", "running", "1"]);
        assert_eq!(lines[4][..4], ["└─", "state-sync", "backoff", "1"], "{text}");
        assert!(
            text.contains("failed: the disk is gone: cable pulled 1.0s ago  next 3.9s"),
            "{text}"
        );
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn a_watch_tells_a_life_in_order_with_its_incarnations() {
    testkit::run(|tree| async move {
        let mut watch = tree.watch(&path("/node/a"));
        let mut elsewhere = tree.watch(&path("/node/ab"));
        let world = World::start(tree, Strategy::OneForOne, &["a", "b"]).await;
        world.of("a").tell(Panic).expect("it is there");
        world.running("a", 2).await;
        let tree = world.tree.clone();
        world.stop().await;
        let mut seen = Vec::new();
        while seen.len() < 8 {
            let Some(WatchEvent::Lifecycle(event)) = watch.next().await else { break };
            let words = match event.change {
                Change::Starting => "starting",
                Change::Ready => "ready",
                Change::Draining => "draining",
                Change::Exited { exit: Exit::Normal } => "exited",
                Change::Exited { .. } => "crashed",
                Change::BackOff { .. } => "backoff",
                Change::Stopped => "stopped",
                Change::GaveUp => "gave up",
                Change::Removed => "removed",
            };
            seen.push((event.incarnation, words));
        }
        let life = [
            (1, "starting"),
            (1, "ready"),
            (1, "crashed"),
            (1, "backoff"),
            (2, "starting"),
            (2, "ready"),
            (2, "draining"),
            (2, "exited"),
        ];
        assert_eq!(seen, life);
        drop(tree);
        let next = tokio::time::timeout(SECOND, elsewhere.next()).await;
        assert!(!matches!(next, Ok(Some(_))), "a name that only begins alike is another one");
    });
}

#[test]
fn a_slow_watcher_learns_how_much_it_missed() {
    testkit::run(|tree| async move {
        let mut watch = tree.watch(&path("/node"));
        let slow_log = Log::default();
        let (child, child_ref) = worker("a", &slow_log);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne)
            .intensity(10_000, SECOND)
            .back_off(BackOff { base_ms: 1, cap_ms: 1, ..quick() })
            .child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        for crash in 1..=100 {
            child_ref.tell(Panic).expect("there is room");
            wait_for_state(&tree, &path("/node/a"), State::Running, crash + 1, SECOND).await;
        }
        root.stop().await;
        let (mut held, mut missed) = (0, 0);
        while missed == 0 {
            match watch.next().await {
                Some(WatchEvent::Lifecycle(_)) => held += 1,
                Some(WatchEvent::Missed(n)) => missed = n,
                None => break,
            }
        }
        assert_eq!(held, 256);
        assert!(missed >= 100, "{missed}");
    });
}

#[test]
fn health_follows_the_essential_children() {
    testkit::run(|tree| async move {
        assert!(!tree.snapshot().health().live, "nothing runs yet");
        let adapt = |name: &str, spec: ChildSpec| match name {
            "extra" => spec.importance(Importance::Optional),
            _ => spec,
        };
        let world = World::start_with(tree, Strategy::OneForOne, &["a", "extra"], adapt).await;
        let healthy = Health { live: true, ready: true, degraded: Vec::new() };
        assert_eq!(world.tree.snapshot().health(), healthy);
        world.of("extra").tell(Panic).expect("it is there");
        wait_for_state(&world.tree, &path("/node/extra"), State::BackOff, 1, SECOND).await;
        let health = world.tree.snapshot().health();
        assert_eq!((health.ready, health.degraded), (true, vec![path("/node/extra")]));
        world.of("a").tell(Panic).expect("it is there");
        wait_for_state(&world.tree, &path("/node/a"), State::BackOff, 1, SECOND).await;
        let health = world.tree.snapshot().health();
        assert_eq!((health.live, health.ready), (true, false));
        world.running("a", 2).await;
        world.running("extra", 2).await;
        assert_eq!(world.tree.snapshot().health(), healthy);
        world.stop().await;
    });
}

#[test]
fn a_message_that_awaits_too_long_is_a_stall() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        world.of("a").tell(Hold(MINUTE)).expect("there is room");
        tokio::time::sleep(SECOND).await;
        assert_eq!(world.tree.stalls(2 * SECOND), []);
        tokio::time::sleep(2 * SECOND).await;
        let stalls = world.tree.stalls(2 * SECOND);
        assert_eq!(stalls.len(), 1);
        assert_eq!((stalls[0].0.as_str(), stalls[0].1.message.as_str()), ("/node/a", "Hold"));
        assert!(stalls[0].1.awaiting);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(world.tree.stalls(2 * SECOND), []);
        world.stop().await;
    });
}

#[test]
fn a_handler_that_holds_the_thread_is_counted() {
    struct Heavy;
    impl Actor for Heavy {
        type Context = Ctx<Self>;
    }
    impl Handler<Leave> for Heavy {
        type Result = ();
        fn handle(&mut self, _: Leave, _: &mut Ctx<Self>) {}
    }
    supervised!(Heavy);
    // A budget that cannot be met stands for a handler that takes too long: the clock is paused.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (tree, actor_ref) = (Tree::new(), ActorRef::vacant());
        let child = ChildSpec::actor("a", &actor_ref, |_| Heavy).handler_budget(Duration::ZERO);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        actor_ref.ask(Leave).await.expect("it answers");
        assert_eq!(tree.view(&path("/node/a")).map(|view| view.stalls), Some(1));
        root.stop().await;
    });
}

#[test]
fn a_stalled_actor_keeps_its_messages_waiting() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        world.tree.inject(&path("/node/a"), Injection::Stall(SECOND)).expect("it is running");
        wait_until(&world.tree, "it is stalled", SECOND, || world.view("a").current.is_some())
            .await;
        let asked_ms = world.tree.now_ms();
        assert_eq!(world.of("a").ask(Add(1)).await, Ok(1));
        assert!(world.tree.now_ms() - asked_ms >= 990);
        world.stop().await;
    });
}

#[test]
fn an_overflowed_actor_refuses_until_it_is_over() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        world.tree.inject(&path("/node/a"), Injection::Overflow(SECOND)).expect("it is running");
        let a = world.of("a");
        wait_until(&world.tree, "it is full", SECOND, || a.tell(Add(1)).is_err()).await;
        wait_until(&world.tree, "it has room", MINUTE, || a.tell(Add(1)).is_ok()).await;
        world.stop().await;
    });
}

#[test]
fn injections_reach_only_what_runs() {
    testkit::run(|tree| async move {
        let nobody = tree.inject(&path("/node/a"), Injection::Panic);
        assert_eq!(nobody, Err(NoSuchChild { path: path("/node/a") }));
    });
}

#[test]
fn an_actor_is_found_by_its_path() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let found = world.tree.actor::<Worker>(&path("/node/a")).expect("it is there");
        assert_eq!(found.ask(Add(2)).await, Ok(2));
        assert!(world.tree.actor::<Worker>(&path("/node/b")).is_none());
        world.stop().await;
    });
}

/// Set in the process that the test below starts.
const FOREIGN_PANIC: &str = "SUPERVISION_TEST_FOREIGN_PANIC";

#[test]
fn a_panic_of_somebody_else_reaches_the_hook_that_was_there() {
    // The hook belongs to the process, so the test runs itself in another one.
    if std::env::var_os(FOREIGN_PANIC).is_none() {
        let name =
            "supervision::tests::views::a_panic_of_somebody_else_reaches_the_hook_that_was_there";
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([name, "--exact", "--nocapture"])
            .env(FOREIGN_PANIC, "1")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{said}");
        assert!(said.contains("of somebody else"), "the default hook prints it: {said}");
        assert!(!said.contains("boom"), "an actor's panic is ours to report: {said}");
        return;
    }
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let foreign = std::panic::catch_unwind(|| panic!("of somebody else"));
        assert!(foreign.is_err());
        world.of("a").tell(Panic).expect("it is there");
        world.running("a", 2).await;
        let exit = world.view("a").last_exit.expect("it ended").exit;
        assert!(exit.to_string().contains("boom"), "the foreign words don't stick: {exit}");
        world.stop().await;
    });
}

/// Counts warnings; nothing else.
struct Warnings(Arc<Mutex<u64>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        *lock(&self.0) += 1;
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn each_stalled_message_is_warned_about_once() {
    let warnings = Arc::new(Mutex::new(0));
    let _counting = tracing::subscriber::set_default(Warnings(warnings.clone()));
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        world.of("a").tell(Hold(MINUTE)).expect("there is room");
        world.of("a").tell(Hold(MINUTE)).expect("there is room");
        let watching = world.tree.clone();
        let watchdog = tokio::task::spawn_local(async move {
            watching.warn_of_stalls(SECOND, 10 * SECOND).await;
        });
        for (seconds, expected) in [(5, 0), (50, 1), (10, 1), (50, 2), (20, 2)] {
            tokio::time::sleep(seconds * SECOND).await;
            assert_eq!(*lock(&warnings), expected);
        }
        watchdog.abort();
        world.stop().await;
    });
}

#[test]
fn the_same_seed_gives_the_same_life() {
    fn life(seed: u64) -> Vec<(u64, String)> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        testkit::run(|tree| async move {
            let mut watch = tree.watch(&path("/node"));
            let log = Log::default();
            let (child, child_ref) = worker("a", &log);
            let jitter = BackOff { jitter_percent: 50, ..quick() };
            let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(jitter);
            let mut root = launch(spec.child(child), &tree, seed).expect("valid");
            root.ready().await.expect("it starts");
            for crash in 1..=4 {
                child_ref.tell(Panic).expect("there is room");
                wait_for_state(&tree, &path("/node/a"), State::Running, crash + 1, MINUTE).await;
            }
            root.stop().await;
            let settled = ms(1);
            while let Ok(Some(WatchEvent::Lifecycle(event))) =
                tokio::time::timeout(settled, watch.next()).await
            {
                lock(&seen).push((event.at_ms, format!("{:?}", event.change)));
            }
        });
        std::mem::take(&mut lock(&events))
    }
    assert_eq!(life(3), life(3));
    assert_ne!(life(3), life(4), "jitter comes from the seed");
}

#[test]
fn paths_are_checked() {
    let node = ActorPath::root("node").expect("a name");
    let role = node.child("role-2").expect("a name");
    assert_eq!(role.as_str(), "/node/role-2");
    assert_eq!((role.name(), role.parent()), ("role-2", Some(node.clone())));
    assert_eq!(node.parent(), None);
    assert!(role.is_within(&node) && !node.is_within(&role));
    assert!(!path("/node2").is_within(&node));
    for bad in ["", "Node", "a b", "ä", "a/b", &"x".repeat(65)] {
        assert!(node.child(bad).is_err(), "{bad}");
    }
    assert!(ActorPath::parse("node").is_err());
    assert!(ActorPath::parse("/node//a").is_err());
}

#[test]
fn short_type_names_keep_their_arguments() {
    use super::super::node::short_type_name;
    assert_eq!(short_type_name("ipfs_kit::cache::GetBlock"), "GetBlock");
    assert_eq!(short_type_name("a::Batch<alloc::vec::Vec<b::Pin>>"), "Batch<Vec<Pin>>");
    assert_eq!(short_type_name("(a::B, c::D)"), "(B, D)");
}
