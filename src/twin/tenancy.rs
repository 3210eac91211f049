//! Which Ditto namespaces a Kubernetes namespace may name.

/// Grants of one Kubernetes namespace: a comma list of Ditto namespaces, `*` alone or as last
/// character, `<namespace>` for the Kubernetes one. Empty grants nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Vec<String>);

impl Grants {
    pub fn parse(list: &str, kubernetes_namespace: &str) -> Self {
        let grant = |word: &str| word.trim().replace("<namespace>", kubernetes_namespace);
        Self(list.split(',').map(grant).filter(|word| !word.is_empty()).collect())
    }

    /// Folders have no tenants.
    pub fn everything() -> Self {
        Self(vec!["*".into()])
    }

    pub fn allow(&self, ditto_namespace: &str) -> bool {
        self.0.iter().any(|grant| match grant.strip_suffix('*') {
            Some(prefix) => ditto_namespace.starts_with(prefix),
            None => grant == ditto_namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s36_only_granted_namespaces_may_be_named() {
        let cases = [
            ("*", "org.acme", true),
            ("", "org.acme", false),
            ("org.acme", "org.acme", true),
            ("org.acme", "org.acme.plant", false),
            ("org.acme.*", "org.acme.plant", true),
            ("org.acme.*", "org.acme", false),
            ("a, <namespace>", "plant", true),
            ("a, <namespace>.*", "plant.x", true),
            ("<namespace>", "other", false),
        ];
        for (list, namespace, allowed) in cases {
            assert_eq!(Grants::parse(list, "plant").allow(namespace), allowed, "{list:?} {namespace}");
        }
    }
}
