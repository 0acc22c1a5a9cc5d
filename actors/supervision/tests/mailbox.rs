//! References, the capacity gate, deadlines of questions, dead letters.

use super::*;

#[test]
fn references_and_trees_may_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<ActorRef<Worker>>();
    anywhere::<Recipient<Add>>();
    anywhere::<Tree>();
    anywhere::<TaskCtx>();
}

#[test]
fn the_gate_holds_whoever_sends() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a");
        a.tell(Hold(SECOND)).expect("there is room");
        wait_until(&world.tree, "it is held up", SECOND, || world.view("a").current.is_some())
            .await;
        let accepted = (0..100).filter(|_| a.clone().tell(Add(1)).is_ok()).count();
        assert_eq!(accepted, 8);
        let overloaded = AskError::Overloaded { to: "/node/a".to_owned(), capacity: 8 };
        assert_eq!(a.ask(Add(1)).await, Err(overloaded));
        let refused = a.tell(Add(7)).expect_err("it is full");
        assert!(matches!(refused, TellError::Overloaded { capacity: 8, .. }));
        assert_eq!(refused.into_message().0, 7);
        let mailbox = world.view("a").mailbox.expect("an actor has a mailbox");
        assert_eq!((mailbox.depth, mailbox.high_water, mailbox.rejected), (8, 8, 94));
        wait_until(&world.tree, "room again", MINUTE, || a.tell(Add(1)).is_ok()).await;
        assert_eq!(a.ask(Add(0)).await, Ok(9));
        world.stop().await;
    });
}

#[test]
fn an_expired_question_is_never_handled() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a");
        a.tell(Hold(SECOND)).expect("there is room");
        let timeout = AskError::Timeout { to: "/node/a".to_owned(), after_ms: 10 };
        assert_eq!(a.ask_within(Add(100), ms(10)).await, Err(timeout));
        drop(a.ask(Add(1_000)));
        assert_eq!(a.ask(Add(1)).await, Ok(1), "neither was handled");
        let mailbox = world.view("a").mailbox.expect("an actor has a mailbox");
        assert_eq!((mailbox.expired, mailbox.dead), (2, 0));
        world.stop().await;
    });
}

#[test]
fn questions_are_queued_by_the_call_and_answered_in_order() {
    testkit::run(|tree| async move {
        let world = World::start(tree, Strategy::OneForOne, &["a"]).await;
        let a = world.of("a");
        let first = a.ask(Add(1));
        let second = a.ask(Add(1));
        assert_eq!(second.await, Ok(2));
        assert_eq!(first.await, Ok(1));
        world.stop().await;
    });
}

#[test]
fn a_vacant_reference_is_unavailable_and_says_of_what() {
    testkit::run(|_| async move {
        let nobody = ActorRef::<Worker>::vacant();
        let unavailable = AskError::Unavailable { to: "Worker".to_owned() };
        assert!(!unavailable.may_have_run());
        assert_eq!(nobody.ask(Add(1)).await, Err(unavailable));
        assert_eq!(nobody.path(), None);
    });
}

#[test]
fn one_reference_has_one_actor() {
    testkit::run(|tree| async move {
        let log = Log::default();
        let (spec, actor_ref) = worker("a", &log);
        let (thief_log, slow) = (log.clone(), ms(10));
        let thief = ChildSpec::actor("b", &actor_ref, move |_| Worker::new("b", &thief_log))
            .restart(RestartPolicy::Temporary)
            .importance(Importance::Optional);
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(spec).child(thief);
        let mut root = launch(spec, &tree, 1).expect("valid");
        wait_for_state(&tree, &path("/node/b"), State::Failed, 1, SECOND).await;
        let last = tree.view(&path("/node/b")).and_then(|view| view.last_exit);
        assert!(last.is_some_and(|last| last.exit.to_string().contains("/node/a")));
        assert_eq!(actor_ref.path(), Some(path("/node/a")));
        tokio::time::sleep(slow).await;
        assert_eq!(root.stop().await, Exit::Normal);
    });
}

#[test]
fn the_ring_of_dead_letters_is_bounded_and_counts_on() {
    testkit::run(|tree| async move {
        let adapt = |_: &str, spec: ChildSpec| spec.capacity(1_000);
        let mut world = World::start_with(tree, Strategy::OneForOne, &["a"], adapt).await;
        world.of("a").tell(Hold(MINUTE)).expect("there is room");
        wait_until(&world.tree, "it is held up", SECOND, || world.view("a").current.is_some())
            .await;
        for n in 0..300 {
            world.of("a").tell(Add(n)).expect("there is room");
        }
        world.root.stop().await;
        let (letters, total) = world.tree.dead_letters();
        assert_eq!((letters.len(), total), (256, 301), "with the one that was held up");
        assert_eq!(letters[0].to, path("/node/a"));
        assert_eq!(letters[0].message, "Add");
    });
}

#[test]
fn dead_letters_name_their_sender() {
    struct Sender {
        to: Recipient<Add>,
    }
    impl Actor for Sender {
        type Context = Ctx<Self>;
        fn started(&mut self, _: &mut Ctx<Self>) {
            self.to.tell(Add(1)).expect("there is room");
        }
    }
    supervised!(Sender);
    testkit::run(|tree| async move {
        let log = Log::default();
        let (first, first_ref) = worker("first", &log);
        let to = first_ref.recipient();
        let sender = ChildSpec::actor("sender", &ActorRef::vacant(), move |_| {
            first_ref.tell(Hold(MINUTE)).expect("there is room");
            Sender { to: to.clone() }
        });
        let spec = SupervisorSpec::new("node", Strategy::OneForOne).child(first).child(sender);
        let mut root = launch(spec, &tree, 1).expect("valid");
        root.ready().await.expect("it starts");
        wait_until(&tree, "it is held up", SECOND, || {
            tree.view(&path("/node/first")).is_some_and(|view| view.current.is_some())
        })
        .await;
        root.stop().await;
        let (letters, _) = tree.dead_letters();
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert_eq!(letters[0].from, Some(path("/node/sender")));
    });
}

#[test]
fn probes_record_and_answer() {
    testkit::run(|_| async move {
        let (recipient, probe) = testkit::probe(|Add(n)| n * 2);
        assert_eq!(recipient.ask(Add(21)).await, Ok(42));
        recipient.tell(Add(1)).expect("there is room");
        assert_eq!(probe.len(), 2);
        assert_eq!(probe.take().into_iter().map(|Add(n)| n).collect::<Vec<_>>(), [21, 1]);
        assert!(probe.is_empty());
    });
}
