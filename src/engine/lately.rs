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
    /// The connects of each server, and how long it had its witnesses wait besides.
    servers: BTreeMap<ServerKey, (Option<Connects>, Duration)>,
}

impl Lately {
    /// Of these samples.
    ///
    /// The median of a few connects is what a busy machine happened to do: it counts up to the median of all, and where a path alone
    /// is slow, its slowest connect says so.
    #[must_use]
    pub(super) fn of(samples: &Samples) -> Self {
        let mut servers: BTreeMap<&ServerKey, (Vec<Duration>, Duration)> = BTreeMap::new();
        for ((_, key), samples) in samples {
            for sample in samples.iter().rev().take(LATEST).filter(|sample| Sample::answered(sample)) {
                let (connects, held) = servers.entry(key).or_default();
                connects.extend(sample.connect.map(|connect| read_connect(connect).0));
                *held = (*held).max(sample.held.unwrap_or_default());
            }
        }
        let all = Connects::of(servers.values().flat_map(|(connects, _)| connects.iter().copied()));
        let usual = all.map_or(Duration::MAX, |all| all.usual);
        let known = |connects| Connects::of(connects).map(|it| Connects { usual: it.usual.min(usual), ..it });
        Self { servers: servers.into_iter().map(|(key, (it, held))| (key.clone(), (known(it), held))).collect() }
    }

    /// The connects of a server, and how long it had its witnesses wait besides, at most.
    #[must_use]
    pub(super) fn of_server(&self, key: &ServerKey) -> (Option<Connects>, Duration) {
        self.servers.get(key).copied().unwrap_or_default()
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
        let connects = |port| lately.of_server(&key(port)).0.map(|it| (it.usual.as_millis(), it.slowest.as_millis()));
        assert_eq!(connects(2), Some((2, 40)));
        assert_eq!(connects(3), Some((2, 2)), "the latest alone");
        assert_eq!(connects(4), None);
    }

    #[test]
    fn where_all_are_slow_that_is_usual() {
        let by = Source::Node(NodeName::Master);
        let seen = [(1, samples(&[150, 151])), (2, samples(&[152]))];
        let lately = Lately::of(&seen.into_iter().map(|(port, of)| ((by.clone(), key(port)), of)).collect());
        assert_eq!(lately.of_server(&key(1)).0.map(|it| it.usual.as_millis()), Some(151));
    }
}
