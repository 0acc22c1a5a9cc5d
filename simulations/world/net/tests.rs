//! The network keeps its promises: order, bounds, admission, and the ways in which it fails.

mod rig;

use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_actors::ports::{
    CallError, Inbound, JoinError, Keep, Lane, Network, Peers, PublishError, SendError, Verdict,
};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::limits;
use ipfs_kit_core::member::{RaftStanding, Role};
use ipfs_kit_core::proto::Topic;

use self::rig::{Rig, addr, key, run, sleep_ms};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn members_connect_and_call_each_other() {
    run(|trace| async move {
        let rig = Rig::started(1, 3, trace).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2), NodeId(3)]);
        let answer = rig.ports[0].call(NodeId(3), bytes("hello"), SECOND).await;
        assert_eq!(answer, Ok(bytes("n1 said hello")));
        assert_eq!(rig.ports[1].listening(), [addr(1)]);
    });
}

#[test]
fn a_strange_or_own_number_is_unreachable() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        for node in [NodeId(9), NodeId(1)] {
            let answer = rig.ports[0].call(node, bytes("?"), SECOND).await;
            assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        }
    });
}

#[test]
fn a_connection_on_demand_is_made_by_the_call() {
    run(|trace| async move {
        let rig = Rig::new(1, 2, Keep::OnDemand, trace);
        let _nodes = rig.start_all();
        sleep_ms(5_000).await;
        assert_eq!(rig.ports[0].connected(), []);
        let frame = rig.ports[0].send(NodeId(2), Lane::Raft, bytes("x"));
        assert_eq!(frame, Err(SendError::NotConnected));
        assert!(rig.ports[0].call(NodeId(2), bytes("hi"), SECOND).await.is_ok());
        assert_eq!(rig.ports[0].connected(), [NodeId(2)]);
        assert_eq!(rig.ports[1].connected(), [NodeId(1)]);
    });
}

#[test]
fn only_registered_members_get_a_connection() {
    run(|trace| async move {
        let rig = Rig::new(1, 3, Keep::Connected, trace);
        // The third is a member for itself only.
        for host in [0, 1] {
            rig.ports[host].set_registry(rig.registry(host, &[0, 1], Keep::Connected));
        }
        let _nodes = rig.start_all();
        sleep_ms(3_000).await;
        assert_eq!(rig.ports[2].connected(), []);
        let answer = rig.ports[2].call(NodeId(1), bytes("let me in"), SECOND).await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        // Joining is what it may do, with the right identity and at a right address only.
        let joined = rig.ports[2].join(addr(0), key(0), bytes("token")).await;
        assert_eq!(joined, Ok(bytes("welcome")));
        let wrong_key = rig.ports[2].join(addr(0), key(1), bytes("token")).await;
        assert!(matches!(wrong_key, Err(JoinError::Mismatch { .. })), "{wrong_key:?}");
        let nobody = rig.ports[2].join("nowhere:1".into(), key(0), bytes("token")).await;
        assert!(matches!(nobody, Err(JoinError::Unreachable { .. })), "{nobody:?}");
        assert_eq!(rig.ports[0].probe(key(2), addr(2)).await, Ok(()));
        assert!(rig.ports[0].probe(key(2), addr(1)).await.is_err());
    });
}

#[test]
fn a_removed_member_is_cut_off_at_both_ends() {
    run(|trace| async move {
        let rig = Rig::started(1, 3, trace).await;
        rig.ports[0].set_registry(rig.registry(0, &[0, 1], Keep::Connected));
        sleep_ms(100).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2)]);
        assert_eq!(rig.ports[2].connected(), [NodeId(2)]);
        assert!(rig.ports[2].call(NodeId(1), bytes("?"), SECOND).await.is_err());
        assert!(rig.log(2).contains(&"-n1".to_owned()), "{:?}", rig.log(2));
    });
}

#[test]
fn who_was_removed_for_good_is_told_so_when_it_dials() {
    run(|trace| async move {
        let rig = Rig::started(1, 4, trace).await;
        let told = |host: usize| rig.log(host).iter().any(|line| line == "removed, says n1");
        let mut registry = rig.registry(0, &[0, 1], Keep::Connected);
        registry.removed.extend([key(1), key(2)]);
        rig.ports[0].set_registry(registry);
        sleep_ms(15_000).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2)], "a member is one whatever it was before");
        assert!(!told(1) && told(2), "{:?}", rig.log(2));
        assert!(!told(3), "the last one is a mere stranger");
    });
}

#[test]
fn a_lane_keeps_its_order_in_any_weather() {
    run(|trace| async move {
        let rig = Rig::started(3, 2, trace).await;
        let weather = Weather {
            delay_max_ms: 50,
            spike_per_mille: 200,
            spike_max_ms: 500,
            loss_per_mille: 200,
            ..Weather::fair()
        };
        rig.net.set_weather(weather);
        let sent: Vec<String> = (0..300).map(|i| format!("f{i}")).collect();
        for (i, frame) in sent.iter().enumerate() {
            assert_eq!(rig.ports[0].send(NodeId(2), Lane::Raft, bytes(frame)), Ok(()));
            if i == 150 {
                rig.net.block(HostId(0), HostId(1));
            }
            sleep_ms(3).await;
        }
        rig.net.heal();
        sleep_ms(200_000).await;
        let got: Vec<String> =
            rig.log(1).into_iter().filter(|line| line.starts_with('f')).collect();
        assert_eq!(got, sent);
    });
}

#[test]
fn calls_may_overtake_each_other() {
    run(|trace| async move {
        let rig = Rig::started(5, 2, trace).await;
        rig.net.set_weather(Weather { delay_max_ms: 100, ..Weather::fair() });
        let calls: Vec<_> = (0..30)
            .map(|i| {
                let call = rig.ports[0].call(NodeId(2), bytes(&format!("c{i:02}")), SECOND);
                tokio::task::spawn_local(call)
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
        let got: Vec<String> =
            rig.log(1).into_iter().filter(|line| line.starts_with('c')).collect();
        let mut sorted = got.clone();
        sorted.sort();
        assert_eq!(got.len(), 30);
        assert_ne!(got, sorted);
    });
}

#[test]
fn a_full_callee_is_busy_and_a_full_lane_says_so() {
    run(|trace| async move {
        let rig = Rig::new(1, 2, Keep::Connected, trace);
        let _first = rig.start_node(0);
        // The second one never takes anything out of its queue.
        let mut stuck = rig.ports[1].start().await.unwrap();
        let driver = tokio::task::spawn_local(stuck.driver);
        sleep_ms(1_000).await;
        let mut accepted = 0;
        while rig.ports[0].send(NodeId(2), Lane::Raft, bytes("f")).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, LANE_FRAMES_MAX);
        sleep_ms(1_000).await;
        // What entered the queue made room on the lane; the rest waits there.
        while rig.ports[0].send(NodeId(2), Lane::Raft, bytes("f")).is_ok() {
            accepted += 1;
        }
        assert!(accepted <= INBOUND_CAPACITY + LANE_FRAMES_MAX + 1, "{accepted}");
        let answer = rig.ports[0].call(NodeId(2), bytes("?"), SECOND).await;
        assert_eq!(answer, Err(CallError::Busy { node: NodeId(2) }));
        // Nothing was lost meanwhile.
        let mut frames = 0;
        while frames < accepted {
            if let Inbound::Frame { .. } = stuck.inbound.recv().await.unwrap() {
                frames += 1;
            }
        }
        driver.abort();
    });
}

#[test]
fn calls_under_way_to_one_peer_are_bounded() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        rig.net.block(HostId(0), HostId(1));
        let calls: Vec<_> = (0..=CALLS_PER_PEER_MAX)
            .map(|_| tokio::task::spawn_local(rig.ports[0].call(NodeId(2), bytes("?"), SECOND)))
            .collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        let last = outcomes.pop();
        assert_eq!(last, Some(Err(CallError::Busy { node: NodeId(2) })));
        let timeout = CallError::Timeout { node: NodeId(2), deadline_ms: 1_000 };
        assert!(outcomes.iter().all(|outcome| *outcome == Err(timeout.clone())));
    });
}

#[test]
fn oversized_messages_are_refused() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        let large = Bytes::from(vec![0; limits::REQUEST_BYTES_MAX + 1]);
        let answer = rig.ports[0].call(NodeId(2), large.clone(), SECOND).await;
        assert!(matches!(answer, Err(CallError::Broken { .. })), "{answer:?}");
        let published = rig.ports[0].publish(Topic::Pins, large.clone());
        assert!(matches!(published, Err(PublishError::Refused { .. })), "{published:?}");
        assert!(rig.ports[0].join(addr(1), key(1), large).await.is_err());
    });
}

#[test]
fn a_partition_is_noticed_late_and_healed_by_redialling() {
    run(|trace| async move {
        let rig = Rig::started(1, 3, trace).await;
        rig.net.block(HostId(0), HostId(1));
        sleep_ms(1_000).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2), NodeId(3)], "not noticed yet");
        sleep_ms(20_000).await;
        // One direction is enough to lose the connection, at both ends.
        assert_eq!(rig.ports[0].connected(), [NodeId(3)]);
        assert_eq!(rig.ports[1].connected(), [NodeId(3)]);
        let answer = rig.ports[1].call(NodeId(1), bytes("?"), Duration::from_secs(60)).await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        rig.net.heal();
        sleep_ms(15_000).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2), NodeId(3)]);
        assert!(rig.ports[1].call(NodeId(1), bytes("?"), SECOND).await.is_ok());
    });
}

#[test]
fn a_short_partition_only_delays() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        rig.net.block(HostId(0), HostId(1));
        let port = rig.ports[0].clone();
        let call = port.call(NodeId(2), bytes("late"), Duration::from_secs(30));
        let call = tokio::task::spawn_local(call);
        sleep_ms(3_000).await;
        rig.net.heal();
        assert_eq!(call.await.unwrap(), Ok(bytes("n1 said late")));
        sleep_ms(30_000).await;
        assert!(!rig.log(0).contains(&"-n2".to_owned()), "the connection lived on");
    });
}

#[test]
fn no_connection_stays_half_open() {
    run(|trace| async move {
        // Heals between the two ends' notices, at some moment of the seeds.
        for seed in 0..20 {
            let rig = Rig::started(seed, 2, trace.clone()).await;
            rig.net.block(HostId(0), HostId(1));
            sleep_ms(9_000).await;
            rig.net.heal();
            sleep_ms(20_000).await;
            for (from, to) in [(0, 2), (1, 1)] {
                let answer = rig.ports[from].call(NodeId(to), bytes("?"), SECOND).await;
                assert!(answer.is_ok(), "seed {seed}: {answer:?}");
            }
        }
    });
}

#[test]
fn a_dead_process_is_noticed_at_once_and_a_dead_machine_late() {
    run(|trace| async move {
        for (outage, noticed) in [(Outage::Process, true), (Outage::Power, false)] {
            let rig = Rig::new(1, 2, Keep::Connected, trace.clone());
            let mut nodes = rig.start_all();
            sleep_ms(1_000).await;
            let pending = rig.ports[0].call(NodeId(2), bytes("hang"), Duration::from_secs(60));
            let pending = tokio::task::spawn_local(pending);
            sleep_ms(50).await;
            rig.net.crash(HostId(1), outage);
            nodes.pop().unwrap().abort();
            sleep_ms(1_000).await;
            assert_eq!(rig.ports[0].connected().is_empty(), noticed, "{outage:?}");
            let broken = pending.await.unwrap();
            assert!(matches!(broken, Err(CallError::Broken { .. })), "{broken:?}");
            // It comes back, having lost its registry like any process.
            nodes.push(rig.start_node(1));
            rig.ports[1].set_registry(rig.registry(1, &[0, 1], Keep::Connected));
            sleep_ms(15_000).await;
            assert_eq!(rig.ports[0].connected(), [NodeId(2)]);
        }
    });
}

#[test]
fn a_failed_run_can_be_started_again_with_the_same_port() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        let run = rig.ports[1].start().await.unwrap();
        let driver = tokio::task::spawn_local(run.driver);
        sleep_ms(5_000).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2)]);
        rig.net.fail_run(HostId(1));
        assert!(driver.await.unwrap().is_err());
        let answer = rig.ports[1].call(NodeId(1), bytes("?"), SECOND).await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        let _node = rig.start_node(1);
        sleep_ms(5_000).await;
        assert!(rig.ports[1].call(NodeId(1), bytes("?"), SECOND).await.is_ok());
    });
}

#[test]
fn gossip_reaches_everyone_once_over_those_that_accept_it() {
    run(|trace| async move {
        let rig = Rig::new(1, 4, Keep::Connected, trace);
        // A line: 0 - 1 - 2 - 3. All know all, but not all are connected.
        let _nodes = rig.start_all();
        sleep_ms(1_000).await;
        for (a, b) in [(0, 2), (0, 3), (1, 3)] {
            rig.net.block(HostId(a), HostId(b));
        }
        sleep_ms(20_000).await;
        assert_eq!(rig.ports[0].publish(Topic::Pins, bytes("delta")), Ok(()));
        sleep_ms(1_000).await;
        for host in [1, 2, 3] {
            let log = rig.log(host);
            assert_eq!(log.iter().filter(|line| *line == "pins n1 delta").count(), 1, "{log:?}");
        }
        assert!(matches!(
            rig.ports[0].publish(Topic::Pins, bytes("delta")),
            Err(PublishError::Refused { .. })
        ));
        // What the one in the middle rejects ends there.
        assert_eq!(rig.ports[0].publish(Topic::Pins, bytes("bad")), Ok(()));
        sleep_ms(1_000).await;
        assert!(rig.log(1).contains(&"pins n1 bad".to_owned()));
        assert!(!rig.log(2).contains(&"pins n1 bad".to_owned()));
        assert_eq!(rig.net.stats().gossip_rejected, 1);
    });
}

#[test]
fn a_frame_on_a_lane_without_the_right_goes_nowhere() {
    run(|trace| async move {
        let rig = Rig::new(1, 2, Keep::Connected, trace);
        let mut registry = rig.registry(0, &[0, 1], Keep::Connected);
        (registry.peers[1].role, registry.peers[1].raft) = (Role::Worker, RaftStanding::None);
        rig.ports[0].set_registry(registry);
        let _nodes = rig.start_all();
        sleep_ms(1_000).await;
        // More than the lane holds at a time: what is refused takes no room on it.
        for _ in 0..=LANE_FRAMES_MAX {
            assert_eq!(rig.ports[1].send(NodeId(1), Lane::Raft, bytes("refused")), Ok(()));
            sleep_ms(100).await;
        }
        assert!(!rig.log(0).contains(&"refused".to_owned()));
        assert!(rig.ports[1].call(NodeId(1), bytes("heard"), SECOND).await.is_ok());
        // With a place in Raft it is heard, whatever its role.
        let mut registry = rig.registry(0, &[0, 1], Keep::Connected);
        registry.peers[1].role = Role::Worker;
        rig.ports[0].set_registry(registry);
        assert_eq!(rig.ports[1].send(NodeId(1), Lane::Raft, bytes("taken")), Ok(()));
        sleep_ms(1_000).await;
        assert!(rig.log(0).contains(&"taken".to_owned()));
    });
}

#[test]
fn gossip_of_strangers_and_of_the_wrong_role_goes_nowhere() {
    run(|trace| async move {
        let rig = Rig::new(1, 3, Keep::Connected, trace);
        for host in 0..3 {
            let mut registry = rig.registry(host, &[0, 1, 2], Keep::Connected);
            registry.peers[2].role = Role::Worker;
            rig.ports[host].set_registry(registry);
        }
        let _nodes = rig.start_all();
        sleep_ms(1_000).await;
        assert_eq!(rig.ports[2].publish(Topic::Pins, bytes("forged")), Ok(()));
        assert_eq!(rig.ports[2].publish(Topic::Status, bytes("mine")), Ok(()));
        sleep_ms(1_000).await;
        assert!(!rig.log(0).iter().any(|line| line.contains("forged")));
        assert!(rig.log(0).contains(&"status n3 mine".to_owned()));
        rig.ports[0].set_registry(rig.registry(0, &[0, 1], Keep::Connected));
        assert_eq!(rig.ports[2].publish(Topic::Status, bytes("more")), Ok(()));
        sleep_ms(1_000).await;
        assert!(rig.log(1).contains(&"status n3 more".to_owned()));
        assert!(!rig.log(0).contains(&"status n3 more".to_owned()));
    });
}

#[test]
fn gossip_is_lost_doubled_and_switched_off_as_the_weather_says() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        rig.net.set_weather(Weather { gossip_loss_per_mille: 1000, ..Weather::fair() });
        assert_eq!(rig.ports[0].publish(Topic::Pins, bytes("lost")), Ok(()));
        rig.net.set_weather(Weather { gossip_duplicate_per_mille: 1000, ..Weather::fair() });
        assert_eq!(rig.ports[0].publish(Topic::Pins, bytes("twice")), Ok(()));
        sleep_ms(6_000).await;
        let log = rig.log(1);
        assert!(!log.contains(&"pins n1 lost".to_owned()));
        assert_eq!(log.iter().filter(|line| *line == "pins n1 twice").count(), 2);
        rig.net.set_gossip(GossipSwitch::Off);
        assert_eq!(rig.ports[0].publish(Topic::Pins, bytes("off")), Err(PublishError::Off));
    });
}

#[test]
fn lost_calls_time_out_whether_or_not_the_callee_acted() {
    run(|trace| async move {
        let rig = Rig::started(9, 2, trace).await;
        rig.net.set_weather(Weather { loss_per_mille: 500, ..Weather::fair() });
        let (mut answered, mut timed_out) = (0, 0);
        for _ in 0..40 {
            match rig.ports[0].call(NodeId(2), bytes("try"), SECOND).await {
                Ok(_) => answered += 1,
                Err(CallError::Timeout { .. }) => timed_out += 1,
                Err(other) => panic!("{other}"),
            }
        }
        let acted = rig.log(1).iter().filter(|line| *line == "try").count();
        assert!(answered > 0 && timed_out > 0);
        assert!(answered < acted && acted < 40, "{answered} answered, {acted} acted");
    });
}

#[test]
fn a_moved_machine_is_found_again_through_the_registry() {
    run(|trace| async move {
        let rig = Rig::started(1, 2, trace).await;
        rig.net.set_addr(HostId(1), "elsewhere:7".into());
        // It can still dial out; so that it can be dialled, it has to be registered anew.
        rig.ports[1].set_registry(rig.registry(1, &[0, 1], Keep::OnDemand));
        sleep_ms(15_000).await;
        assert_eq!(rig.ports[0].connected(), []);
        let mut registry = rig.registry(0, &[0, 1], Keep::Connected);
        registry.peers[1].addrs = vec!["elsewhere:7".into()];
        rig.ports[0].set_registry(registry);
        sleep_ms(1_000).await;
        assert_eq!(rig.ports[0].connected(), [NodeId(2)]);
    });
}

#[test]
fn somebody_else_at_an_address_is_a_mismatch() {
    run(|trace| async move {
        let rig = Rig::new(1, 3, Keep::OnDemand, trace);
        let mut registry = rig.registry(0, &[0, 1, 2], Keep::OnDemand);
        registry.peers[1].addrs = vec![addr(2)];
        rig.ports[0].set_registry(registry);
        let _nodes = rig.start_all();
        sleep_ms(100).await;
        let answer = rig.ports[0].call(NodeId(2), bytes("?"), SECOND).await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
        sleep_ms(100).await;
        assert!(rig.log(0).iter().any(|line| line.starts_with("mismatch")), "{:?}", rig.log(0));
    });
}

#[test]
fn equal_seeds_give_equal_traces() {
    let hash = |seed| {
        run(move |trace| async move {
            let rig = Rig::started(seed, 4, trace.clone()).await;
            rig.net.set_weather(Weather {
                delay_max_ms: 40,
                loss_per_mille: 50,
                gossip_loss_per_mille: 100,
                cut_per_mille: 5,
                ..Weather::fair()
            });
            for i in 0..100 {
                let from = i % 4;
                let call = rig.ports[from].call(NodeId(1), bytes(&format!("c{i}")), SECOND);
                tokio::task::spawn_local(call);
                // Refusals are part of the behaviour that has to repeat.
                let _ = rig.ports[from].send(NodeId(2), Lane::Raft, bytes(&format!("f{i}")));
                let _ = rig.ports[from].publish(Topic::Status, bytes(&format!("g{i}")));
                sleep_ms(20).await;
            }
            sleep_ms(20_000).await;
            trace.hash()
        })
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
