//! Text that a run has many times: commands, rules, who asks whom. Equal ones share their memory, over all records of a process.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use serde::Serialize;

/// So many texts are kept before it is first looked for those that nobody has any more.
const FEW: usize = 1 << 10;

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// A text of which there is only one in this process, however many have it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Text(Arc<str>);

/// The texts that somebody has, and some that nobody has any more.
#[derive(Default)]
struct Pool {
    texts: HashSet<Arc<str>>,
    /// With how many the latter are looked for.
    full: usize,
}

impl Pool {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        if self.texts.len() >= self.full {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.full = (self.texts.len() * 2).max(FEW);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

impl Text {
    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(POOL.lock().unwrap_or_else(PoisonError::into_inner).share(text))
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let (one, other) = (Text::from("equal texts are one"), Text::from("equal texts are one".to_owned()));
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert_ne!(one, Text::from("not this one"));
    }

    #[test]
    fn texts_that_nobody_has_are_forgotten() {
        let mut pool = Pool::default();
        let kept = pool.share("kept");
        for number in 0..FEW * 3 {
            pool.share(&number.to_string());
        }
        assert!(pool.texts.len() <= FEW + 1, "{}", pool.texts.len());
        assert!(Arc::ptr_eq(&kept, &pool.share("kept")));
    }
}
