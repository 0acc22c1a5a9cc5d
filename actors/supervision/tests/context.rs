//! The context: fairness, cancellation, timers across a revival.

use super::*;

#[test]
fn an_actor_that_talks_to_itself_leaves_others_their_turn() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a", "b"]).await;
        world.of("a").tell(SendToSelf(u64::MAX)).expect("there is room");
        // Would never return if the mailbox were drained until it is empty.
        assert_eq!(world.of("b").ask(Add(1)).await, Ok(1));
        assert!(world.view("a").mailbox.is_some_and(|mailbox| mailbox.handled >= 64));
        world.stop().await;
    });
}

#[test]
fn an_actor_that_notifies_itself_leaves_others_their_turn() {
    struct Again;
    impl Message for Again {
        type Result = ();
    }
    struct Restless;
    impl Actor for Restless {
        type Context = Ctx<Self>;
        fn started(&mut self, ctx: &mut Ctx<Self>) {
            ctx.notify(Again);
        }
    }
    impl Handler<Again> for Restless {
        type Result = ();
        fn handle(&mut self, _: Again, ctx: &mut Ctx<Self>) {
            ctx.notify(Again);
        }
    }
    supervised!(Restless);
    testkit::run(|tree| async move {
        let restless = ChildSpec::actor("restless", &ActorRef::vacant(), |_| Restless);
        let (other, other_ref) = worker("other", &Log::default());
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(restless).child(other);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        assert_eq!(other_ref.ask(Add(1)).await, Ok(1));
        let view = tree.view(&path("/node/restless")).expect("it is there");
        assert!(view.mailbox.is_some_and(|mailbox| mailbox.handled >= 64));
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

/// Counts ticks of a timer it set in `started`; cancels another one right before it panics.
struct Ticker {
    ticks: Arc<Mutex<u64>>,
    doomed: Option<actix::SpawnHandle>,
}

struct Cancel;
impl Message for Cancel {
    type Result = bool;
}

struct CancelAndPanic;
impl Message for CancelAndPanic {
    type Result = ();
}

impl Actor for Ticker {
    type Context = Ctx<Self>;
    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.doomed = Some(ctx.run_interval(ms(100), |ticker, _| *lock(&ticker.ticks) += 1));
    }
}
impl Handler<Cancel> for Ticker {
    type Result = bool;
    fn handle(&mut self, _: Cancel, ctx: &mut Ctx<Self>) -> bool {
        self.doomed.take().is_some_and(|handle| ctx.cancel_future(handle))
    }
}
impl Handler<CancelAndPanic> for Ticker {
    type Result = ();
    fn handle(&mut self, _: CancelAndPanic, ctx: &mut Ctx<Self>) {
        if let Some(handle) = self.doomed.take() {
            ctx.cancel_future(handle);
        }
        panic!("with a cancellation under way");
    }
}
supervised!(Ticker);

#[test]
fn a_cancelled_timer_never_fires_again() {
    testkit::run(|tree| async move {
        let (ticks, actor_ref) = (Arc::new(Mutex::new(0)), ActorRef::vacant());
        let own = ticks.clone();
        let child =
            ChildSpec::actor("a", &actor_ref, move |_| Ticker { ticks: own.clone(), doomed: None });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        wait_until(&tree, "it ticks", SECOND, || *lock(&ticks) == 3).await;
        assert_eq!(actor_ref.ask(Cancel).await, Ok(true));
        assert_eq!(actor_ref.ask(Cancel).await, Ok(false));
        tokio::time::sleep(SECOND).await;
        assert_eq!(*lock(&ticks), 3);
        root.stop().await;
    });
}

#[test]
fn a_cancellation_of_one_incarnation_does_not_reach_the_next() {
    testkit::run(|tree| async move {
        let (ticks, actor_ref) = (Arc::new(Mutex::new(0)), ActorRef::vacant());
        let own = ticks.clone();
        let child =
            ChildSpec::actor("a", &actor_ref, move |_| Ticker { ticks: own.clone(), doomed: None });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick()).child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        actor_ref.tell(CancelAndPanic).expect("there is room");
        wait_for_state(&tree, &path("/node/a"), State::Running, 2, SECOND).await;
        // The revived actor's timer has the same handle as the cancelled one.
        wait_until(&tree, "the new timer ticks", SECOND, || *lock(&ticks) >= 3).await;
        root.stop().await;
    });
}

#[test]
fn a_failure_with_timers_and_cancellations_ends_at_once() {
    struct Busy;
    impl Actor for Busy {
        type Context = Ctx<Self>;
        fn started(&mut self, ctx: &mut Ctx<Self>) {
            ctx.run_interval(ms(10), |_, _| {});
            let doomed = ctx.run_interval(ms(10), |_, _| {});
            ctx.run_later(ms(25), move |_, ctx| {
                ctx.cancel_future(doomed);
                ctx.fail(disk_error());
            });
        }
    }
    supervised!(Busy);
    testkit::run(|tree| async move {
        let child = ChildSpec::actor("a", &ActorRef::vacant(), |_| Busy);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).back_off(quick()).child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        wait_for_state(&tree, &path("/node/a"), State::Running, 2, SECOND).await;
        root.stop().await;
    });
}

#[test]
fn timers_are_messages_and_show_up_as_such() {
    struct Tick;
    impl Message for Tick {
        type Result = ();
    }
    struct Clock;
    impl Actor for Clock {
        type Context = Ctx<Self>;
        fn started(&mut self, ctx: &mut Ctx<Self>) {
            ctx.notify_later(Tick, ms(50));
            ctx.notify(Tick);
        }
    }
    impl Handler<Tick> for Clock {
        type Result = ();
        fn handle(&mut self, _: Tick, ctx: &mut Ctx<Self>) {
            assert!(tokio::time::Instant::now() < ctx.node().epoch + ms(40), "the second tick");
        }
    }
    supervised!(Clock);
    testkit::run(|tree| async move {
        let child = ChildSpec::actor("clock", &ActorRef::vacant(), |_| Clock);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(child);
        let mut root = launch(spec, &tree, 1).expect("valid");
        let clock = path("/node/clock");
        wait_for_state(&tree, &clock, State::BackOff, 1, SECOND).await;
        let view = tree.view(&clock).expect("it is there");
        assert_eq!(view.mailbox.map(|mailbox| mailbox.handled), Some(1));
        assert_eq!(view.last_exit.and_then(|last| last.message).as_deref(), Some("Tick"));
        root.stop().await;
    });
}
