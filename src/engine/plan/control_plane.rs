//! Kubernetes itself as a destination: the API server, its Node objects, and the kubelets.

use std::collections::BTreeSet;

use super::{destination::Place, error::Fault, flow::of_family, reference::node_in};
use crate::{
    lab::{ServerId, World},
    policy::ServiceAddress,
    probe::Proof,
    scenario::{ApiserverTarget, Credential, Destination, KubeletTarget, Need},
};

/// The header that the API server brings back: its audit id.
const AUDIT_ID: &str = "Audit-ID";
/// Where the API server listens behind its Service, as kubeadm and kind set it up.
const APISERVER_PORT: u16 = 6443;
/// The kubelet's port, and the one that reads without a credential.
const KUBELET_PORT: u16 = 10250;
const READ_ONLY_PORT: u16 = 10255;

/// The API server, asked for its version, for a path, or about a Node.
pub(super) fn apiserver(world: &World, to: &Destination, target: &ApiserverTarget) -> Result<Place, Fault> {
    let (address, served) = world.apiserver.map_or((None, 443), |(address, port)| (Some(address), port));
    let port = to.port.unwrap_or(served);
    let address = address.and_then(|address| of_family(&[address], to.family));
    let (below, about) = match target.node {
        None => (String::new(), String::new()),
        Some(name) => {
            let node = node_in(world, name)?;
            (format!("/api/v1/nodes/{}", node.literal), format!("nodes/{}", name.as_str()))
        }
    };
    Ok(Place {
        address,
        server_port: APISERVER_PORT,
        service: address.map(|address| ServiceAddress { address, port }),
        needs: needs(Need::Apiserver, target.credential),
        tls: true,
        path: "/version",
        below,
        about,
        proof: Proof::Header(AUDIT_ID.to_owned()),
        credential: target.credential,
        patch: target.patch.as_ref().map(|patch| serde_json::Value::Object(patch.clone()).to_string()),
        ..Place::new(ServerId::Apiserver, "apiserver", "apiserver", port)
    })
}

/// The kubelet of a node. It brings no nonce back: what answers at the node's address is taken for it.
pub(super) fn kubelet(world: &World, to: &Destination, target: &KubeletTarget) -> Result<Place, Fault> {
    let node = node_in(world, target.node)?;
    let (name, served) =
        if target.read_only { ("kubelet-read-only", READ_ONLY_PORT) } else { ("kubelet", KUBELET_PORT) };
    let name = format!("{name}/{}", target.node.as_str());
    Ok(Place {
        address: of_family(&node.addresses, to.family),
        needs: needs(Need::Kubelet, target.credential),
        tls: !target.read_only,
        path: "/healthz",
        proof: Proof::Nothing,
        credential: target.credential,
        ..Place::new(ServerId::Kubelet(target.node), name.clone(), name, to.port.unwrap_or(served))
    })
}

fn needs(own: Need, credential: Option<Credential>) -> BTreeSet<Need> {
    let more = match credential {
        None => None,
        // A service account and its token are the API server's.
        Some(Credential::Token) => Some(Need::Apiserver),
        Some(Credential::Node) => Some(Need::NodeCredential),
    };
    [own].into_iter().chain(more).collect()
}
