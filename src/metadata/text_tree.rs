//! Metadata as most clouds have it: a tree of directories, and values that are text.

use std::collections::BTreeMap;

/// Makes a value from the time in seconds since 1970.
type Make = Box<dyn Fn(u64) -> String + Send + Sync>;

/// A directory or a value.
pub(super) enum Node {
    /// Children by name.
    Directory(BTreeMap<String, Child>),
    /// A value.
    Value(Value),
}

/// What a directory holds.
pub(super) struct Child {
    node: Node,
    /// What the listing says instead of the name and, for a directory, a slash.
    label: Option<String>,
    is_listed: bool,
}

/// A value.
pub(super) enum Value {
    /// It stays.
    Fixed(String),
    /// It depends on the time.
    Made(Make),
}

impl Value {
    pub(super) fn at(&self, now: u64) -> String {
        match self {
            Self::Fixed(text) => text.clone(),
            Self::Made(make) => make(now),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

impl Node {
    /// A tree of these paths and values.
    pub(super) fn of<'a, V: Into<String>>(values: impl IntoIterator<Item = (&'a str, V)>) -> Self {
        let mut root = Self::default();
        for (path, value) in values {
            root.set(path, value.into());
        }
        root
    }

    /// Adds a value.
    pub(super) fn set(&mut self, path: &str, value: String) {
        *self.place(path) = Self::Value(Value::Fixed(value));
    }

    /// Adds a value that depends on the time.
    pub(super) fn make(&mut self, path: &str, make: impl Fn(u64) -> String + Send + Sync + 'static) {
        *self.place(path) = Self::Value(Value::Made(Box::new(make)));
    }

    /// Says what a directory's listing calls a child that is there.
    pub(super) fn label(&mut self, path: &str, label: &str) {
        self.change(path, |child| child.label = Some(label.to_owned()));
    }

    /// Leaves a child that is there out of its directory's listing.
    pub(super) fn hide(&mut self, path: &str) {
        self.change(path, |child| child.is_listed = false);
    }

    /// Adds a directory, if only an empty one.
    pub(super) fn place(&mut self, path: &str) -> &mut Self {
        names(path).fold(self, |node, name| {
            if let Self::Value(_) = node {
                *node = Self::default();
            }
            let Self::Directory(children) = node else { unreachable!("it has just become one") };
            let child = || Child { node: Self::default(), label: None, is_listed: true };
            &mut children.entry(name.to_owned()).or_insert_with(child).node
        })
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Child)) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Self::Directory(children) = self.place(parent)
            && let Some(child) = children.get_mut(name)
        {
            change(child);
        }
    }

    /// The node at the end of a path.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        names(path).try_fold(self, |node, name| match node {
            Self::Directory(children) => Some(&children.get(name)?.node),
            Self::Value(_) => None,
        })
    }

    /// A line for each child, directories with a slash; no line end after the last.
    pub(super) fn listing(&self) -> String {
        let Self::Directory(children) = self else { return String::new() };
        let line = |(name, child): (&String, &Child)| match (&child.label, &child.node) {
            (Some(label), _) => label.clone(),
            (None, Self::Directory(_)) => format!("{name}/"),
            (None, Self::Value(_)) => name.clone(),
        };
        children.iter().filter(|(_, child)| child.is_listed).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The names of a path. Slashes next to each other count as one.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn listings_tell_directories_from_values() {
        let mut tree = Node::of([("b/c", "1"), ("a", "2"), ("keys/0/openssh-key", "3"), ("hidden", "4")]);
        tree.label("keys/0", "0=my-key");
        tree.hide("hidden");
        tree.make("now", |now| now.to_string());
        assert_eq!(tree.listing(), "a\nb/\nkeys/\nnow");
        assert_eq!(tree.find("keys").unwrap().listing(), "0=my-key");
        assert!(matches!(tree.find("/b//"), Some(Node::Directory(_))));
        assert!(tree.find("a/x").is_none() && tree.find("x").is_none() && tree.find("hidden").is_some());
        let Node::Value(now) = tree.find("now").unwrap() else { panic!("a directory") };
        assert_eq!(now.at(7), "7");
    }
}
