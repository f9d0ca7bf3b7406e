//! Shells that nobody uses at the moment, over the whole run: a stage goes on with those of the stage before it, because to
//! open one costs more than most of what is done with it.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use super::shell::{Place, Shell};
use crate::{probe::CurlHost, scenario::NodeName};

/// Where something of ours runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seat {
    /// By literal namespace and name.
    Pod(String, String),
    Node(NodeName),
}

impl Display for Seat {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(namespace, pod) => write!(formatter, "{namespace}/{pod}"),
            Self::Node(node) => write!(formatter, "node/{}", node.as_str()),
        }
    }
}

/// The shells of a run.
#[derive(Default)]
pub(crate) struct Shells(Mutex<BTreeMap<Seat, Idle>>);

/// Those of one seat.
#[derive(Default)]
struct Idle {
    shells: Vec<Shell>,
    /// How often the seat's pod was replaced: older shells are of no use.
    replaced: u64,
}

impl Shells {
    /// A shell of one's own, which is opened or taken over when it is first needed.
    pub(crate) fn lease(self: &Arc<Self>, seat: Seat, place: Arc<dyn Place>) -> Leased {
        let replaced = self.lock().entry(seat.clone()).or_default().replaced;
        Leased { shells: Arc::clone(self), seat, place, replaced, shell: None }
    }

    /// Closes the shells in a pod that is about to be replaced.
    pub(crate) fn forget(&self, seat: &Seat) {
        let mut seats = self.lock();
        let idle = seats.entry(seat.clone()).or_default();
        idle.replaced += 1;
        idle.shells.clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Seat, Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shell that is this holder's alone until it is dropped.
pub(crate) struct Leased {
    shells: Arc<Shells>,
    seat: Seat,
    place: Arc<dyn Place>,
    replaced: u64,
    shell: Option<Shell>,
}

impl Leased {
    /// The shell.
    pub(crate) fn shell(&mut self) -> &mut Shell {
        let (shells, seat, place, replaced) = (&self.shells, &self.seat, &self.place, self.replaced);
        self.shell.get_or_insert_with(|| {
            let mut seats = shells.lock();
            let idle = seats.get_mut(seat).filter(|idle| idle.replaced == replaced);
            idle.and_then(|idle| idle.shells.pop()).unwrap_or_else(|| Shell::new(Arc::clone(place)))
        })
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let Some(shell) = self.shell.take() else { return };
        let mut seats = self.shells.lock();
        if let Some(idle) = seats.get_mut(&self.seat).filter(|idle| idle.replaced == self.replaced) {
            idle.shells.push(shell);
        }
    }
}

#[async_trait]
impl CurlHost for Leased {
    async fn curl(&mut self, config: &str, lines: UnboundedSender<String>) -> Result<i32, String> {
        self.shell().curl(config, lines).await
    }

    fn prefix(&self) -> String {
        self.place.prefix()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::shell::tests::Here, *};

    async fn pid(leased: &mut Leased) -> String {
        leased.shell().read("echo $$").await.unwrap().concat()
    }

    #[tokio::test]
    async fn the_next_holder_goes_on_with_the_same_shell_unless_the_pod_was_replaced() {
        let shells = Arc::new(Shells::default());
        let seat = Seat::Pod("a".to_owned(), "b".to_owned());
        let lease = || shells.lease(seat.clone(), Arc::new(Here));
        let (mut first, mut second) = (lease(), lease());
        let (one, two) = (pid(&mut first).await, pid(&mut second).await);
        assert_ne!(one, two, "two holders at the same time");
        drop(first);
        assert_eq!(pid(&mut lease()).await, one);
        shells.forget(&seat);
        drop(second);
        let third = pid(&mut lease()).await;
        assert!(third != one && third != two, "{third}");
    }
}
