//! `policyprobe node watch` on a kind cluster of its own, as `kind-config/audit-webhook.yaml` makes it: who changed a node as
//! its API server posts it, gaps of every kind, and the watch as `node manifest` runs it in a pod.

mod changes;
mod cluster;
mod pod;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use cluster::Cluster;
use libtest_mimic::{Completion, Failed, Trial};

use crate::backend;

/// One cluster for all, made by the first that needs it.
#[derive(Default)]
pub(crate) struct Shared(Mutex<Option<Cluster>>);

impl Shared {
    /// Removes the cluster, if there is one.
    pub(crate) fn remove(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn with(&self, test: fn(&Cluster) -> Result<(), Failed>) -> Result<(), Failed> {
        // A test that panicked has failed, and the cluster is as good as it was.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = match shared.take() {
            Some(cluster) => cluster,
            None => Cluster::make()?,
        };
        test(shared.insert(cluster))
    }
}

type Test = (&'static str, fn(&Cluster) -> Result<(), Failed>);

const TESTS: [Test; 6] = [
    ("webhook", changes::the_authenticated_user_is_reported_and_rules_go_by_it),
    ("changes", changes::each_change_is_reported_once_and_as_it_was),
    ("resume", changes::what_changed_between_two_watches_is_reported_once),
    ("manifest", pod::the_manifest_reports_changes_and_may_do_nothing_else),
    ("gap", changes::over_another_api_server_and_without_history_net_changes_are_reported_once),
    ("restart", pod::nothing_is_lost_when_the_container_dies),
];

/// One trial a test.
pub(crate) fn trials(shared: &Arc<Shared>) -> Vec<Trial> {
    let trial = |(name, test): Test| {
        let shared = Arc::clone(shared);
        Trial::ignorable_test(format!("kind::node-watch-{name}"), move || {
            match backend::kind_unavailable().or_else(cluster::unavailable) {
                Some(reason) if backend::required("kind") => Err(format!("required, and {reason}").into()),
                Some(reason) => Ok(Completion::ignored_with(reason)),
                None => shared.with(test).map(|()| Completion::Completed),
            }
        })
    };
    TESTS.map(trial).into()
}
