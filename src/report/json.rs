//! The JSON report: the run's record as it is. Its fields are documented where the record is.

use std::io::{self, Write};

use crate::engine::RunResult;

/// Writes the report, with a newline at its end, piece by piece: whole, that of a large run would be larger than its record.
pub fn write(result: &RunResult, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, result)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use crate::report::testing;

    #[test]
    fn whole_report() {
        let mut text = Vec::new();
        super::write(&testing::failing(), &mut text).expect("memory can be written to");
        insta::assert_snapshot!(String::from_utf8(text).expect("JSON is UTF-8"));
    }
}
