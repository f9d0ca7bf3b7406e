//! What both Kubernetes backends share, and the backend for clusters that exist already.

mod access;
mod apply;
mod builder;
mod child;
mod deployments;
mod dns;
mod doctor;
mod drift;
mod exec;
mod facts;
mod ground;
mod host_pods;
mod kubeconfig;
mod lab;
mod links;
mod logs;
mod names;
mod node_pods;
mod objects;
mod patience;
mod plugin;
mod pods;
mod prepare;
mod progress;
mod scout;
mod sessions;
mod shell;
mod shells;
mod space;
mod stage;

pub use builder::ClusterBuilder;
pub use doctor::doctor;

pub(crate) use access::{Access, chain, client};
pub(crate) use apply::is_gone;
pub(crate) use deployments::remove as remove_deployment;
pub(crate) use exec::exec;
pub(crate) use facts::{Age, Facts, is_ready};
pub(crate) use ground::{Ground, Hosts, IMAGE_AGENT, MetadataLease};
pub(crate) use kubeconfig::load as load_kubeconfig;
pub(crate) use lab::{ClusterLab, Parts, agent_for, remove_namespace};
pub(crate) use names::Naming;
pub(crate) use objects::{CONTAINER, PROBE_IMAGE};
pub(crate) use progress::is_pod_ready;
pub(crate) use shell::{Place, Shell, Wire};
