//! The JSON report: the run's record as it is. Its fields are documented where the record is.

use crate::engine::RunResult;

/// The report, with a newline at its end.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "it cannot fail, as the message says")]
pub fn render(result: &RunResult) -> Vec<u8> {
    let mut text =
        serde_json::to_vec_pretty(result).expect("a record of strings and numbers has no unserialisable part");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use crate::report::testing;

    #[test]
    fn whole_report() {
        let text = String::from_utf8(super::render(&testing::failing())).expect("JSON is UTF-8");
        insta::assert_snapshot!(text);
    }
}
