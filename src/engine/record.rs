//! Pure: the record of one cell from its plan and its track, the evidence in it, and its verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use tokio::time::Instant;

use super::{
    CellResult, Expectation, Verdict, Witness,
    judge::{BaselineEvidence, Evidence, Judgement, LogEvidence, WitnessEvidence, judge, words},
    plan::{Connection, PlannedCell},
    track::{Hold, Track},
    witness::Cover,
};
use crate::{
    lab::ServerId,
    probe::Outcome,
    scenario::{Family, Protocol},
    text::Text,
};

/// What is known beside a cell's own track.
#[derive(Clone, Debug)]
pub(super) struct Circumstances {
    /// Whether the cell worked before any policy.
    pub(super) baseline: BaselineEvidence,
    /// Whether the canary found policies enforced.
    pub(super) enforcing: bool,
    /// Whether the scenario's tier is judged.
    pub(super) judged: bool,
    /// What the cell had to hold.
    pub(super) hold: Hold,
    /// When the step's last action was done; none where there was none.
    pub(super) acted: Option<Instant>,
    /// The address that its server last saw its source come from, where it is not the source's own.
    pub(super) translated: Option<IpAddr>,
}

/// What the servers' logs hold of the nonces in question, or why there is nothing to read.
pub(super) type Logs = BTreeMap<ServerId, Result<BTreeSet<String>, String>>;

/// Whether a server of this kind keeps a log of nonces: the cluster's own do not.
#[must_use]
pub(super) fn keeps_log(server: &ServerId) -> bool {
    !matches!(server, ServerId::Dns | ServerId::Apiserver | ServerId::Kubelet(_))
}

/// The record of a cell that was probed.
#[must_use]
pub(super) fn record(
    cell: &PlannedCell,
    track: &Track,
    logs: &Logs,
    circumstances: &Circumstances,
    decided_by: Option<Text>,
) -> CellResult {
    let last = track.last.as_ref();
    let outcome = last.map(|last| last.outcome);
    let evidence = Evidence {
        outcome,
        status: last.and_then(|last| last.status),
        detail: detail(cell, track),
        witness: witness_evidence(cell, track),
        log: logged(&cell.server, &track.nonces, logs),
        about_dns: cell.is_about_dns(),
        baseline: circumstances.baseline,
        held: track.held(circumstances.hold),
        flaps: track.flaps,
        enforcing: circumstances.enforcing,
        judged: circumstances.judged,
    };
    let mut judgement = judge(&cell.expectation, &evidence);
    if cell.expectation.is_absence() && track.needed.is_none() && judgement.0 == Verdict::Inconclusive {
        judgement.1 = Some("this path loses too much for anything to be told from loss".to_owned());
    }
    if let (Verdict::Fail | Verdict::Inconclusive, Some(client), Some(reason)) =
        (judgement.0, circumstances.translated, &mut judgement.1)
    {
        let _ = write!(
            reason,
            "; the server last saw the source come from {client}, which is not its address: something translates it \
             on the way, so a policy cannot know by labels who it is"
        );
    }
    if let (Verdict::Recorded, Connection::Kept, Some(outcome)) = (judgement.0, cell.connection, outcome) {
        judgement.1 = Some(fate(outcome, settled(track, circumstances)));
    }
    let nothing_came = outcome.is_some_and(|outcome| outcome.is_stopped() || outcome == Outcome::NameNotResolved);
    let proves = cell.expectation.is_absence() || nothing_came;
    CellResult {
        outcome,
        outcomes: track.outcomes.clone(),
        status: evidence.status,
        server: last.and_then(|last| last.server.as_deref()).map(Text::from),
        address: last.and_then(|last| last.address).or(cell.address),
        witness: track.seen_by.clone().filter(|_| proves),
        translated: circumstances.translated,
        attempts: track.attempts,
        window_ms: u64::try_from(track.window.as_millis()).unwrap_or(u64::MAX),
        settled_ms: settled(track, circumstances),
        connect_ms: track.slowest.map(|slowest| slowest.as_secs_f64() * 1000.0),
        command: track.command.as_deref().map(Text::from),
        probe: track.means,
        ..unprobed(cell, judgement, decided_by)
    }
}

/// What became of a connection that was there before.
fn fate(outcome: Outcome, after: Option<u64>) -> String {
    let after = after.map(|after| format!(" from {after} ms after the change on")).unwrap_or_default();
    match outcome {
        Outcome::Reached => "not judged, only recorded: the connection goes on".to_owned(),
        other => format!("not judged, only recorded: nothing passes over the connection{after} ({})", words(other)),
    }
}

/// How long after the last action the cell came to be as expected, in milliseconds.
fn settled(track: &Track, circumstances: &Circumstances) -> Option<u64> {
    let since = track.good_since.filter(|_| track.held(circumstances.hold))?;
    let took = since.saturating_duration_since(circumstances.acted?);
    Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// The record of a cell that was not probed.
#[must_use]
pub(super) fn unprobed(cell: &PlannedCell, judgement: Judgement, decided_by: Option<Text>) -> CellResult {
    CellResult {
        from: (&cell.from_text).into(),
        to: (&cell.to_text).into(),
        address: cell.address,
        port: Some(cell.port),
        protocol: cell.protocol,
        family: cell.family,
        decided_by,
        ..blank((&cell.id).into(), cell.expectation.clone(), judgement)
    }
}

/// A record of which nothing is known but what was expected and how it is judged.
#[must_use]
pub(super) fn blank(id: Text, expectation: Expectation, (verdict, reason): Judgement) -> CellResult {
    CellResult {
        id,
        from: "".into(),
        to: "".into(),
        address: None,
        port: None,
        protocol: Protocol::Tcp,
        family: Family::Ipv4,
        expected: expected(&expectation),
        expectation,
        outcome: None,
        outcomes: BTreeMap::new(),
        status: None,
        server: None,
        translated: None,
        verdict,
        reason,
        witness: None,
        attempts: 0,
        window_ms: 0,
        settled_ms: None,
        connect_ms: None,
        decided_by: None,
        command: None,
        probe: None,
        first_packets: None,
    }
}

/// An expectation in one word, as reports have it.
#[must_use]
fn expected(expectation: &Expectation) -> &'static str {
    match expectation {
        Expectation::Reachable => "allow",
        Expectation::Blocked => "deny",
        Expectation::Status { .. } => "status",
        Expectation::Rejected { .. } => "rejected",
        Expectation::Noticed { .. } => "noticed",
        Expectation::Silent => "silent",
        Expectation::Refused => "refused",
        Expectation::Recorded => "recorded",
    }
}

fn detail(cell: &PlannedCell, track: &Track) -> Option<String> {
    let last = track.last.as_ref()?;
    if last.outcome == Outcome::WrongServer {
        let who = last.server.as_deref().unwrap_or("a server that does not say who it is");
        return Some(format!("`{who}` instead of `{}`", cell.identity));
    }
    last.detail.clone()
}

fn witness_evidence(cell: &PlannedCell, track: &Track) -> WitnessEvidence {
    // That an allowed cell fails is proved by anyone who reached the server about then.
    if !cell.expectation.is_absence() && track.seen_by.is_some() {
        return WitnessEvidence::Answered;
    }
    witnessed(track.cover.as_ref())
}

/// What a witness, where there is one, is evidence of.
#[must_use]
pub(super) fn witnessed(cover: Option<&(Cover, Witness)>) -> WitnessEvidence {
    match cover {
        Some((Cover::Confirmed, _)) => WitnessEvidence::Answered,
        Some((Cover::Gap(_), _)) => WitnessEvidence::Gaps,
        Some((Cover::Unanswered, witness)) => WitnessEvidence::Unanswered(witness.from.to_string()),
        None => WitnessEvidence::Nobody,
    }
}

/// Whether the log of its server has an attempt of a cell that seemed to be stopped.
#[must_use]
pub(super) fn has_arrived(cell: &PlannedCell, track: &Track, logs: &Logs) -> bool {
    cell.expectation == Expectation::Blocked && logged(&cell.server, &track.nonces, logs) == LogEvidence::Arrived
}

/// What the log of a server, where it was read, says of attempts with these nonces.
#[must_use]
pub(super) fn logged<'a>(server: &ServerId, nonces: impl IntoIterator<Item = &'a String>, logs: &Logs) -> LogEvidence {
    match logs.get(server) {
        Some(Err(why)) => LogEvidence::Unreadable(why.clone()),
        Some(Ok(seen)) if nonces.into_iter().any(|nonce| seen.contains(nonce)) => LogEvidence::Arrived,
        Some(Ok(_)) => LogEvidence::Clean,
        None => LogEvidence::None,
    }
}
