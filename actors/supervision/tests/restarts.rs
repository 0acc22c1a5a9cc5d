//! Exits, strategies, intensity, back-off, escalation.

use futures_util::FutureExt;

use super::*;

/// Every way in which a child can end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Normal,
    Failed,
    Panicked,
    Killed,
}

const ENDS: [End; 4] = [End::Normal, End::Failed, End::Panicked, End::Killed];

fn end(world: &World, name: &str, how: End) {
    let told = match how {
        End::Normal => world.of(name).tell(Leave).is_ok(),
        End::Failed => world.of(name).tell(Fail).is_ok(),
        End::Panicked => world.of(name).tell(Panic).is_ok(),
        End::Killed => {
            let path = path(&format!("/node/{name}"));
            world.tree.inject(&path, Injection::Kill).is_ok()
        }
    };
    assert!(told, "{name} is there");
}

#[test]
fn every_exit_under_every_strategy_restarts_the_range_and_nobody_else() {
    let cases = [
        (Strategy::OneForOne, [1, 2, 1]),
        (Strategy::RestForOne, [1, 2, 2]),
        (Strategy::OneForAll, [2, 2, 2]),
    ];
    for (strategy, expected) in cases {
        for how in ENDS {
            testkit::run(|tree| async move {
                let world = World::start(tree, strategy, &["a", "b", "c"]).await;
                end(&world, "b", how);
                world.running("b", 2).await;
                if strategy != Strategy::OneForOne {
                    world.running("c", 2).await;
                }
                assert_eq!(world.incarnations(), expected, "{strategy:?} after {how:?}");
                let exit = world.view("b").last_exit.expect("it ended").exit;
                assert_eq!(exit.as_str(), format!("{how:?}").to_lowercase());
                for name in ["a", "b", "c"] {
                    let answer = world.of(name).ask(Add(1)).await;
                    assert_eq!(answer, Ok(1), "{name} answers, with fresh state if restarted");
                }
                world.stop().await;
            });
        }
    }
}

#[test]
fn siblings_outside_the_range_keep_their_state() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::RestForOne, &["a", "b", "c"]).await;
        for name in ["a", "b", "c"] {
            assert_eq!(world.of(name).ask(Add(5)).await, Ok(5));
        }
        end(&world, "b", End::Panicked);
        world.running("c", 2).await;
        assert_eq!(world.of("a").ask(Add(1)).await, Ok(6));
        assert_eq!(world.of("b").ask(Add(1)).await, Ok(1));
        assert_eq!(world.of("c").ask(Add(1)).await, Ok(1));
        world.stop().await;
    });
}

#[test]
fn a_range_goes_down_in_reverse_and_comes_up_in_order() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForAll, &["a", "b", "c"]).await;
        end(&world, "b", End::Panicked);
        world.running("c", 2).await;
        let expected = ["c stopped", "a stopped", "a started", "b started", "c started"];
        assert_eq!(world.log.take(), expected);
        world.stop().await;
    });
}

#[test]
fn a_crash_report_names_kind_text_place_and_message() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a", "b"]).await;
        end(&world, "a", End::Panicked);
        end(&world, "b", End::Failed);
        world.running("a", 2).await;
        world.running("b", 2).await;
        let last = world.view("a").last_exit.expect("it ended");
        let Exit::Panicked(cause) = &last.exit else { panic!("{last:?}") };
        assert_eq!(cause.text, "boom");
        assert!(cause.location.as_deref().is_some_and(|at| at.contains("tests.rs:")), "{cause:?}");
        assert_eq!(last.message.as_deref(), Some("Panic"));
        let last = world.view("b").last_exit.expect("it ended");
        let Exit::Failed(cause) = &last.exit else { panic!("{last:?}") };
        assert_eq!(cause.kind, "DiskError");
        assert_eq!(cause.text, "the disk is gone: cable pulled");
        world.stop().await;
    });
}

#[test]
fn a_revived_actor_keeps_its_queue_and_loses_only_the_message_in_flight() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a");
        let doomed = a.ask(Panic);
        let queued = [a.ask(Add(1)), a.ask(Add(1))];
        assert_eq!(doomed.await, Err(AskError::Interrupted { to: "/node/a".to_owned() }));
        // Also what arrives while it is down waits for it.
        wait_for_state(&world.tree, &path("/node/a"), State::BackOff, 1, SECOND).await;
        let late = a.ask(Add(1));
        let [first, second] = queued;
        assert_eq!((first.await, second.await, late.await), (Ok(1), Ok(2), Ok(3)));
        let (letters, total) = world.tree.dead_letters();
        assert_eq!(total, 1);
        assert_eq!(
            (letters[0].message.as_str(), letters[0].reason),
            ("Panic", DeadReason::InFlight)
        );
        world.stop().await;
    });
}

#[test]
fn a_re_created_actor_loses_its_queue_to_the_dead_letters() {
    let recreate = |_: &str, spec: ChildSpec| spec.revival(Revival::Recreate);
    testkit::run(|tree| async move {
        let world = World::start_with(tree, Strategy::OneForOne, &["a"], recreate).await;
        let a = world.of("a");
        let doomed = a.ask(Panic);
        let queued = a.ask(Add(1));
        a.tell(Add(1)).expect("there is room");
        let gone = AskError::Interrupted { to: "/node/a".to_owned() };
        assert_eq!((doomed.await, queued.await), (Err(gone.clone()), Err(gone)));
        wait_for_state(&world.tree, &path("/node/a"), State::BackOff, 1, SECOND).await;
        assert!(matches!(a.tell(Add(1)), Err(TellError::Unavailable { .. })));
        world.running("a", 2).await;
        assert_eq!(a.ask(Add(1)).await, Ok(1), "the same reference leads to the new one");
        let mailbox = world.view("a").mailbox.expect("an actor has a mailbox");
        assert_eq!((mailbox.depth, mailbox.dead), (0, 3));
        world.stop().await;
    });
}

#[test]
fn a_killed_actor_is_re_created() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a");
        a.tell(Hold(MINUTE)).expect("there is room");
        a.tell(Add(1)).expect("there is room");
        end(&world, "a", End::Killed);
        world.running("a", 2).await;
        assert_eq!(world.log.take(), ["a started"], "no hooks of the killed one");
        assert_eq!(a.ask(Add(1)).await, Ok(1));
        world.stop().await;
    });
}

#[test]
fn policies_decide_what_comes_back() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    for policy in [Permanent, Transient, Temporary] {
        for how in ENDS {
            testkit::run(|tree| async move {
                let adapt = |name: &str, spec: ChildSpec| match name {
                    "a" => spec.restart(policy).importance(Importance::Optional),
                    _ => spec,
                };
                let world = World::start_with(tree, Strategy::OneForOne, &["a", "b"], adapt).await;
                end(&world, "a", how);
                let back = match policy {
                    Permanent => true,
                    Transient => how != End::Normal,
                    Temporary => false,
                };
                if back {
                    world.running("a", 2).await;
                } else {
                    let state = if how == End::Normal { State::Stopped } else { State::Failed };
                    wait_for_state(&world.tree, &path("/node/a"), state, 1, SECOND).await;
                    assert!(matches!(
                        world.of("a").tell(Add(1)),
                        Err(TellError::Unavailable { .. })
                    ));
                }
                assert_eq!(world.view("b").incarnation, 1);
                world.stop().await;
            });
        }
    }
}

#[test]
fn the_end_of_an_essential_temporary_child_escalates() {
    let adapt = |_: &str, spec: ChildSpec| spec.restart(RestartPolicy::Temporary);
    testkit::run(|tree| async move {
        let mut world = World::start_with(tree, Strategy::OneForOne, &["a", "b"], adapt).await;
        end(&world, "a", End::Panicked);
        let Exit::Failed(cause) = world.root.wait().await else { panic!("it gives up") };
        assert_eq!(cause.kind, "essential-child");
        assert!(cause.text.contains("boom"), "{cause}");
        assert_eq!(world.view("a").state, State::Failed);
        assert_eq!(world.view("b").state, State::Stopped);
        assert_eq!(world.tree.view(&path("/node")).map(|root| root.state), Some(State::Failed));
    });
}

#[test]
fn too_many_restarts_escalate() {
    testkit::run(|tree| async move {
        let mut world = World::start(tree, Strategy::OneForOne, &["a", "b"]).await;
        for crash in 1..=5 {
            end(&world, "a", End::Panicked);
            world.running("a", crash + 1).await;
            let root = world.tree.view(&path("/node")).expect("the root is there");
            assert_eq!(root.restarts_in_window, u32::try_from(crash).ok());
        }
        end(&world, "a", End::Panicked);
        let Exit::Failed(cause) = world.root.wait().await else { panic!("it gives up") };
        assert_eq!(cause.kind, "intensity");
        assert_eq!(world.log.take().last().map(String::as_str), Some("b stopped"));
    });
}

#[test]
fn a_nested_supervisor_escalates_to_its_parent_which_restarts_it() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let (before, _) = worker("before", &log);
        let (inner, inner_ref) = worker("inner", &log);
        let (after, _) = worker("after", &log);
        let group = SupervisorSpec::new("group", Strategy::OneForOne)
            .intensity(1, MINUTE)
            .back_off(quick())
            .child(inner);
        let spec = SupervisorSpec::new("node", Strategy::RestForOne)
            .back_off(quick())
            .child(before)
            .child(ChildSpec::supervisor(group))
            .child(after);
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        root.ready().await.expect("it starts");
        inner_ref.tell(Panic).expect("it is there");
        wait_for_state(&tree, &path("/node/group/inner"), State::Running, 2, SECOND).await;
        inner_ref.tell(Panic).expect("it is there");
        wait_for_state(&tree, &path("/node/after"), State::Running, 2, MINUTE).await;
        let incarnation = |at: &str| tree.view(&path(at)).map(|view| view.incarnation);
        assert_eq!(incarnation("/node/before"), Some(1));
        assert_eq!(incarnation("/node/group"), Some(2));
        assert_eq!(incarnation("/node/group/inner"), Some(3), "a path's history goes on");
        assert_eq!(inner_ref.ask(Add(1)).await, Ok(1));
        let group = tree.view(&path("/node/group")).expect("it is there");
        assert_eq!(group.restarts_in_window, Some(0), "a new incarnation has a new window");
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn tasks_are_supervised_like_actors() {
    testkit::run(|tree| async move {
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick()).child(
            ChildSpec::task("task", |ctx: TaskCtx| async move {
                ctx.ready();
                match ctx.incarnation() {
                    1 => panic!("first"),
                    2 => Err(disk_error().into()),
                    _ => {
                        ctx.stopped().await;
                        Ok(())
                    }
                }
            }),
        );
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        let mut watch = tree.watch(&path("/node/task"));
        wait_for_state(&tree, &path("/node/task"), State::Running, 3, MINUTE).await;
        let mut exits = Vec::new();
        while exits.len() < 2 {
            if let Some(WatchEvent::Lifecycle(event)) = watch.next().await
                && let Change::Exited { exit } = event.change
            {
                exits.push((event.incarnation, exit.as_str().to_owned()));
            }
        }
        assert_eq!(exits, [(1, "panicked".to_owned()), (2, "failed".to_owned())]);
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn a_panic_on_another_thread_names_its_place_too() {
    testkit::run(|tree| async move {
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick()).child(
            ChildSpec::task("task", |ctx: TaskCtx| async move {
                ctx.ready();
                if ctx.incarnation() == 1 {
                    let far = as_caller(|| async { panic!("far away") });
                    let poll = move || far().now_or_never();
                    // The closure holds nothing of this thread's before it is called.
                    let far = std::thread::scope(|scope| scope.spawn(poll).join());
                    std::panic::resume_unwind(far.expect_err("it panics"));
                }
                ctx.stopped().await;
                Ok(())
            }),
        );
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        wait_for_state(&tree, &path("/node/task"), State::Running, 2, MINUTE).await;
        let last = tree.view(&path("/node/task")).and_then(|view| view.last_exit);
        let Some(Exit::Panicked(cause)) = last.map(|last| last.exit) else { panic!("no crash") };
        assert_eq!(cause.text, "far away");
        assert!(cause.location.is_some_and(|at| at.contains("restarts.rs:")));
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn what_is_not_ready_in_time_has_failed() {
    testkit::run(|tree| async move {
        let task = ChildSpec::task("task", |ctx: TaskCtx| async move {
            if ctx.incarnation() > 1 {
                ctx.ready();
            }
            ctx.stopped().await;
            Ok(())
        });
        let log = Log::default();
        let (after, _) = worker("after", &log);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne)
            .back_off(quick())
            .child(task.start_timeout(SECOND))
            .child(after);
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        wait_for_state(&tree, &path("/node/task"), State::BackOff, 1, MINUTE).await;
        assert_eq!(tree.now_ms() / 1_000, 1);
        assert_eq!(log.take(), [""; 0], "nobody starts before what it depends on is ready");
        root.ready().await.expect("the second attempt is in time");
        let last = tree.view(&path("/node/task")).and_then(|view| view.last_exit);
        assert_eq!(
            last.and_then(|last| last.exit.cause().map(|c| c.kind.clone())).as_deref(),
            Some("start-timeout")
        );
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn stop_is_served_during_back_off() {
    testkit::run(|tree| async move {
        let slow = BackOff { base_ms: 600_000, cap_ms: 600_000, ..quick() };
        let log = Log::default();
        let (child, child_ref) = worker("a", &log);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(slow).child(child);
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        root.ready().await.expect("it starts");
        child_ref.tell(Panic).expect("it is there");
        wait_for_state(&tree, &path("/node/a"), State::BackOff, 1, SECOND).await;
        assert_eq!(root.stop().await, Exit::Normal);
        assert!(tree.now_ms() < 10_000, "{}", tree.now_ms());
    });
}

#[test]
fn crashes_in_every_hook_are_caught() {
    /// Panics once, in the hook of this name.
    struct Fragile {
        hook: &'static str,
        armed: Arc<Mutex<bool>>,
    }
    impl Fragile {
        fn pass(&self, hook: &str) {
            let armed = std::mem::take(&mut *lock(&self.armed));
            assert!(!(armed && hook == self.hook), "panic in {hook}");
            *lock(&self.armed) = armed;
        }
    }
    impl Actor for Fragile {
        type Context = Ctx<Self>;
        fn started(&mut self, _: &mut Ctx<Self>) {
            self.pass("started");
        }
        fn stopping(&mut self, _: &mut Ctx<Self>) -> Running {
            self.pass("stopping");
            Running::Stop
        }
        fn stopped(&mut self, _: &mut Ctx<Self>) {
            self.pass("stopped");
        }
    }
    impl Drop for Fragile {
        fn drop(&mut self) {
            self.pass("drop");
        }
    }
    impl Handler<Leave> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Leave, ctx: &mut Ctx<Self>) {
            ctx.stop();
        }
    }
    supervised!(Fragile);

    for hook in ["factory", "started", "stopping", "stopped", "drop"] {
        testkit::run(|tree| async move {
            let armed = Arc::new(Mutex::new(true));
            let actor_ref = ActorRef::vacant();
            let child = ChildSpec::actor("a", &actor_ref, move |_| {
                let fragile = Fragile { hook, armed: armed.clone() };
                fragile.pass("factory");
                fragile
            });
            let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick());
            let mut root = launch(spec.child(child), &tree, 1).expect("a valid spec");
            root.ready().await.expect("it starts, if need be at the second attempt");
            actor_ref.tell(Leave).expect("it is there");
            wait_for_state(&tree, &path("/node/a"), State::Running, 2, MINUTE).await;
            assert_eq!(root.stop().await, Exit::Normal, "{hook}");
        });
    }
}

#[test]
fn an_actor_that_only_cleans_up_is_told_from_one_that_rebuilds() {
    let log = Log::default();
    testkit::assert_rebuilds(worker("a", &log).0);

    struct Stale;
    impl Actor for Stale {
        type Context = Ctx<Self>;
    }
    impl actix::Supervised for Stale {}
    let caught = std::panic::catch_unwind(|| {
        testkit::assert_rebuilds(ChildSpec::actor("stale", &ActorRef::vacant(), |_| Stale));
    });
    assert!(caught.is_err());
}
