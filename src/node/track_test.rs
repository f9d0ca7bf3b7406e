//! What is reported, once, over watched stretches and gaps.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Moment {
    let wall = Timestamp::new(1_800_000_000 + i64::try_from(seconds).unwrap(), 0).unwrap();
    Moment { wall, since_start: Duration::from_secs(seconds) }
}

fn node(name: &str, uid: &str, version: u64, fields: &[(&str, &str)]) -> NodeState {
    let mut all: Fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    all.insert(UID.to_owned(), uid.to_owned());
    NodeState { name: name.into(), uid: uid.into(), version: version.to_string(), fields: all, ..NodeState::default() }
}

fn started(nodes: &[NodeState]) -> Tracker {
    let mut tracker = Tracker::default();
    list(&mut tracker, nodes, at(0));
    tracker
}

fn list(tracker: &mut Tracker, nodes: &[NodeState], now: Moment) -> Vec<Report> {
    tracker.list_begins("the resource version expired");
    let mut reports: Vec<_> = nodes.iter().flat_map(|node| tracker.listed(node.clone(), now)).collect();
    reports.extend(tracker.list_ends(now));
    reports
}

const TAINT: &str = "spec.taints[a:NoSchedule]";

#[test]
fn a_taint_that_is_gone_for_a_second_is_reported_both_ways() {
    let mut tracker = started(&[node("n", "1", 1, &[(TAINT, "")])]);
    let gone = tracker.applied(node("n", "1", 2, &[]), at(1));
    let back = tracker.applied(node("n", "1", 3, &[(TAINT, "")]), at(2));
    assert_eq!([gone[0].what, back[0].what], ["removed", "added"]);
    assert!(gone[0].gap.is_none() && back[0].gap.is_none());
    assert!(tracker.applied(node("n", "1", 3, &[(TAINT, "")]), at(3)).is_empty(), "the same again is nothing new");
    assert!(tracker.applied(node("n", "1", 2, &[]), at(3)).is_empty(), "what is older is nothing new");
}

#[test]
fn over_a_gap_the_net_change_is_reported_once() {
    let mut tracker = started(&[node("n", "1", 1, &[(TAINT, "")]), node("gone", "2", 1, &[])]);
    tracker.alive(at(10));
    let now = [node("n", "9", 50, &[("spec.unschedulable", "true")]), node("new", "3", 40, &[])];
    let reports = list(&mut tracker, &now, at(40));
    let said: Vec<_> = reports.iter().map(|report| (report.change.node.as_str(), report.what)).collect();
    assert_eq!(
        said,
        [("n", "node made again"), ("n", "removed"), ("n", "added"), ("new", "node added"), ("gone", "node removed")]
    );
    let gap = reports[1].gap.as_ref().unwrap();
    assert_eq!((gap.from, gap.until, gap.seconds), (Some(at(10).wall), at(40).wall, Some(30.0)));
    assert_eq!((gap.uid_before.as_deref(), gap.uid_after.as_deref()), (Some("1"), Some("9")));
    assert_eq!(gap.reason, "the resource version expired");
    assert!(list(&mut tracker, &now, at(50)).is_empty(), "a second list has nothing new");
}

#[test]
fn a_list_that_is_cut_off_reports_nothing_twice() {
    let mut tracker = started(&[node("a", "1", 1, &[]), node("b", "2", 1, &[])]);
    tracker.list_begins("connection lost");
    assert_eq!(tracker.listed(node("a", "1", 5, &[(TAINT, "")]), at(20)).len(), 1);
    tracker.list_begins("connection lost again");
    assert!(tracker.listed(node("a", "1", 5, &[(TAINT, "")]), at(30)).is_empty());
    let rest = tracker.list_ends(at(30));
    assert_eq!((rest[0].change.node.as_str(), rest[0].what), ("b", "node removed"));
    assert_eq!(rest[0].gap.as_ref().unwrap().from, Some(at(0).wall), "the gap began when the watch was lost");
}

#[test]
fn a_node_made_again_is_known_by_its_uid() {
    let mut tracker = started(&[node("n", "1", 1, &[(TAINT, "")])]);
    assert_eq!(tracker.deleted(&node("n", "1", 2, &[]), at(1))[0].what, "node removed");
    assert!(tracker.deleted(&node("n", "1", 2, &[]), at(1)).is_empty());
    let again = tracker.applied(node("n", "2", 3, &[]), at(2));
    let said: Vec<_> = again.iter().map(|report| report.what).collect();
    assert_eq!(said, ["node made again", "removed"]);
    assert_eq!(again[0].change.old.as_deref(), Some("1"));
}

#[test]
fn clocks_that_jump_make_no_gap_longer_or_negative() {
    let mut tracker = started(&[node("n", "1", 1, &[])]);
    let back = Moment { wall: at(0).wall - jiff::SignedDuration::from_hours(3), ..at(7) };
    let reports = list(&mut tracker, &[node("n", "1", 2, &[(TAINT, "")])], back);
    assert_eq!(reports[0].gap.as_ref().unwrap().seconds, Some(7.0));
}

#[test]
fn a_baseline_is_where_it_begins() {
    let baseline = Nodes::from([("n".to_owned(), node("n", "1", 1, &[(TAINT, "")]).fields)]);
    let mut tracker = Tracker::from_baseline(baseline);
    let reports = list(&mut tracker, &[node("n", "1", 7, &[])], at(1));
    assert_eq!(reports[0].what, "removed");
    assert_eq!((reports[0].gap.as_ref().unwrap().from, reports[0].gap.as_ref().unwrap().seconds), (None, None));
}

#[test]
fn what_an_earlier_watch_has_seen_is_where_a_new_one_goes_on() {
    let before = [node("n", "1", 5, &[(TAINT, "")]), node("gone", "2", 4, &[]), node("same", "3", 3, &[("x", "1")])];
    let mut tracker = Tracker::resumed(before, at(10).wall);
    assert!(!tracker.has_listed());
    let now = [node("n", "9", 50, &[]), node("new", "4", 40, &[]), node("same", "3", 30, &[("x", "1")])];
    // The clock on the wall was set back in between.
    let reports = list(&mut tracker, &now, Moment { wall: at(5).wall, since_start: Duration::ZERO });
    let said: Vec<_> = reports.iter().map(|report| (report.change.node.as_str(), report.what)).collect();
    assert_eq!(said, [("n", "node made again"), ("n", "removed"), ("new", "node added"), ("gone", "node removed")]);
    let gap = reports[0].gap.as_ref().unwrap();
    assert_eq!((gap.from, gap.until, gap.seconds), (Some(at(10).wall), at(5).wall, None));
    assert_eq!((gap.uid_before.as_deref(), gap.uid_after.as_deref()), (Some("1"), Some("9")));
    assert_eq!(gap.reason, "the watch was started again");
    tracker.alive(at(20));
    let later = list(&mut tracker, &[node("n", "9", 60, &[("x", "1")])], at(30));
    assert_eq!(later[0].gap.as_ref().unwrap().seconds, Some(10.0), "and later gaps are its own");
}

/// A history: versions of one node, which is sometimes deleted.
fn history() -> impl Strategy<Value = Vec<Option<(u8, u8)>>> {
    proptest::collection::vec(proptest::option::weighted(0.8, (0..3u8, 0..3u8)), 1..12)
}

proptest! {
    /// However a history is cut into watched stretches and gaps, the reports lead from its first state to its last, and
    /// what is watched without a gap is reported in full.
    #[test]
    fn reports_lead_from_the_first_state_to_the_last(states in history(), gaps in proptest::collection::vec(any::<bool>(), 12)) {
        let state = |index: usize, fields: (u8, u8)| {
            let version = u64::try_from(index).unwrap() + 2;
            node("n", "1", version, &[("x", &fields.0.to_string()), ("y", &fields.1.to_string())])
        };
        let mut tracker = started(&[]);
        let mut told: Option<Fields> = None;
        let (mut there, mut remembered) = (false, Fields::new());
        for (index, fields) in states.iter().enumerate() {
            let now = at(u64::try_from(index).unwrap());
            let reports = match (fields, gaps[index]) {
                (Some(fields), false) => tracker.applied(state(index, *fields), now),
                (None, false) if there => tracker.deleted(&state(index, (0, 0)), now),
                (None, false) => Vec::new(),
                (fields, true) => {
                    let listed: Vec<_> = fields.iter().map(|fields| state(index, *fields)).collect();
                    list(&mut tracker, &listed, now)
                }
            };
            there = fields.is_some();
            for report in &reports {
                match report.what {
                    "node added" => told = Some(state(index, states[index].unwrap()).fields),
                    "node removed" => { remembered = told.take().unwrap(); }
                    _ => {
                        let fields = told.get_or_insert_with(|| remembered.clone());
                        prop_assert_eq!(fields.get(&report.change.field), report.change.old.as_ref());
                        fields.insert(report.change.field.clone(), report.change.new.clone().unwrap());
                    }
                }
                prop_assert_eq!(report.gap.is_some(), gaps[index]);
            }
            if let Some(fields) = fields {
                let now = state(index, *fields).fields;
                prop_assert_eq!(told.as_ref().unwrap_or(&remembered), &now);
                told = Some(now);
            }
        }
    }
}
