//! Shells that nobody uses at the moment, over the whole run: a stage goes on with those of the stage before it, because to
//! open one costs more than most of what is done with it.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use super::shell::{Place, Shell};
use crate::{
    pool::{Pool, Ticket},
    probe::CurlHost,
    scenario::NodeName,
};

/// Where something of ours runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seat {
    /// By literal namespace and name.
    Pod(String, String),
    Node(NodeName),
    /// A host outside the cluster, by its address.
    Outside(IpAddr),
}

impl Display for Seat {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(namespace, pod) => write!(formatter, "{namespace}/{pod}"),
            Self::Node(node) => write!(formatter, "node/{}", node.as_str()),
            Self::Outside(host) => write!(formatter, "the outside host {host}"),
        }
    }
}

/// The shells of a run.
#[derive(Default)]
pub(crate) struct Shells(Pool<Seat, Shell>);

impl Shells {
    /// A shell of one's own, which is opened or taken over when it is first needed.
    pub(crate) fn lease(self: &Arc<Self>, seat: Seat, place: Arc<dyn Place>) -> Leased {
        Leased { shells: Arc::clone(self), seat, place, taken: None }
    }

    /// Closes the shells in a pod that is about to be replaced.
    pub(crate) fn forget(&self, seat: &Seat) {
        self.0.forget(seat);
    }
}

/// A shell that is this holder's alone until it is dropped.
pub(crate) struct Leased {
    shells: Arc<Shells>,
    seat: Seat,
    place: Arc<dyn Place>,
    taken: Option<(Shell, Ticket)>,
}

impl Leased {
    /// The shell.
    pub(crate) fn shell(&mut self) -> &mut Shell {
        let (shells, seat, place) = (&self.shells, &self.seat, &self.place);
        let taken = self.taken.get_or_insert_with(|| {
            let (idle, ticket) = shells.0.take(seat, |_| true);
            (idle.unwrap_or_else(|| Shell::new(Arc::clone(place))), ticket)
        });
        &mut taken.0
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some((shell, ticket)) = self.taken.take() {
            self.shells.0.give(&self.seat, ticket, shell);
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
