//! Pure: what connects take at the moment, by the latest samples of the witnesses.

use std::{collections::BTreeMap, time::Duration};

use super::{
    calibrate::{Connects, read_connect},
    watch::Samples,
    witness::{Sample, ServerKey},
};

/// So many samples of each witness are of the moment.
const LATEST: usize = 5;

/// What witnesses have seen lately.
#[derive(Debug, Default)]
pub(super) struct Lately {
    servers: BTreeMap<ServerKey, OfServer>,
    /// The median of all connects.
    usual: Option<Duration>,
}

/// Of one server.
#[derive(Debug, Default)]
struct OfServer {
    connects: Vec<Duration>,
    held: Duration,
}

impl Lately {
    /// Of these samples.
    #[must_use]
    pub(super) fn of(samples: &Samples) -> Self {
        let mut servers: BTreeMap<ServerKey, OfServer> = BTreeMap::new();
        for ((_, key), samples) in samples {
            for sample in samples.iter().rev().take(LATEST).filter(|sample| Sample::answered(sample)) {
                let server = servers.entry(key.clone()).or_default();
                server.connects.extend(sample.connect.map(|connect| read_connect(connect).0));
                server.held = server.held.max(sample.held.unwrap_or_default());
            }
        }
        let all = servers.values().flat_map(|server| server.connects.iter().copied());
        let usual = Connects::of(all).map(|connects| connects.usual);
        Self { servers, usual }
    }

    /// The connects of a server. The median of a few of them is what a busy machine happened to do: it counts up to the median of
    /// all, and where this path alone is slow, its slowest connect says so.
    #[must_use]
    pub(super) fn connects(&self, key: &ServerKey) -> Option<Connects> {
        let connects = Connects::of(self.servers.get(key)?.connects.iter().copied())?;
        Some(Connects { usual: self.usual.map_or(connects.usual, |usual| usual.min(connects.usual)), ..connects })
    }

    /// How long a server had its witnesses wait besides, at most.
    #[must_use]
    pub(super) fn held(&self, key: &ServerKey) -> Duration {
        self.servers.get(key).map(|server| server.held).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        engine::{Expectation, plan::PlannedCell},
        lab::Source,
        probe::Outcome,
        scenario::NodeName,
    };

    fn key(port: u16) -> ServerKey {
        let cell = PlannedCell::to_metadata(Source::Node(NodeName::Worker), Expectation::Reachable);
        ServerKey::of(&PlannedCell { port, ..cell })
    }

    fn samples(ms: &[u64]) -> Vec<Sample> {
        let now = Instant::now();
        let sample = |ms: &u64| {
            let connect = Some(Duration::from_millis(*ms));
            Sample { asked: now, ended: now, outcome: Outcome::Reached, connect, held: None, clock: None }
        };
        ms.iter().map(sample).collect()
    }

    #[test]
    fn what_one_server_of_many_took_is_not_what_is_usual() {
        let by = Source::Node(NodeName::Master);
        let seen = [(1, samples(&[1, 2, 1, 2])), (2, samples(&[40])), (3, samples(&[90, 2, 2, 2, 2, 2]))];
        let lately = Lately::of(&seen.into_iter().map(|(port, of)| ((by.clone(), key(port)), of)).collect());
        let connects = |port| lately.connects(&key(port)).map(|it| (it.usual.as_millis(), it.slowest.as_millis()));
        assert_eq!(connects(2), Some((2, 40)));
        assert_eq!(connects(3), Some((2, 2)), "the latest alone");
        assert_eq!(connects(4), None);
    }

    #[test]
    fn where_all_are_slow_that_is_usual() {
        let by = Source::Node(NodeName::Master);
        let seen = [(1, samples(&[150, 151])), (2, samples(&[152]))];
        let lately = Lately::of(&seen.into_iter().map(|(port, of)| ((by.clone(), key(port)), of)).collect());
        assert_eq!(lately.connects(&key(1)).map(|it| it.usual.as_millis()), Some(151));
    }
}
