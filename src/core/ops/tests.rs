//! The registry is complete, ordered, and refuses in exactly three ways.

use super::*;

#[test]
fn every_unary_operation_has_types_and_every_typed_one_stands_in_the_table() {
    let unary: Vec<&str> =
        ALL.iter().filter(|info| info.shape == Shape::Unary).map(|info| info.name).collect();
    let mut typed = TYPED.to_vec();
    typed.sort_unstable();
    assert_eq!(unary, typed);
}

#[test]
fn every_operation_is_found_by_its_name() {
    for info in ALL {
        assert_eq!(find(info.name), Some(info));
    }
    assert_eq!(find("pin.bake"), None);
}

#[test]
fn there_are_three_refusals() {
    let all = |_| true;
    let code = |result: Result<_, Refusal>| result.map_err(|refusal| refusal.code());
    assert_eq!(code(admit("pin.bake", Role::Master, all)), Err("E_UNKNOWN_OPERATION"));
    assert_eq!(code(admit("node.rm", Role::Leecher, all)), Err("E_NOT_PERMITTED"));
    let no_cluster = |component| component != Component::Cluster;
    assert_eq!(code(admit("node.ls", Role::Leecher, no_cluster)), Err("E_NOT_RUNNING"));
    // Pins need no cluster: without one they are this node's own.
    assert!(admit("pin.ls", Role::Leecher, no_cluster).is_ok());
    assert!(admit("cat", Role::Leecher, no_cluster).is_ok());
}
