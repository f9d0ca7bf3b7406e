//! What a step asks once its table holds: servers for what they have seen, and the document's questions once more.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::{
    Event,
    calibrate::ALLOW_LIMIT,
    judge::words,
    plan::PlannedCell,
    record::{Logs, keeps_log},
    sessions::How,
    settle::Occasion,
    step::Staged,
    track::Track,
};
use crate::{
    lab::ServerId,
    probe::{Outcome, Request, Target},
};

impl Staged<'_> {
    /// Reads the log of every server from which nothing came, where that is expected.
    pub(super) async fn read_logs(&self, cells: &[PlannedCell], tracks: &[Track]) -> Logs {
        let denied = cells.iter().zip(tracks).filter(|(cell, track)| {
            let is_in_question = |outcome: Outcome| outcome.is_stopped() || outcome == Outcome::NoAnswer;
            cell.expectation.is_absence()
                && keeps_log(&cell.server)
                && track.last.as_ref().is_some_and(|last| is_in_question(last.outcome))
        });
        let mut servers: BTreeMap<&ServerId, BTreeSet<String>> = BTreeMap::new();
        for (cell, track) in denied {
            servers.entry(&cell.server).or_default().extend(track.nonces.iter().cloned());
        }
        self.seen(servers.into_iter().map(|(server, nonces)| (server.clone(), nonces))).await
    }

    /// What servers have seen of some nonces.
    pub(super) async fn seen(&self, servers: impl IntoIterator<Item = (ServerId, BTreeSet<String>)>) -> Logs {
        let reads = servers.into_iter().map(|(server, nonces)| async move {
            let seen = self.stage.seen(&server, &nonces).await.map_err(|error| error.to_string());
            (server, seen)
        });
        join_all(reads).await.into_iter().collect()
    }

    /// Asks the document's questions once more, each source at the same time as the others, and sends the answers in the
    /// order of the cells. What was denied is not asked again: its answer is what was observed.
    pub(super) async fn answer(&self, occasion: Occasion, cells: &[PlannedCell], tracks: &[Track]) {
        if !self.rules.show_answers || occasion == Occasion::Restored {
            return;
        }
        let questions = cells.iter().zip(tracks).filter(|(cell, _)| cell.server == ServerId::Metadata);
        let answers = join_all(questions.map(|(cell, track)| self.ask_again(cell, track))).await;
        answers.into_iter().flatten().for_each(|answer| self.events.send(answer));
    }

    async fn ask_again(&self, cell: &PlannedCell, track: &Track) -> Option<Event> {
        let last = track.last.as_ref()?;
        let target @ Target::Http { .. } = cell.target.clone()? else { return None };
        let mut text = last.detail.clone().unwrap_or_else(|| words(last.outcome).to_owned());
        let mut address = last.address.or(cell.address);
        if last.outcome == Outcome::Reached {
            let mut lease = self.sessions.lease(&cell.from, How::Curl).await.ok()?;
            let plain = Request::new(target, self.nonces.next(), cell.identity.clone(), ALLOW_LIMIT);
            let request = Request { resolve_limit: ALLOW_LIMIT, source_port: cell.source_port, ..plain };
            let (observation, body) = lease.session()?.fetch(&request).await;
            address = observation.address.or(address);
            text = match observation.outcome {
                Outcome::Reached => body,
                other => observation.detail.unwrap_or_else(|| words(other).to_owned()),
            };
        }
        Some(Event::Answer {
            scenario: self.loaded.scenario.id.clone(),
            from: cell.from_text.clone(),
            command: track.command.clone().unwrap_or_default(),
            address,
            text,
        })
    }
}
