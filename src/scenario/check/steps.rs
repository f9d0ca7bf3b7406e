//! The steps: actions on what exists by then, and expectations with sources.

use std::collections::BTreeSet;

use super::{
    Context, control_plane, destination, established, first_packets, lab, names, network_policy, place, source_port,
};
use crate::{
    lab::Source,
    scenario::{
        Diagnostic, Expect, LabelAction, Manifest, Step,
        diagnostic::enough,
        document::{Segment, at_path},
    },
};

pub(super) fn check(context: &Context<'_>, faults: &mut Vec<Diagnostic>) {
    let steps = &context.scenario.steps;
    if steps.is_empty() {
        let fault = context.document.error_at_key(&at_path![[]; "steps"], "a scenario needs steps");
        return faults.push(fault.hint("begin with a step without actions in which everything is allowed"));
    }
    let checks = |step: &Step| !(step.expect.is_empty() && step.rejected.is_empty() && step.drift.is_empty());
    if !steps.iter().any(checks) {
        let fault = context.document.error_at_key(&at_path![[]; "steps"], "this scenario expects nothing");
        return faults.push(fault.hint("add `expect:` to a step"));
    }
    let mut step_names = BTreeSet::new();
    let mut applied = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let at = at_path![[]; "steps", index];
        if step.name.trim().is_empty() {
            faults.push(context.error(&at_path![at; "name"], "the step's name is empty"));
        } else if !step_names.insert(&step.name) {
            faults.push(context.error(&at_path![at; "name"], format!("there are two steps `{}`", step.name)));
        }
        let check = StepCheck { context, index, at: &at };
        check.manifests(step, &mut applied, faults);
        for (number, action) in step.label.iter().enumerate() {
            if enough(faults) {
                return;
            }
            check.label(action, &at_path![at; "label", number], faults);
        }
        for (field, pods) in [("recreate", &step.recreate), ("restart", &step.restart)] {
            for (number, pod) in pods.iter().enumerate() {
                if enough(faults) {
                    return;
                }
                check.pod(pod, &at_path![at; field, number], faults);
            }
        }
        for (number, expect) in step.expect.iter().enumerate() {
            if enough(faults) {
                return;
            }
            let at = at_path![at; "expect", number];
            check.expect(expect, &at, faults);
            first_packets::check(context, step, expect, &at, faults);
        }
        let acts = !(step.apply.is_empty()
            && step.delete.is_empty()
            && step.label.is_empty()
            && step.create.is_empty()
            && step.recreate.is_empty()
            && step.restart.is_empty());
        for (number, drift) in step.drift.iter().enumerate() {
            control_plane::drift(context, drift, &at_path![at; "drift", number], faults);
        }
        if !checks(step) {
            let fault = if acts {
                context.warning(&at_path![at; "name"], "this step acts and checks nothing afterwards")
            } else {
                context.error(&at_path![at; "name"], "this step does nothing and expects nothing")
            };
            faults.push(fault.hint("add `expect:`"));
        }
    }
}

struct StepCheck<'a> {
    context: &'a Context<'a>,
    index: usize,
    at: &'a [Segment],
}

impl StepCheck<'_> {
    fn manifests<'s>(&self, step: &'s Step, applied: &mut BTreeSet<&'s str>, faults: &mut Vec<Diagnostic>) {
        for (action, files) in [("apply", &step.apply), ("delete", &step.delete)] {
            for (number, file) in files.iter().enumerate() {
                let at = at_path![self.at; action, number];
                if action == "apply" {
                    applied.insert(file.as_str());
                } else if !applied.remove(file.as_str()) {
                    faults.push(self.context.warning(&at, format!("`{file}` is deleted, and no step has applied it")));
                }
                for manifest in self.context.manifests.get(file).into_iter().flatten() {
                    faults.extend(
                        self.forecast(manifest).map(|(message, hint)| self.context.warning(&at, message).hint(hint)),
                    );
                    if !self.context.scenario.has_namespace(&manifest.namespace) && manifest.kind != "Namespace" {
                        let what = format!("{} `{}` of `{file}`", manifest.kind, manifest.name);
                        let message =
                            format!("{what} is in namespace `{}`, which the lab does not have", manifest.namespace);
                        let hint = format!("add `{}: {{}}` to `lab.namespaces`", manifest.namespace);
                        faults.push(self.context.error(&at, message).hint(hint));
                    }
                }
            }
        }
        for (number, rejected) in step.rejected.iter().enumerate() {
            if rejected.message.trim().is_empty() {
                let at = at_path![self.at; "rejected", number, "message"];
                let fault = self.context.error(&at, "the message is empty, so that any refusal would do");
                faults.push(fault.hint("write words that the API server's refusal must hold"));
            }
        }
    }

    /// What a user's manifest does not do although it may be meant to. The shipped scenarios try such things on purpose.
    fn forecast(&self, manifest: &Manifest) -> Option<(String, String)> {
        if self.context.shipped {
            return None;
        }
        let Some(policy) = &manifest.policy else {
            let message = format!("nothing but this file says what the {} `{}` does", manifest.kind, manifest.name);
            let hint = "the simulator knows NetworkPolicies alone, so a wrong expectation is not found before the run";
            // Roles are judged by the API server's answers.
            let may_matter = !manifest.is_inert() && !manifest.api_version.starts_with("rbac.");
            return may_matter.then(|| (message, hint.to_owned()));
        };
        let served = |name: &str| {
            self.context.scenario.all_pods().flat_map(|pod| &pod.ports).any(|port| port.name.as_deref() == Some(name))
        };
        let name = network_policy::named_ports(policy).find(|name| !served(name))?;
        let message = format!("no pod has a port called `{name}`, so that rule of `{}` allows nothing", manifest.name);
        Some((message, format!("name the port in `ports:` of a pod: `{{name: {name}, port: …}}`")))
    }

    fn label(&self, action: &LabelAction, at: &[Segment], faults: &mut Vec<Diagnostic>) {
        match (&action.pod, &action.namespace) {
            (Some(pod), None) => self.pod(pod, &at_path![at; "pod"], faults),
            (None, Some(namespace)) => lab::namespace(self.context, namespace, &at_path![at; "namespace"], faults),
            (Some(_), Some(_)) => {
                let fault = self.context.error(at, "labels are changed on a `pod` or on a `namespace`, not on both");
                faults.push(fault.hint("write an entry for each; `namespace/pod` names a pod of a namespace"));
            }
            (None, None) => {
                let fault = self.context.error(at, "whose labels? Neither `pod` nor `namespace` is named");
                faults.push(fault.hint("add `pod:` or `namespace:`"));
            }
        }
        if action.set.is_empty() && action.remove.is_empty() {
            faults.push(self.context.error(at, "no label is changed").hint("add `set:` or `remove:`"));
        }
        lab::labels(self.context, &action.set, &at_path![at; "set"], faults);
        for (number, key) in action.remove.iter().enumerate() {
            let at = at_path![at; "remove", number];
            if let Err(message) = names::label_key(key) {
                faults.push(self.context.error(&at, message));
            }
            if action.set.contains_key(key) {
                faults.push(self.context.error(&at, format!("the label `{key}` is both set and removed")));
            }
        }
    }

    /// A pod that an action is on.
    fn pod(&self, name: &str, at: &[Segment], faults: &mut Vec<Diagnostic>) {
        match self.context.scenario.pod(name) {
            Ok(pod) => faults.extend(self.not_yet(&pod.namespace, &pod.name, at)),
            Err(error) => faults.push(self.context.reference(at, error)),
        }
    }

    /// A fault where a pod is only created by a later step.
    fn not_yet(&self, namespace: &str, name: &str, at: &[Segment]) -> Option<Diagnostic> {
        let steps = self.context.scenario.steps.get(self.index + 1..).unwrap_or_default();
        let later =
            steps.iter().find(|step| step.create.iter().any(|pod| pod.namespace == namespace && pod.name == name));
        later.map(|step| {
            self.context.error(at, format!("the pod `{name}` is not there yet: step `{}` creates it", step.name))
        })
    }

    fn expect(&self, expect: &Expect, at: &[Segment], faults: &mut Vec<Diagnostic>) {
        let to = at_path![at; "to"];
        destination::check(self.context, expect, &to, faults);
        control_plane::check(self.context, expect, at, faults);
        source_port::check(self.context, self.index, expect, at, faults);
        established::check(self.context, self.index, expect, at, faults);
        if let Some(pod) = &expect.to.pod
            && let Ok(pod) = self.context.scenario.pod(pod)
        {
            faults.extend(self.not_yet(&pod.namespace, &pod.name, &at_path![to; "pod"]));
        }
        if let Some(status) = expect.status.as_ref().filter(|status| !(100..=599).contains(&status.code)) {
            let message = format!("{} is no HTTP status: it is from 100 to 599", status.code);
            faults.push(self.context.error(&at_path![at; "status", "code"], message));
        }
        let lists = expect.lists();
        if lists.iter().all(|(_, sources)| sources.is_empty()) {
            let fault = self.context.error(at, "this expectation has no source");
            faults.push(fault.hint("say who must reach the destination (`allow:`) or must not (`deny:`)"));
        }
        let mut listed: Vec<(Source, &str)> = Vec::new();
        for (list, sources) in lists {
            let at = place(at, list);
            for (number, name) in sources.iter().enumerate() {
                if enough(faults) {
                    return;
                }
                let at = at_path![at; number];
                let source = match self.context.scenario.source(name) {
                    Ok(source) => source,
                    Err(error) => {
                        faults.push(self.context.reference(&at, error));
                        continue;
                    }
                };
                if let Source::Pod(namespace, name) = &source {
                    faults.extend(self.not_yet(namespace, name, &at));
                }
                match listed.iter().find(|(other, _)| *other == source) {
                    Some((_, other)) if *other == list => {
                        faults.push(self.context.error(&at, format!("`{name}` is listed twice under `{list}`")));
                    }
                    Some((_, other)) => {
                        let message = format!("`{name}` is listed under both `{other}` and `{list}`");
                        faults.push(self.context.error(&at, message));
                    }
                    None => listed.push((source, list)),
                }
            }
        }
    }
}
