//! Which namespace of the cluster a logical namespace is, and what the run may touch. Pure.

/// How logical namespaces get their literal names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The run made the cluster: names are what scenarios say.
    Literal,
    /// Somebody else's cluster: every namespace is a new one, with this in front.
    Prefixed(String),
}

impl Naming {
    /// The names of a run in a cluster that it did not make.
    pub(crate) fn prefixed(run: &str) -> Self {
        Self::Prefixed(format!("pp-{run}-"))
    }

    /// The name in the cluster. Lanes after the first have namespaces of their own.
    pub(crate) fn literal(&self, logical: &str, lane: u32) -> String {
        let name = match self {
            Self::Literal => logical.to_owned(),
            Self::Prefixed(prefix) => format!("{prefix}{logical}"),
        };
        if lane == 0 { name } else { format!("{name}-lane{}", lane + 1) }
    }

    /// Whether objects outside namespaces may be applied.
    pub(crate) fn owns_cluster(&self) -> bool {
        matches!(self, Self::Literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cluster_of_our_own_keeps_names() {
        assert_eq!(Naming::Literal.literal("default", 0), "default");
        assert_eq!(Naming::Literal.literal("default", 1), "default-lane2");
        let shared = Naming::prefixed("r1");
        assert_eq!(shared.literal("default", 0), "pp-r1-default");
        assert!(!shared.owns_cluster());
    }
}
