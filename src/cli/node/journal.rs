//! The file of `node watch --resume`: read at the start, and written behind what is told. What its lines mean is left to
//! [`crate::node::resume`].
//!
//! A change is written when it was told: what a crash falls between is told once more, never lost. Whole files are written
//! beside the old one and take its place; a line is written at once, and one that was cut off does not count.

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    pin::pin,
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::{Problem, output::note},
    input::{self, InputError},
    node::{
        report::Report,
        resume::{Head, Index, Line},
        source::{Source, refused},
        track::Tracker,
    },
    report::{Format, ReportSpec},
    scenario::Diagnostics,
};

/// The largest file that is read: 5,000 nodes have some 50 MiB.
const LARGEST: u64 = 1 << 30;
/// So many bytes may be written behind the shortest text that says the same, beside as many as that has.
const SLACK: usize = 16 << 20;
/// How often it is kept that the watch stands, where nothing else is.
const OFTEN: SignedDuration = SignedDuration::from_secs(1);

/// What is in the file before the cluster is asked.
pub(super) struct Kept {
    path: PathBuf,
    earlier: Option<(Index, Tracker)>,
    text: String,
    /// Held for as long as nothing is written.
    _lock: Option<File>,
}

/// Reads the file, where there is one.
pub(super) fn read(path: &Path) -> anyhow::Result<Kept> {
    let target = target(path);
    target.check().with_context(|| format!("cannot write {}", path.display()))?;
    let path = path.to_owned();
    match input::text(&path, LARGEST) {
        Ok(text) => {
            let lock = Some(locked(&path)?);
            let earlier = Some(Index::read(&path, &text).map_err(Diagnostics::from)?);
            Ok(Kept { path, earlier, text, _lock: lock })
        }
        Err(InputError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Kept { path, earlier: None, text: String::new(), _lock: None })
        }
        Err(error) => Err(Problem::input("what an earlier watch has seen", &path, &error).into()),
    }
}

impl Kept {
    /// Goes on from it, or begins anew where there is no file yet.
    pub(super) async fn go_on(self, head: Head, source: &Source) -> anyhow::Result<(Journal, Tracker)> {
        let Self { path, earlier, text, .. } = self;
        let mut journal = Journal { path, head, state: None, pending: VecDeque::new() };
        let Some((mut index, tracker)) = earlier else { return Ok((journal, Tracker::default())) };
        let shown = journal.path.display();
        if index.head.fields != journal.head.fields {
            return Err(Problem::usage(format!("{shown} was kept by a watch of other fields"))
                .hint("give the same `--keep`, `--leave-out` and `--rules`, or another file")
                .into());
        }
        if index.head.cluster != journal.head.cluster && !shares_a_node(&tracker, source).await? {
            let (server, own) = (&index.head.cluster.server, &journal.head.cluster.server);
            return Err(Problem::usage(format!("{shown} is another cluster's: it is of {server}, and this is {own}"))
                .hint("no node of it is here; name another file, or another cluster by `--context`")
                .into());
        }
        note(&format!("{} nodes as they were seen at {:.3}, from {shown}", tracker.len(), index.at));
        index.head = journal.head.clone();
        let (index, text) = index.compacted(text.as_bytes());
        journal.replace(index, &text)?;
        Ok((journal, tracker))
    }
}

/// Whether any node is the same one: a cluster may be reached in another way, and its authority may be renewed.
async fn shares_a_node(tracker: &Tracker, source: &Source) -> anyhow::Result<bool> {
    let mut pages = pin!(source.pages());
    while let Some(page) = pages.try_next().await.map_err(|error| refused(&error, "list"))? {
        let same = |node: &serde_json::Value| {
            let metadata = &node["metadata"];
            let known = metadata["name"].as_str().and_then(|name| tracker.get(name));
            known.is_some_and(|known| metadata["uid"] == known.uid.as_str())
        };
        if page.items.iter().any(same) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was seen and told, in a file.
pub(super) struct Journal {
    path: PathBuf,
    head: Head,
    /// None before nodes were listed for the first time.
    state: Option<State>,
    /// Lines that wait until so many more changes are told.
    pending: VecDeque<(usize, Line)>,
}

struct State {
    file: File,
    index: Index,
    /// How long the file was when it had nothing but what counts.
    shortest: usize,
}

impl State {
    fn append(&mut self, lines: &[(String, Line)]) -> anyhow::Result<()> {
        let text: String = lines.iter().map(|(text, _)| text.as_str()).collect();
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Half a line would make nonsense of the next.
            self.file.set_len(self.index.length() as u64)?;
            return Err(error.into());
        }
        for (text, line) in lines {
            self.index.append(line, text.len());
        }
        Ok(())
    }
}

impl Journal {
    /// Changes were seen, and may be told later. `stood`: when, if the watch stands.
    pub(super) fn seen(&mut self, tracker: &Tracker, reports: &[Report], stood: Option<Timestamp>) {
        for of_node in reports.chunk_by(|a, b| a.change.node == b.change.node) {
            let name = &of_node[0].change.node;
            let node = tracker.get(name).cloned();
            let removed = node.is_none().then(|| name.clone());
            self.pending.push_back((of_node.len(), Line { at: stood, node, removed }));
        }
        let Some(now) = stood else { return };
        let Some(state) = &self.state else {
            let begun = self.begin(tracker, now);
            self.warn(begun);
            return;
        };
        // A clock that was set back is as good as any other.
        if reports.is_empty() && self.pending.is_empty() && now.duration_since(state.index.at).abs() >= OFTEN {
            self.pending.push_back((0, Line { at: stood, ..Line::default() }));
        }
    }

    /// So many changes more were told.
    pub(super) fn told(&mut self, mut changes: usize) {
        let mut lines = Vec::new();
        while let Some((waits, _)) = self.pending.front_mut() {
            if *waits > changes {
                *waits -= changes;
                break;
            }
            changes -= *waits;
            lines.extend(self.pending.pop_front().map(|(_, line)| (line.written(), line)));
        }
        if let (Some(state), false) = (&mut self.state, lines.is_empty()) {
            let done = state.append(&lines).and_then(|()| self.compact());
            self.warn(done);
        }
    }

    /// All nodes, for the first time.
    fn begin(&mut self, tracker: &Tracker, now: Timestamp) -> anyhow::Result<()> {
        let mut index = Index::new(self.head.clone(), now);
        let mut text = index.begin();
        let nodes = tracker.nodes().map(|node| Line { node: Some(node.clone()), ..Line::default() });
        let end = Line { at: Some(now), ..Line::default() };
        nodes.chain([end]).for_each(|line| index.write(&line, &mut text));
        self.replace(index, text.as_bytes())
    }

    /// Makes the file shorter, where most of it counts no more.
    fn compact(&mut self) -> anyhow::Result<()> {
        let Some(State { index, shortest, .. }) = &self.state else { return Ok(()) };
        if index.length() <= 2 * shortest + SLACK {
            return Ok(());
        }
        let text = fs::read(&self.path).context("it cannot be read")?;
        let (index, text) = index.compacted(&text);
        self.replace(index, &text)
    }

    fn replace(&mut self, index: Index, text: &[u8]) -> anyhow::Result<()> {
        let written = target(&self.path).write_bytes(text);
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        let file = locked(&self.path)?;
        self.state = Some(State { file, shortest: index.length(), index });
        Ok(())
    }

    /// A watch goes on although it cannot keep what it saw: then more is told again than need be.
    fn warn(&self, done: anyhow::Result<()>) {
        if let Err(error) = done {
            note(&format!("warning: {} does not have all that was told: {error:#}", self.path.display()));
        }
    }
}

fn target(path: &Path) -> ReportSpec {
    ReportSpec { format: Format::Json, path: Some(path.to_owned()) }
}

/// The file, to be written behind, for one watch alone.
fn locked(path: &Path) -> anyhow::Result<File> {
    let file = File::options().append(true).open(path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Problem::usage(format!("another watch keeps {}", path.display()))
            .hint("each needs a file of its own")
            .into()),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
