//! What a CNI's agents do on each change: from how the cluster is now to the rules of both nodes.

use super::{
    Cluster, CompileError, Mutant, Ruleset, compile,
    mutant::{Memory, misjudge, misread},
};
use crate::scenario::NodeName;

/// The enforcer over the time of a stage: the correct one, or one with a single fault.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    mutant: Option<Mutant>,
    memory: Memory,
}

impl Agent {
    /// The correct enforcer, or a mutant.
    #[must_use]
    pub fn new(mutant: Option<Mutant>) -> Self {
        Self { mutant, memory: Memory::default() }
    }

    /// The rules for how the cluster is now, in the order of [`NodeName::ALL`]. The correct enforcer knows no past; a
    /// mutant remembers every cluster that it was asked about.
    pub fn rulesets(&mut self, cluster: &Cluster) -> Result<[Ruleset; 2], CompileError> {
        let Some(mutant) = self.mutant else { return both_nodes(cluster) };
        let mut believed = self.memory.believe(mutant, cluster);
        misread(mutant, &mut believed);
        let mut rulesets = both_nodes(&believed)?;
        for (ruleset, node) in rulesets.iter_mut().zip(NodeName::ALL) {
            // Whatever a mutant believes of peers, a packet's own end is where the packet is.
            let own = cluster.pods.iter().filter(|pod| pod.node == node);
            for (rules, pod) in ruleset.pods.iter_mut().zip(own) {
                rules.pod = format!("{}/{}", pod.namespace, pod.name);
                rules.addresses.clone_from(&pod.addresses);
            }
            misjudge(mutant, ruleset, node, cluster, &self.memory);
        }
        Ok(rulesets)
    }
}

fn both_nodes(cluster: &Cluster) -> Result<[Ruleset; 2], CompileError> {
    let [master, worker] = NodeName::ALL;
    Ok([compile(cluster, master)?, compile(cluster, worker)?])
}
