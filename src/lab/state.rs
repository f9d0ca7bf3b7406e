//! What a run has made, written down before it is made, so that `policyprobe cleanup` can remove it after SIGKILL.
//!
//! A run has three files below `$XDG_STATE_HOME/policyprobe/runs`: `RUN.json` (the record), `RUN.lock` (locked for as long
//! as the run lives, by the kernel, so that it is free however the run ends) and `RUN.kubeconfig`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use super::LabError;

/// The label that every object of a run carries, in Docker and in Kubernetes.
pub const RUN_LABEL: &str = "policyprobe.io/run";

/// What a run has made, or is about to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The kind cluster.
    pub cluster: Option<String>,
    /// The cluster stays after the run (`--keep`).
    #[serde(default)]
    pub kept: bool,
    /// Containers and images with the run's label may exist.
    #[serde(default)]
    pub docker: bool,
    /// The Docker network that `kind` made for this run's cluster, because there was none.
    #[serde(default)]
    pub network: Option<String>,
    /// Namespaces in clusters that the run did not make.
    #[serde(default)]
    pub namespaces: Vec<NamespaceRecord>,
    /// Pods in namespaces that the run did not make.
    #[serde(default)]
    pub pods: Vec<PodRecord>,
    /// Requests for certificates.
    #[serde(default)]
    pub requests: Vec<RequestRecord>,
    /// Processes that make things.
    #[serde(default)]
    pub children: Vec<ChildRecord>,
}

/// A namespace in a user's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// The kubeconfig, where it is not the default one.
    pub kubeconfig: Option<PathBuf>,
    /// The context.
    pub context: String,
    /// Its name.
    pub name: String,
}

/// A pod in a user's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// The kubeconfig, where it is not the default one.
    pub kubeconfig: Option<PathBuf>,
    /// The context.
    pub context: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A `CertificateSigningRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The kubeconfig, where it is not the default one.
    pub kubeconfig: Option<PathBuf>,
    /// The context.
    pub context: String,
    /// Its name.
    pub name: String,
}

/// A process, by more than its id: ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRecord {
    /// The process id, and its group's.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub start: u64,
}

impl ChildRecord {
    /// The record of a process that runs now; none where the system has no `/proc`.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        start_time(pid).map(|start| Self { pid, start })
    }

    /// Whether that very process still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }
}

fn start_time(pid: i32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field, the program's name, may hold blanks and parentheses: fields are counted from its end.
fn parse_start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The record of one run, held by whoever may change what the run made.
#[derive(Debug)]
pub struct RunState {
    run: String,
    folder: PathBuf,
    record: Mutex<Record>,
    // Closing it gives the lock back.
    _lock: File,
}

impl RunState {
    /// Starts the record of a new run.
    pub fn create(run: &str) -> Result<Self, LabError> {
        let hint =
            "set XDG_STATE_HOME to a folder that can be written to: what a run makes is written down there first";
        let created = folder().and_then(|folder| Self::create_in(&folder, run));
        created.map_err(|error| LabError::with_hint(format!("{error:#}"), hint))
    }

    fn create_in(folder: &Path, run: &str) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the state folder {}", folder.display()))?;
        let Some(lock) = lock(&folder.join(format!("{run}.lock")))? else {
            return Err(anyhow!("a run with the id `{run}` is under way"));
        };
        let state = Self { run: run.to_owned(), folder: folder.to_owned(), record: Mutex::default(), _lock: lock };
        state.update(|_| ())?;
        Ok(state)
    }

    /// Takes over the record of a run that has ended; none while it lives.
    pub fn claim(run: &str) -> anyhow::Result<Option<Self>> {
        Self::claim_in(&folder()?, run)
    }

    fn claim_in(folder: &Path, run: &str) -> anyhow::Result<Option<Self>> {
        let Some(lock) = lock(&folder.join(format!("{run}.lock")))? else { return Ok(None) };
        let path = folder.join(format!("{run}.json"));
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let record =
            serde_json::from_slice(&text).with_context(|| format!("{} is no record of a run", path.display()))?;
        Ok(Some(Self { run: run.to_owned(), folder: folder.to_owned(), record: Mutex::new(record), _lock: lock }))
    }

    /// What a run has written down so far, whoever holds the record. A run that writes none, or none that can be read, has made
    /// nothing.
    #[must_use]
    pub fn peek(run: &str) -> Record {
        let read = |folder: PathBuf| fs::read(folder.join(format!("{run}.json"))).ok();
        let text = folder().ok().and_then(read).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Where the run's own kubeconfig is, or will be.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(format!("{}.kubeconfig", self.run))
    }

    /// The record as it is now.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Changes the record, on disk as well: when this returns, `cleanup` knows.
    pub fn update(&self, change: impl FnOnce(&mut Record)) -> anyhow::Result<()> {
        let mut record = self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut record);
        let path = self.folder.join(format!("{}.json", self.run));
        let write = || -> anyhow::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec_pretty(&*record)?)?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the run's files: nothing is left that they could name.
    pub fn forget(&self) -> anyhow::Result<()> {
        for extension in ["kubeconfig", "json", "lock"] {
            let path = self.folder.join(format!("{}.{extension}", self.run));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The ids of all recorded runs, live or not.
pub fn runs() -> anyhow::Result<Vec<String>> {
    runs_in(&folder()?)
}

fn runs_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut runs = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        runs.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
    }
    runs.sort();
    Ok(runs)
}

fn folder() -> anyhow::Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("policyprobe/runs"))
        .ok_or_else(|| anyhow!("neither XDG_STATE_HOME nor HOME names a folder to keep the run's record in"))
}

fn lock(path: &Path) -> anyhow::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_live_run_is_not_claimed_and_an_ended_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let live = RunState::create_in(folder.path(), "r1").unwrap();
        live.update(|record| record.cluster = Some("pp-r1".to_owned())).unwrap();
        assert!(RunState::claim_in(folder.path(), "r1").unwrap().is_none());
        assert!(RunState::create_in(folder.path(), "r1").is_err());
        drop(live);
        // A process that another test starts at this moment holds the lock as well, until it is its own program.
        let claim = |_| {
            let claimed = RunState::claim_in(folder.path(), "r1").unwrap();
            if claimed.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            claimed
        };
        let claimed = (0..100).find_map(claim).unwrap();
        assert_eq!(claimed.record().cluster.as_deref(), Some("pp-r1"));
        assert_eq!(runs_in(folder.path()).unwrap(), ["r1"]);
        claimed.forget().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = ChildRecord::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(me.is_alive());
        assert!(!ChildRecord { start: me.start + 1, ..me }.is_alive());
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_start_time(stat), Some(4711));
    }
}
