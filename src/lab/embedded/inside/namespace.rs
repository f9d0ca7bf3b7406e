//! A network namespace, and the thread that lives in it: what is made on that thread stays in the namespace. Links and
//! addresses are `net`'s business.
//!
//! A namespace here has no name: its thread, its handle and its sockets are all that keep it alive.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
};

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nlink::netlink::namespace::Netns;
use tokio::{runtime::Handle, sync::oneshot};

use crate::probe::direct::{self, Kind, Socket, Sockets};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. Its thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    handle: Netns,
    jobs: Sender<Job>,
}

impl Namespace {
    /// A new namespace, with nothing in it but a loopback device, and what is furnished in it.
    pub(super) async fn new<T: Send + 'static>(
        furnish: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<(Arc<Self>, T)> {
        let runtime = Handle::current();
        let (jobs, queue) = channel::<Job>();
        let (made, first) = oneshot::channel();
        let enter = move || -> anyhow::Result<(Netns, T)> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            Ok((Netns::current()?, furnish()?))
        };
        let live = move || {
            let _runtime = runtime.enter();
            // Whoever gave up meanwhile sends no jobs, nor does who learns of an error.
            let _ = made.send(enter());
            for job in queue {
                // Whoever waits for a job that panics learns of it: nobody answers.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        thread::Builder::new().name("namespace".to_owned()).spawn(live).context("no thread for a namespace")?;
        let (handle, furniture) = first.await.context("the thread that makes a namespace panicked")??;
        Ok((Arc::new(Self { handle, jobs }), furniture))
    }

    /// Does something that blocks a moment in here: a socket or a process that is made in it stays in this namespace.
    pub(super) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = move || drop(answer.send(job()));
        self.jobs.send(Box::new(job)).ok().context("the thread of a namespace has ended")?;
        answered.await.context("what was done in a namespace panicked")
    }

    /// For netlink, as another namespace's peer.
    pub(super) fn handle(&self) -> &Netns {
        &self.handle
    }
}

/// A namespace in which a prober's sockets are made.
pub(super) struct Inside(pub(super) Arc<Namespace>);

impl Sockets for Inside {
    async fn open(&self, kinds: Vec<Kind>) -> Vec<io::Result<Socket>> {
        let count = kinds.len();
        let made = self.0.run(move || kinds.into_iter().map(direct::socket).collect()).await;
        made.unwrap_or_else(|error| (0..count).map(|_| Err(io::Error::other(format!("{error:#}")))).collect())
    }
}
