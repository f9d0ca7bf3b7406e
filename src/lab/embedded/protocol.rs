//! What the two halves say to each other: one JSON document a line. Calls carry ids and may overlap.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{DenyBy, enforcer::Mutant};
use crate::{
    lab::{LabError, ServerId, Source, World},
    probe::direct::{Finding, Work},
    scenario::{LabSpec, LabelAction, PodSpec},
};

/// From the outer half.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Command {
    /// A call; a [`Frame::Done`] with the same id ends it.
    Call { id: u64, request: Request },
    /// The caller has given this call up. Nothing more is said about it.
    Cancel { id: u64 },
}

/// A call. Stages are named by the outer half, so that one whose opening was given up can be closed all the same.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request {
    /// Makes a stage.
    Open { stage: u64, run: String, spec: LabSpec, deny_by: DenyBy, mutant: Option<Mutant> },
    /// Ends a stage's probes, then its servers, links and routes.
    Close { stage: u64 },
    /// Does something on a stage.
    On { stage: u64, action: Action },
    /// What could help to understand a failure.
    Diagnose,
}

/// Something to do on a stage.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Action {
    /// Applies a document.
    Apply(Document),
    /// Deletes a document's object.
    Delete(Document),
    /// Changes labels.
    Label(LabelAction),
    /// Creates a pod.
    Create(PodSpec),
    /// Creates a pod whose first process is a shell with this script; [`Reply::Said`] is the answer.
    CreateAsking { pod: PodSpec, script: String },
    /// Deletes a pod and creates it again.
    Recreate { namespace: String, pod: String },
    /// Back to how the scenario starts.
    Reset,
    /// Which of these nonces a server has seen.
    Seen { server: ServerId, nonces: BTreeSet<String> },
    /// Whether DNS answers.
    DnsReady,
    /// Starts a `curl` that waits for its configuration.
    Prepare { source: Source },
    /// Runs `curl` with this configuration; its output comes as [`Frame::Line`]s.
    Curl { source: Source, config: String },
    /// Has the inner half's own prober do some work in a source; what it finds comes as [`Frame::Found`]s.
    Probe { source: Source, work: Work },
    /// Drops a share of the packets on a pod's link, both ways; 0 ends it.
    Impair { source: Source, loss_percent: u8 },
    /// Stops the metadata server; with an identity, a server that says this takes its place.
    ReplaceMetadata { identity: Option<String> },
}

/// A manifest's document, with what messages call it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Document {
    pub(super) label: String,
    pub(super) namespace: String,
    pub(super) raw: serde_json::Value,
}

/// From the inner half.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Frame {
    /// The first frame: the inner half is ready, or cannot be.
    Hello(Result<(), Failure>),
    /// A line of output.
    Line { id: u64, line: String },
    /// What a prober found, all that it has found since the last such frame of the call.
    Found { id: u64, findings: Vec<Finding> },
    /// The end of a call.
    Done { id: u64, result: Result<Reply, Failure> },
}

/// A call's result.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Reply {
    Done,
    World(Box<World>),
    Seen(BTreeSet<String>),
    Exit(i32),
    Answered(usize),
    Said { world: Box<World>, lines: Vec<String> },
    Text(String),
}

/// A [`LabError`] on the wire.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Set where a server that is not ours answered at this metadata address.
    pub(super) real_metadata: Option<IpAddr>,
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::RealMetadata { address } => {
                Self { message: error.to_string(), hint: None, real_metadata: Some(address) }
            }
            LabError::Broken { message, hint } => Self { message, hint, real_metadata: None },
            other => Self { message: other.to_string(), hint: None, real_metadata: None },
        }
    }
}

impl From<Failure> for LabError {
    fn from(Failure { message, hint, real_metadata }: Failure) -> Self {
        match real_metadata {
            Some(address) => Self::RealMetadata { address },
            None => Self::Broken { message, hint },
        }
    }
}
