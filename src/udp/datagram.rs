//! Pure: the text of a question and of an answer. A person can type the question, and read the answer.
//!
//! The two begin differently, so that a server never answers another server's answer.

use crate::http::is_nonce;

const QUESTION: &str = "policyprobe? ";
const ANSWER: &str = "policyprobe! ";

/// The longest datagram that is read, in bytes. Nonces and identities are much shorter.
pub const LONGEST: usize = 1200;

/// What a probe sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The probe's nonce.
    pub nonce: String,
    /// How often it was sent before.
    pub number: u32,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question that is answered.
    pub question: Question,
    /// How long it waited at the server, in microseconds: no part of the way.
    pub held_us: u64,
    /// Who answers.
    pub identity: String,
}

impl Question {
    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{QUESTION}{} {}\n", self.nonce, self.number)
    }

    /// Reads a question. A person need not give the number.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let (question, rest) = Self::words(datagram, QUESTION)?;
        rest.is_empty().then_some(question)
    }

    /// A datagram that begins with this word, as a question and what follows it.
    fn words<'a>(datagram: &'a [u8], begin: &str) -> Option<(Self, &'a str)> {
        let text = std::str::from_utf8(datagram).ok()?.strip_prefix(begin)?.trim_end();
        let (nonce, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = if number.is_empty() { 0 } else { number.parse().ok()? };
        is_nonce(nonce).then(|| (Self { nonce: nonce.to_owned(), number }, rest))
    }
}

impl Answer {
    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { question: Question { nonce, number }, held_us, identity } = self;
        format!("{ANSWER}{nonce} {number} {held_us} {identity}\n")
    }

    /// Reads an answer.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let (question, rest) = Question::words(datagram, ANSWER)?;
        let (held, identity) = rest.split_once(' ')?;
        let held_us = held.parse().ok()?;
        (!identity.is_empty()).then(|| Self { question, held_us, identity: identity.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_taken_for_the_other() {
        let question = Question { nonce: "run-7".to_owned(), number: 2 };
        let answer = Answer { question: question.clone(), held_us: 17, identity: "pod/default/a b".to_owned() };
        assert_eq!(Question::read(question.text().as_bytes()), Some(question.clone()));
        assert_eq!(Answer::read(answer.text().as_bytes()), Some(answer.clone()));
        assert_eq!(Question::read(answer.text().as_bytes()), None);
        assert_eq!(Answer::read(question.text().as_bytes()), None);
    }

    #[test]
    fn a_person_need_not_number_and_garbage_is_no_question() {
        assert_eq!(Question::read(b"policyprobe? me"), Some(Question { nonce: "me".to_owned(), number: 0 }));
        let long = format!("policyprobe? {}", "n".repeat(129));
        for garbage in
            ["", "policyprobe?", "policyprobe? ", "policyprobe? a b", "policyprobe? a 1 b", "x", long.as_str()]
        {
            assert_eq!(Question::read(garbage.as_bytes()), None, "{garbage}");
        }
        assert_eq!(Question::read(b"policyprobe? \xff"), None);
        assert_eq!(Answer::read(b"policyprobe! n 1 17"), None, "without identity");
    }
}
