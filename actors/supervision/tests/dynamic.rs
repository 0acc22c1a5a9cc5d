//! Children that come and go at run time; the swap of one child.

use super::*;

struct Swap {
    tree: Tree,
    root: Root,
    log: Log,
    control: SupervisorRef,
}

/// `/node` with a store before and an api behind the role child.
async fn node(tree: Tree, role: ChildSpec) -> Swap {
    let (log, control) = (Log::default(), SupervisorRef::vacant());
    let spec = SupervisorSpec::new("node", Strategy::RestForOne)
        .back_off(quick())
        .control(&control)
        .child(worker("store", &log).0)
        .child(role)
        .child(worker("api", &log).0);
    let mut root = launch(spec, &tree, 1).expect("valid");
    root.ready().await.expect("it starts");
    Swap { tree, root, log, control }
}

fn role(name: &str, log: &Log, members: &[&'static str]) -> ChildSpec {
    let mut spec = SupervisorSpec::new(name, Strategy::OneForOne).back_off(quick());
    for member in members {
        spec = spec.child(worker(member, log).0);
    }
    ChildSpec::supervisor(spec)
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.snapshot().nodes().iter().map(|node| node.path.to_string()).collect()
}

#[test]
fn a_swap_stops_the_old_child_then_starts_the_new_and_nobody_notices() {
    testkit::run(|tree| async move {
        let roles = Log::default();
        let mut swap = node(tree, role("worker", &roles, &["follow", "cache"])).await;
        swap.log.take();
        roles.take();
        let new = role("master", &roles, &["control", "index"]);
        assert_eq!(swap.control.replace("worker", new).await, Ok(()));
        let order = ["cache stopped", "follow stopped", "control started", "index started"];
        assert_eq!(roles.take(), order);
        assert_eq!(swap.log.take(), [""; 0]);
        let expected = [
            "/node",
            "/node/store",
            "/node/master",
            "/node/master/control",
            "/node/master/index",
            "/node/api",
        ];
        assert_eq!(paths(&swap.tree), expected);
        for name in ["store", "api"] {
            let view = swap.tree.view(&path(&format!("/node/{name}"))).expect("it is there");
            assert_eq!(view.incarnation, 1, "{name}");
        }
        assert_eq!(swap.tree.view(&path("/node")).and_then(|n| n.restarts_in_window), Some(0));
        assert_eq!(swap.root.stop().await, Exit::Normal);
        let stops = roles.take();
        assert_eq!(stops, ["index stopped", "control stopped"]);
    });
}

#[test]
fn a_swap_may_hand_one_reference_to_the_successor() {
    testkit::run(|tree| async move {
        let (log, cache) = (Log::default(), ActorRef::<Worker>::vacant());
        let role_with = |name: &'static str| {
            let own = log.clone();
            let child = ChildSpec::actor("cache", &cache, move |_| Worker::new(name, &own));
            let spec = SupervisorSpec::new(name, Strategy::OneForOne).child(child);
            ChildSpec::supervisor(spec)
        };
        let mut swap = node(tree, role_with("worker")).await;
        assert_eq!(cache.ask(Add(1)).await, Ok(1));
        for (old, new) in [("worker", "master"), ("master", "worker"), ("worker", "worker")] {
            assert_eq!(swap.control.replace(old, role_with(new)).await, Ok(()));
            assert_eq!(cache.path(), Some(path(&format!("/node/{new}/cache"))));
            assert_eq!(cache.ask(Add(1)).await, Ok(1), "fresh");
        }
        assert_eq!(swap.root.stop().await, Exit::Normal);
    });
}

#[test]
fn a_swap_during_back_off_starts_the_successor_at_once() {
    testkit::run(|tree| async move {
        let (log, cache) = (Log::default(), ActorRef::<Worker>::vacant());
        let of = |name: &'static str| {
            let own = log.clone();
            ChildSpec::actor(name, &cache, move |_| Worker::new(name, &own))
        };
        let mut swap = node(tree, of("old")).await;
        cache.tell(Panic).expect("it is there");
        wait_for_state(&swap.tree, &path("/node/old"), State::BackOff, 1, SECOND).await;
        assert_eq!(swap.control.replace("old", of("new")).await, Ok(()));
        assert_eq!(cache.ask(Add(1)).await, Ok(1));
        assert_eq!(cache.path(), Some(path("/node/new")));
        assert_eq!(swap.root.stop().await, Exit::Normal);
    });
}

#[test]
fn an_old_child_that_does_not_stop_is_killed_at_its_deadline() {
    testkit::run(|tree| async move {
        let deaf = ChildSpec::task("old", |ctx: TaskCtx| async move {
            ctx.ready();
            std::future::pending::<()>().await;
            Ok(())
        });
        let mut swap = node(tree, deaf.stop_deadline(ms(200))).await;
        let (spec, new) = worker("new", &swap.log);
        let before_ms = swap.tree.now_ms();
        assert_eq!(swap.control.replace("old", spec).await, Ok(()));
        assert_eq!(swap.tree.now_ms() - before_ms, 200);
        assert_eq!(new.ask(Add(1)).await, Ok(1));
        assert_eq!(swap.root.stop().await, Exit::Normal);
    });
}

#[test]
fn a_later_swap_takes_over() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let flushing = {
            let log = log.clone();
            ChildSpec::actor("old", &ActorRef::vacant(), move |_| Worker {
                flush: Some(ms(100)),
                ..Worker::new("old", &log)
            })
        };
        let mut swap = node(tree, flushing).await;
        let (first, first_ref) = worker("first", &log);
        let (second, second_ref) = worker("second", &log);
        let given = swap.control.replace("old", first);
        let later = swap.control.replace("first", second);
        assert_eq!(given.await, Err(DynamicError::Superseded));
        assert_eq!(later.await, Ok(()));
        assert_eq!(first_ref.path(), None);
        assert_eq!(second_ref.ask(Add(1)).await, Ok(1));
        assert_eq!(swap.root.stop().await, Exit::Normal);
    });
}

#[test]
fn the_last_word_of_the_old_child_is_not_taken_for_the_new_ones() {
    testkit::run(|tree| async move {
        let late = ChildSpec::task("old", |ctx: TaskCtx| async move {
            ctx.stopped().await;
            ctx.ready();
            tokio::time::sleep(ms(100)).await;
            Ok(())
        });
        let control = SupervisorRef::vacant();
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).control(&control).child(late);
        let mut root = launch(spec, &tree, 1).expect("valid");
        wait_for_state(&tree, &path("/node/old"), State::Starting, 1, SECOND).await;
        let (new, new_ref) = worker("new", &Log::default());
        assert_eq!(control.replace("old", new).await, Ok(()));
        assert_eq!(new_ref.ask(Add(1)).await, Ok(1), "done means that the new one is ready");
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn children_are_added_stopped_started_again_and_removed() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let mut swap = node(tree, worker("role", &log).0).await;
        let (spec, extra) = worker("extra", &log);
        let control = &swap.control;
        assert_eq!(control.start(spec.clone()).await, Ok(()));
        assert_eq!(extra.ask(Add(3)).await, Ok(3));
        let duplicate = DynamicError::Duplicate { name: "extra".to_owned() };
        assert_eq!(control.start(spec.clone()).await, Err(duplicate));
        assert_eq!(control.stop("extra").await, Ok(()));
        let view = swap.tree.view(&path("/node/extra")).expect("a stopped child keeps its place");
        assert_eq!(view.state, State::Stopped);
        assert!(extra.tell(Add(1)).is_err());
        assert_eq!(control.start(spec).await, Ok(()));
        assert_eq!(extra.ask(Add(3)).await, Ok(3));
        assert_eq!(control.remove("extra").await, Ok(()));
        assert_eq!(swap.tree.view(&path("/node/extra")), None);
        let unknown = DynamicError::Unknown { name: "extra".to_owned() };
        assert_eq!(control.stop("extra").await, Err(unknown));
        let bad = control.start(worker("Bad Name", &log).0).await;
        assert!(matches!(bad, Err(DynamicError::Spec { .. })));
        assert_eq!(swap.root.stop().await, Exit::Normal);
        let gone = swap.control.stop("role").await;
        assert_eq!(gone, Err(DynamicError::Unavailable));
    });
}

#[test]
fn a_command_whose_supervisor_stops_is_interrupted() {
    testkit::run(|tree| async move {
        let never = || {
            ChildSpec::task("new", |ctx: TaskCtx| async move {
                ctx.stopped().await;
                Ok(())
            })
        };
        let mut swap = node(tree, worker("role", &Log::default()).0).await;
        let waiting = swap.control.replace("role", never());
        wait_for_state(&swap.tree, &path("/node/new"), State::Starting, 1, SECOND).await;
        assert_eq!(swap.root.stop().await, Exit::Normal);
        assert_eq!(waiting.await, Err(DynamicError::Interrupted));
    });
}

#[test]
fn a_restarted_supervisor_has_the_children_of_its_spec_again() {
    testkit::run(|tree| async move {
        let (log, control) = (Log::default(), SupervisorRef::vacant());
        let group = SupervisorSpec::new("group", Strategy::OneForOne)
            .control(&control)
            .child(worker("first", &log).0);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick());
        let mut root = launch(spec.child(ChildSpec::supervisor(group)), &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        assert_eq!(control.start(worker("extra", &log).0).await, Ok(()));
        tree.inject(&path("/node/group"), Injection::Panic).expect("it is running");
        wait_for_state(&tree, &path("/node/group"), State::Running, 2, MINUTE).await;
        assert_eq!(paths(&tree), ["/node", "/node/group", "/node/group/first"]);
        assert_eq!(
            control.start(worker("extra", &log).0).await,
            Ok(()),
            "the handle is good again"
        );
        assert_eq!(root.stop().await, Exit::Normal);
    });
}
