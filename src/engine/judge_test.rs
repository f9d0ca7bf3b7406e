use super::*;

const OUTCOMES: [Outcome; 7] = [
    Outcome::Reached,
    Outcome::WrongServer,
    Outcome::TimedOut,
    Outcome::Refused,
    Outcome::Unreachable,
    Outcome::NameNotResolved,
    Outcome::ProbeLost,
];

fn evidence(outcome: Outcome) -> Evidence {
    Evidence {
        outcome: Some(outcome),
        status: Some(200),
        detail: None,
        witness: WitnessEvidence::Answered,
        log: LogEvidence::Clean,
        about_dns: false,
        baseline: BaselineEvidence::Sound,
        held: true,
        flaps: 0,
        enforcing: true,
        judged: true,
    }
}

fn verdict(expectation: &Expectation, evidence: &Evidence) -> Verdict {
    let (verdict, reason) = judge(expectation, evidence);
    assert_eq!(reason.is_none(), verdict == Verdict::Pass, "a reason is given exactly where it is no pass");
    verdict
}

#[test]
fn the_table() {
    use Verdict::{Fail, Inconclusive, Pass};
    // outcome, (reachable: witnessed, not witnessed), (blocked: witnessed, not witnessed)
    let table = [
        (Outcome::Reached, (Pass, Pass), (Fail, Fail)),
        (Outcome::WrongServer, (Fail, Fail), (Fail, Fail)),
        (Outcome::TimedOut, (Fail, Inconclusive), (Pass, Inconclusive)),
        (Outcome::Refused, (Fail, Inconclusive), (Pass, Inconclusive)),
        (Outcome::Unreachable, (Fail, Inconclusive), (Pass, Inconclusive)),
        (Outcome::NameNotResolved, (Inconclusive, Inconclusive), (Inconclusive, Inconclusive)),
        (Outcome::ProbeLost, (Inconclusive, Inconclusive), (Inconclusive, Inconclusive)),
    ];
    for (outcome, reachable, denied) in table {
        let witnessed = evidence(outcome);
        for nobody in [WitnessEvidence::Nobody, WitnessEvidence::Unanswered("node/worker".to_owned())] {
            let alone = Evidence { witness: nobody, ..witnessed.clone() };
            assert_eq!(verdict(&Expectation::Reachable, &witnessed), reachable.0, "{outcome:?}");
            assert_eq!(verdict(&Expectation::Reachable, &alone), reachable.1, "{outcome:?} alone");
            assert_eq!(verdict(&Expectation::Blocked, &witnessed), denied.0, "{outcome:?}");
            assert_eq!(verdict(&Expectation::Blocked, &alone), denied.1, "{outcome:?} alone");
        }
    }
}

#[test]
fn in_a_case_about_dns_an_unresolved_name_is_stopped() {
    let about = Evidence { about_dns: true, ..evidence(Outcome::NameNotResolved) };
    assert_eq!(verdict(&Expectation::Blocked, &about), Verdict::Pass);
    assert_eq!(verdict(&Expectation::Reachable, &about), Verdict::Fail);
    let alone = Evidence { witness: WitnessEvidence::Nobody, ..about };
    assert_eq!(verdict(&Expectation::Blocked, &alone), Verdict::Inconclusive);
}

#[test]
fn a_request_in_the_servers_log_was_not_stopped() {
    for log in [LogEvidence::Arrived, LogEvidence::Unreadable("gone".to_owned())] {
        let arrived = Evidence { log, ..evidence(Outcome::TimedOut) };
        assert_eq!(verdict(&Expectation::Blocked, &arrived), Verdict::Inconclusive);
    }
}

#[test]
fn gaps_between_witnesses_prove_nothing_for_a_deny() {
    let gaps = Evidence { witness: WitnessEvidence::Gaps, ..evidence(Outcome::TimedOut) };
    assert_eq!(verdict(&Expectation::Blocked, &gaps), Verdict::Inconclusive);
    assert_eq!(verdict(&Expectation::Reachable, &gaps), Verdict::Fail);
}

#[test]
fn what_was_never_reached_cannot_be_denied() {
    let wrong = Evidence { baseline: BaselineEvidence::Wrong, ..evidence(Outcome::TimedOut) };
    assert_eq!(verdict(&Expectation::Blocked, &wrong), Verdict::Inconclusive);
    assert_eq!(verdict(&Expectation::Reachable, &wrong), Verdict::Inconclusive);
    let baseline = Evidence { baseline: BaselineEvidence::This, ..evidence(Outcome::Refused) };
    assert_eq!(verdict(&Expectation::Reachable, &baseline), Verdict::Inconclusive);
}

#[test]
fn any_status_is_reached_and_a_demanded_one_is_compared() {
    for status in [200, 401, 403, 404, 500] {
        let answered = Evidence { status: Some(status), ..evidence(Outcome::Reached) };
        assert_eq!(verdict(&Expectation::Reachable, &answered), Verdict::Pass);
        assert_eq!(verdict(&Expectation::Blocked, &answered), Verdict::Fail);
        let expected = if status == 403 { Verdict::Pass } else { Verdict::Fail };
        assert_eq!(verdict(&Expectation::Status { code: 403 }, &answered), expected);
    }
}

#[test]
fn a_refusal_is_an_answer_and_silence_is_none() {
    for (outcome, expected) in [
        (Outcome::Refused, Verdict::Pass),
        (Outcome::Reached, Verdict::Fail),
        (Outcome::WrongServer, Verdict::Fail),
        (Outcome::NoAnswer, Verdict::Fail),
        (Outcome::TimedOut, Verdict::Inconclusive),
        (Outcome::Unreachable, Verdict::Inconclusive),
        (Outcome::ProbeLost, Verdict::Inconclusive),
    ] {
        let alone = Evidence { witness: WitnessEvidence::Nobody, ..evidence(outcome) };
        assert_eq!(verdict(&Expectation::Refused, &alone), expected, "{outcome:?}");
    }
    let short = Evidence { held: false, ..evidence(Outcome::Refused) };
    assert_eq!(verdict(&Expectation::Refused, &short), Verdict::Inconclusive);
}

#[test]
fn silence_is_the_answers_where_the_request_arrived_and_somebody_else_was_answered() {
    let silent = Evidence { log: LogEvidence::Arrived, ..evidence(Outcome::NoAnswer) };
    assert_eq!(verdict(&Expectation::Silent, &silent), Verdict::Pass);
    let unlogged = Evidence { log: LogEvidence::None, ..silent.clone() };
    assert_eq!(verdict(&Expectation::Silent, &unlogged), Verdict::Pass);
    for log in [LogEvidence::Clean, LogEvidence::Unreadable("gone".to_owned())] {
        let unproved = Evidence { log, ..silent.clone() };
        assert_eq!(verdict(&Expectation::Silent, &unproved), Verdict::Inconclusive);
    }
    for witness in [WitnessEvidence::Nobody, WitnessEvidence::Gaps, WitnessEvidence::Unanswered("a".to_owned())] {
        let alone = Evidence { witness, ..silent.clone() };
        assert_eq!(verdict(&Expectation::Silent, &alone), Verdict::Inconclusive);
    }
    let short = Evidence { held: false, ..silent.clone() };
    assert_eq!(verdict(&Expectation::Silent, &short), Verdict::Inconclusive);
    let answered = Evidence { outcome: Some(Outcome::Reached), ..silent };
    assert_eq!(verdict(&Expectation::Silent, &answered), Verdict::Fail);
}

#[test]
fn what_does_not_hold_does_not_pass() {
    let short = Evidence { held: false, ..evidence(Outcome::TimedOut) };
    assert_eq!(verdict(&Expectation::Blocked, &short), Verdict::Inconclusive);
    let flapping = Evidence { flaps: FLAPS, ..evidence(Outcome::TimedOut) };
    assert_eq!(verdict(&Expectation::Blocked, &flapping), Verdict::Fail);
    let short = Evidence { held: false, ..evidence(Outcome::Reached) };
    assert_eq!(verdict(&Expectation::Reachable, &short), Verdict::Inconclusive);
    let unreliable = Evidence { flaps: 1, ..short };
    assert_eq!(verdict(&Expectation::Reachable, &unreliable), Verdict::Fail);
}

#[test]
fn without_enforcement_no_deny_passes_and_no_allow_suffers() {
    for outcome in OUTCOMES {
        let off = Evidence { enforcing: false, ..evidence(outcome) };
        assert_eq!(verdict(&Expectation::Blocked, &off), Verdict::NotEnforcing);
    }
    let off = Evidence { enforcing: false, ..evidence(Outcome::Reached) };
    assert_eq!(verdict(&Expectation::Reachable, &off), Verdict::Pass);
}

#[test]
fn undefined_and_informational_cells_are_recorded_whatever_happens() {
    for outcome in OUTCOMES {
        let free = Evidence { judged: false, ..evidence(outcome) };
        assert_eq!(verdict(&Expectation::Blocked, &free), Verdict::Recorded);
        assert_eq!(verdict(&Expectation::Recorded, &evidence(outcome)), Verdict::Recorded);
    }
}

#[test]
fn what_was_not_probed_is_inconclusive() {
    let none = Evidence { outcome: None, ..evidence(Outcome::Reached) };
    assert_eq!(verdict(&Expectation::Reachable, &none), Verdict::Inconclusive);
}

#[test]
fn a_change_is_noticed_there_and_back_and_once() {
    let change = |old: Option<&str>, new: Option<&str>| Change {
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        field: "f".to_owned(),
        ..Change::added("n", "u")
    };
    let shows = BTreeMap::from([("f".to_owned(), Some("x".to_owned()))]);
    let verdict = |changes: &[Change]| judge_drift(&shows, changes).0;
    let (there, back) = (change(None, Some("x")), change(Some("x"), None));
    assert_eq!(verdict(&[there.clone(), back.clone()]), Verdict::Pass);
    assert_eq!(verdict(&[]), Verdict::Fail);
    assert_eq!(verdict(std::slice::from_ref(&there)), Verdict::Fail, "its taking back is lost");
    assert_eq!(verdict(&[there.clone(), there.clone(), back.clone()]), Verdict::Fail, "it is repeated");
    assert_eq!(verdict(&[change(None, Some("y")), change(Some("y"), None)]), Verdict::Fail, "another value");
    let other = Change::added("n", "u");
    assert_eq!(verdict(&[there, other, back]), Verdict::Inconclusive);
}

#[test]
fn a_rejection_is_compared_by_its_words() {
    assert_eq!(judge_rejection("must be", Some("port: must be below 65536")).0, Verdict::Pass);
    assert_eq!(judge_rejection("must be", Some("quota exceeded")).0, Verdict::Fail);
    assert_eq!(judge_rejection("must be", None).0, Verdict::Fail);
}
