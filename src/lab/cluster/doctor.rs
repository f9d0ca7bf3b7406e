//! Whether the backend `cluster` works here.

use std::path::Path;

use super::{Access, Age, Facts, agent_for};
use crate::lab::Check;

/// Looks at the cluster of this context, and makes nothing in it.
pub async fn doctor(context: Option<&str>, kubeconfig: Option<&Path>) -> Vec<Check> {
    let name = "API server";
    let access = match Access::user(context, kubeconfig).await {
        Ok(access) => access,
        Err(error) => return vec![Check::bad(name, error.to_string(), error.hint().unwrap_or_default())],
    };
    let mut checks = vec![Check::good(name, format!("the context `{}` answers", access.context))];
    match Facts::read(&access, Age::Grown).await {
        Ok(facts) => {
            let texts: Vec<_> = facts.texts.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            checks.push(Check::good("nodes", texts.join(", ")));
            checks.push(match agent_for(&facts.architectures) {
                Ok(bytes) => Check::good("agent", format!("{} KiB", bytes.len() / 1024)),
                Err(error) => Check::good("agent", format!("none, so pods serve by netexec: {error}")),
            });
        }
        Err(error) => checks.push(Check::bad("nodes", error.to_string(), error.hint().unwrap_or_default())),
    }
    checks
}
