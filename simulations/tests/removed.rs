//! A member that was removed while nobody could reach it ends once a master has told it, and on no other word.

use ipfs_kit_actors::ports::Registry;
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::ops::{NodeRequest, NodeRm};
use ipfs_kit_simulations::cluster::Cluster;
use ipfs_kit_simulations::faults::{Cut, Fault};
use ipfs_kit_simulations::runner::play_scene;
use ipfs_kit_simulations::scenarios::story;
use ipfs_kit_simulations::stage::Stage;
use ipfs_kit_simulations::world::HostId;
use ipfs_kit_simulations::world::net::Outage;

/// How long a node may take to hear of its removal and to stop in order, in virtual milliseconds.
const END_MS: u64 = 30_000;
/// Longer than a lost connection takes to be noticed, and dialled again, in virtual milliseconds.
const A_WHILE_MS: u64 = 30_000;
/// Two workers: they keep a connection to each other.
const WORKER: HostId = HostId(3);
const LIAR: HostId = HostId(4);

fn node(stage: &Stage, host: HostId) -> NodeId {
    stage.cluster.borrow().machine(host).node().expect("it has joined")
}

/// Whether a node has ended by itself, the first of all, because it was removed.
fn has_ended(cluster: &Cluster, host: HostId) -> Result<(), String> {
    match cluster.ended() {
        [(first, why), ..] if *first == host && why.contains("this node was removed") => Ok(()),
        ended => Err(format!("{ended:?}")),
    }
}

#[test]
fn a_node_that_was_removed_while_it_was_cut_off_ends_once_it_is_not() {
    play_scene(31, async |stage| {
        story::gather(stage).await?;
        stage.apply(&Fault::Partition { side: vec![WORKER], cut: Cut::Both });
        let (_, handle) = stage.cluster.borrow().leader().expect("somebody leads");
        let request = NodeRequest { node: node(stage, WORKER).to_string() };
        stage.during(handle.operate::<NodeRm>(request)).await?.expect("it is not needed for that");
        stage.pass(A_WHILE_MS).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "nobody can have told it");
        stage.apply(&Fault::Heal);
        stage.until("its end", END_MS, |cluster| has_ended(cluster, WORKER)).await?;
        // A next start of it is told the same, by masters that were started anew, too.
        for master in [0, 1, 2].map(HostId) {
            stage.apply(&Fault::Crash { host: master, outage: Outage::Process });
            stage.apply(&Fault::Restart { host: master });
        }
        let ends = stage.cluster.borrow().ended().len();
        stage
            .until("its next end", END_MS, |cluster| match cluster.ended().len() > ends {
                true => has_ended(cluster, WORKER),
                false => Err("it runs".to_owned()),
            })
            .await?;
        let ended = stage.cluster.borrow().ended().to_vec();
        assert!(ended.iter().all(|(host, _)| *host == WORKER), "{ended:?}");
        Ok(())
    });
}

/// Lets a machine tell another, at its next dial, that it was removed.
fn claims(stage: &Stage, who: HostId, of: HostId) {
    let cluster = stage.cluster.borrow();
    let removed = [cluster.world.host(of).key].into();
    let me = Some(node(stage, who));
    cluster.world.host(who).peers().set_registry(Registry { me, peers: Vec::new(), removed });
}

#[test]
fn a_node_ends_on_the_word_of_a_master_and_of_nobody_else() {
    play_scene(32, async |stage| {
        story::gather(stage).await?;
        claims(stage, LIAR, WORKER);
        stage.pass(A_WHILE_MS).await?;
        assert_eq!(stage.cluster.borrow().ended(), [], "a worker knows of no removal");
        claims(stage, HostId(1), WORKER);
        stage.until("its end", END_MS, |cluster| has_ended(cluster, WORKER)).await?;
        Ok(())
    });
}
