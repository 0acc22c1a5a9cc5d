//! Ordered start, reverse stop, deadlines.

use super::*;

#[test]
fn each_child_starts_when_the_one_before_is_ready_and_all_stop_in_reverse() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let (first, _) = worker("first", &log);
        let (last, _) = worker("last", &log);
        let (task_log, ready) = (log.clone(), Duration::from_secs(3));
        let middle = ChildSpec::task("middle", move |ctx: TaskCtx| {
            let log = task_log.clone();
            async move {
                log.note("middle started");
                tokio::time::sleep(ready).await;
                log.note("middle ready");
                ctx.ready();
                ctx.stopped().await;
                log.note("middle stopped");
                Ok(())
            }
        });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne);
        let spec = spec.child(first).child(middle).child(last);
        let mut root = launch(spec, &tree, 1).expect("a valid spec");
        root.ready().await.expect("it starts");
        let started = ["first started", "middle started", "middle ready", "last started"];
        assert_eq!(log.take(), started);
        assert_eq!(root.stop().await, Exit::Normal);
        assert_eq!(log.take(), ["last stopped", "middle stopped", "first stopped"]);
    });
}

#[test]
fn an_actor_may_say_itself_when_it_is_ready() {
    struct Careful;
    impl Actor for Careful {
        type Context = Ctx<Self>;
        fn started(&mut self, ctx: &mut Ctx<Self>) {
            ctx.defer_ready();
            ctx.run_later(SECOND, |_, ctx| ctx.ready());
        }
    }
    supervised!(Careful);
    testkit::run(|tree| async move {
        let log = Log::default();
        let careful = ChildSpec::actor("careful", &ActorRef::vacant(), |_| Careful);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(careful);
        let mut root = launch(spec.child(worker("after", &log).0), &tree, 1).expect("valid");
        wait_for_state(&tree, &path("/node/careful"), State::Starting, 1, SECOND).await;
        assert_eq!(log.take(), [""; 0]);
        root.ready().await.expect("it starts");
        assert_eq!(tree.now_ms(), 1_000);
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn a_flush_within_the_deadline_is_waited_for() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let (actor_ref, actor_log) = (ActorRef::vacant(), log.clone());
        let flushing = ChildSpec::actor("a", &actor_ref, move |_| Worker {
            flush: Some(ms(300)),
            ..Worker::new("a", &actor_log)
        });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne);
        let mut root = launch(spec.child(flushing), &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        assert_eq!(root.stop().await, Exit::Normal);
        assert_eq!(log.take(), ["a started", "a flushes", "a stopped"]);
        assert_eq!(tree.now_ms(), 300);
    });
}

#[test]
fn an_overlong_flush_is_killed_at_its_deadline_and_holds_up_nobody_else() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let (first, _) = worker("first", &log);
        let (actor_ref, actor_log) = (ActorRef::vacant(), log.clone());
        let flushing = ChildSpec::actor("a", &actor_ref, move |_| Worker {
            flush: Some(MINUTE),
            ..Worker::new("a", &actor_log)
        });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne)
            .child(first)
            .child(flushing.stop_deadline(ms(200)));
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        log.take();
        assert_eq!(root.stop().await, Exit::Normal);
        assert_eq!(log.take(), ["a flushes", "first stopped"]);
        assert_eq!(tree.now_ms(), 200);
        let view = tree.view(&path("/node/a")).expect("it is in the tree");
        assert_eq!(view.last_exit.map(|last| last.exit), Some(Exit::Killed));
        assert_eq!(view.state, State::Stopped);
    });
}

#[test]
fn a_root_deadline_kills_what_ignores_its_own() {
    testkit::run(|tree| async move {
        let deaf = ChildSpec::task("deaf", |ctx: TaskCtx| async move {
            ctx.ready();
            std::future::pending::<()>().await;
            Ok(())
        });
        let group = SupervisorSpec::new("group", Strategy::OneForOne)
            .child(deaf.stop_deadline(Duration::from_secs(3_600)));
        let spec = SupervisorSpec::new("node", Strategy::OneForOne);
        let mut root = launch(spec.child(ChildSpec::supervisor(group)), &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        assert_eq!(root.stop_within(SECOND).await, Exit::Killed);
        assert_eq!(tree.now_ms(), 1_000);
        assert_eq!(tree.alive(), []);
    });
}

#[test]
fn a_dropped_root_leaves_nothing_alive() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a", "b"]).await;
        let (tree, a) = (world.tree.clone(), world.of("a").clone());
        drop(world);
        wait_until(&tree, "everything is down", SECOND, || tree.alive().is_empty()).await;
        assert!(a.tell(Add(1)).is_err());
    });
}

#[test]
fn a_final_stop_turns_the_queue_into_dead_letters_and_refuses_more() {
    testkit::run(|tree| async move {
        let mut world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a").clone();
        a.tell(Hold(MINUTE)).expect("there is room");
        a.tell(Add(1)).expect("there is room");
        let asked = a.ask(Add(2));
        assert_eq!(world.root.stop().await, Exit::Normal);
        assert!(matches!(asked.await, Err(AskError::Interrupted { .. })));
        assert!(matches!(a.ask(Add(1)).await, Err(AskError::Unavailable { .. })));
        let refused = a.tell(Add(9)).expect_err("it is gone");
        assert_eq!(refused.into_message().0, 9);
        let (letters, _) = world.tree.dead_letters();
        let letters: Vec<_> = letters.iter().map(|l| (l.message.as_str(), l.reason)).collect();
        let (queued, running) = (DeadReason::Dropped, DeadReason::InFlight);
        assert_eq!(letters, [("Add", queued), ("Add", queued), ("Hold", running)]);
    });
}

#[test]
fn a_spec_that_cannot_be_starts_nothing() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let of = |name: &str| SupervisorSpec::new(name, Strategy::OneForOne);
        let twice = of("node").child(worker("a", &log).0).child(worker("a", &log).0);
        assert!(matches!(launch(twice, &tree, 1), Err(SpecError::Duplicate { .. })));
        assert!(matches!(launch(of("No de"), &tree, 1), Err(SpecError::Name { .. })));
        let mut deep = of("deep");
        for _ in 0..9 {
            deep = of("deep").child(ChildSpec::supervisor(deep));
        }
        assert!(matches!(launch(deep, &tree, 1), Err(SpecError::TooDeep { .. })));
        let mut wide = of("wide");
        for _ in 0..257 {
            wide = wide.child(worker("a", &log).0);
        }
        assert!(matches!(launch(wide, &tree, 1), Err(SpecError::TooManyChildren { .. })));
        assert_eq!(tree.snapshot().roots, []);
        let mut first = launch(of("node"), &tree, 1).expect("valid");
        first.ready().await.expect("it starts");
        assert!(matches!(launch(of("node"), &tree, 1), Err(SpecError::Duplicate { .. })));
        first.stop().await;
        let mut second = launch(of("node"), &tree, 1).expect("the name is free again");
        second.stop().await;
    });
}
