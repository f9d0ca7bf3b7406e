//! Kubernetes itself as a destination: who has the credential that is asked with, and what goes together.

use super::{Context, place};
use crate::{
    lab::Source,
    node::roots::{known, unknown_root},
    scenario::{
        ApiserverTarget, Credential, Diagnostic, DriftSpec, Expect, KubeletTarget, Protocol,
        document::{Segment, at_path},
    },
};

/// Adds the faults of an expectation about the API server or a kubelet.
pub(super) fn check(context: &Context<'_>, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    if let Some(target) = &expect.to.apiserver {
        apiserver(context, expect, target, &at_path![at; "to", "apiserver"], faults);
        credential(context, expect, target.credential, at, faults);
    }
    if let Some(target) = &expect.to.kubelet {
        kubelet(context, target, &at_path![at; "to", "kubelet"], faults);
        credential(context, expect, target.credential, at, faults);
    }
    let to = &expect.to;
    if (to.apiserver.is_some() || to.kubelet.is_some()) && to.protocol != Protocol::Tcp {
        faults.push(context.error(&at_path![at; "to", "protocol"], "it is asked over TCP"));
    }
}

/// Adds the faults of a change that must be noticed.
pub(super) fn drift(context: &Context<'_>, spec: &DriftSpec, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    for (key, empty) in [("patch", spec.patch.is_empty()), ("shows", spec.shows.is_empty())] {
        if empty {
            faults.push(context.error(&at_path![at; key], "it is empty, so that there is nothing to notice"));
        }
    }
    for field in spec.shows.keys() {
        let at = at_path![at; "shows", field.as_str()];
        if let Some(root) = unknown_root(field) {
            let fault = context.document.error_at_key(&at, format!("no node has a field `{root}`"));
            faults
                .push(fault.hint("write it as a baseline does: `metadata.labels[region]`, `spec.taints[KEY:EFFECT]`"));
        } else if known(field).volatile {
            let fault = context.document.error_at_key(&at, format!("`{field}` changes by itself, and is left out"));
            faults.push(fault.hint("name a field that a baseline has"));
        }
    }
}

fn apiserver(
    context: &Context<'_>,
    expect: &Expect,
    target: &ApiserverTarget,
    at: &[Segment],
    faults: &mut Vec<Diagnostic>,
) {
    let Some(patch) = &target.patch else { return };
    let at = at_path![at; "patch"];
    if target.node.is_none() {
        faults.push(context.error(&at, "whose patch? No node is named").hint("add `node: worker`"));
    }
    if patch.is_empty() {
        faults.push(context.error(&at, "an empty patch changes nothing, so that nothing is decided about it"));
    }
    if !expect.to.method.is_get() || expect.to.path.as_deref().is_some_and(|path| path.contains('?')) {
        let fault = context.error(&at, "a patch is sent as PATCH and as a dry run, with no other method or query");
        faults.push(fault.hint("leave `method` and the path's query out"));
    }
}

fn kubelet(context: &Context<'_>, target: &KubeletTarget, at: &[Segment], faults: &mut Vec<Diagnostic>) {
    if target.read_only && target.credential.is_some() {
        let fault =
            context.error(&at_path![at; "as"], "the read-only port has no TLS: a credential would be sent open");
        faults.push(fault.hint("leave `as` or `readOnly` out"));
    }
    if target.credential == Some(Credential::Node) {
        let fault = context.error(&at_path![at; "as"], "a kubelet's own certificate is for the API server");
        faults.push(fault.hint("ask with `as: token`, or without a credential"));
    }
}

/// A source must have what it asks with.
fn credential(
    context: &Context<'_>,
    expect: &Expect,
    credential: Option<Credential>,
    at: &[Segment],
    faults: &mut Vec<Diagnostic>,
) {
    let Some(credential) = credential else { return };
    let sources = expect.lists().into_iter().flat_map(|(list, sources)| {
        sources.iter().enumerate().map(move |(number, name)| (at_path![place(at, list); number], name))
    });
    for (at, name) in sources {
        // What means nothing is told elsewhere.
        let Ok(source) = context.scenario.source(name) else { continue };
        let has = match (&source, credential) {
            (Source::Pod(..), Credential::Token) => {
                context.scenario.pod(name).is_ok_and(|pod| pod.service_account.is_some())
            }
            (Source::Node(_), Credential::Node) => true,
            _ => false,
        };
        if !has {
            let (what, hint) = match credential {
                Credential::Token => ("no token of a service account", "add `serviceAccount: NAME` to the pod"),
                Credential::Node => ("no kubelet's credential", "ask from `node/master` or `node/worker`"),
            };
            faults.push(context.error(&at, format!("`{name}` has {what}")).hint(hint));
        }
    }
}
