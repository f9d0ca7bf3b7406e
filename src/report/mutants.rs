//! A campaign against mutants, as a table: who was killed by what, and who was not.

use std::fmt::Write as _;

use super::{
    Theme,
    theme::{BAD, FAINT, GOOD, HEAD, WARN, pad, paint, width, wrap},
};
use crate::{
    engine::Verdict,
    mutants::{Campaigned, Trial},
};

/// How many killers a line names.
const SHOWN: usize = 3;

/// The table, the survivors with what they do wrong, and the count.
#[must_use]
pub fn mutants(theme: Theme, campaign: &Campaigned, quiet: bool) -> String {
    let mut text = String::new();
    if campaign.forecast {
        text.push_str("What should happen, worked out on paper; nothing was played.\n\n");
    }
    let names = campaign.trials.iter().map(|trial| width(trial.mutant.name())).max().unwrap_or(0);
    let shown = campaign.trials.iter().filter(|trial| !quiet || trial.killed_by.is_empty());
    for trial in shown {
        line(&mut text, theme, trial, names);
    }
    let mut list = |title: &str, ids: &[String]| {
        if !ids.is_empty() {
            let _ = writeln!(text, "\n{}", paint(WARN, title));
            for line in wrap(&ids.join(", "), theme.width - 2) {
                let _ = writeln!(text, "  {line}");
            }
        }
    };
    list("Not counted, as they do not pass with the correct enforcer either:", &campaign.unsound);
    list("Cases that killed nothing:", campaign.idle.as_deref().unwrap_or_default());
    let _ = writeln!(text, "\n{}", paint(HEAD, &count(theme, campaign)));
    text
}

fn line(text: &mut String, theme: Theme, trial: &Trial, names: usize) {
    let name = trial.mutant.name();
    let gap = pad(width(name), names + 2);
    // Writing to a text cannot fail.
    if let Some(failure) = &trial.error {
        let _ = writeln!(text, "{}{gap}not tried: {}", theme.line(Verdict::Inconclusive, name), failure.message);
        return;
    }
    if trial.killed_by.is_empty() {
        let sign = theme.sign(Verdict::Fail);
        let _ = writeln!(text, "{}{gap}{}", paint(BAD, &format!("{sign} {name}")), paint(BAD, "survived"));
        let indent = pad(0, width(sign) + 1);
        let mut why = |style, sentence: &str| {
            for line in wrap(sentence, theme.width.saturating_sub(width(&indent))) {
                let _ = writeln!(text, "{indent}{}", paint(style, &line));
            }
        };
        why(BAD, trial.fault);
        let skipped = if trial.skipped > 0 { format!(", {} skipped", trial.skipped) } else { String::new() };
        why(FAINT, &format!("{} played{skipped}", cases(trial.played)));
        for id in trial.inconclusive.iter().take(SHOWN) {
            let reason = trial.reasons.get(id).map(|reason| format!(", {reason}")).unwrap_or_default();
            why(FAINT, &format!("inconclusive: {id}{reason}"));
        }
        if let Some(more) = trial.inconclusive.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            why(FAINT, &format!("inconclusive: {more} more"));
        }
        return;
    }
    let shown = trial.killed_by.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = trial.killed_by.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = writeln!(text, "{} {name}{gap}{shown}{}", paint(GOOD, theme.sign(Verdict::Pass)), paint(FAINT, &more));
}

fn count(theme: Theme, campaign: &Campaigned) -> String {
    let killed = campaign.trials.iter().filter(|trial| !trial.killed_by.is_empty()).count();
    let parts = [(campaign.survivors().count(), "survived"), (campaign.errors().count(), "not tried")];
    let all = campaign.trials.len();
    let mut text = format!("{killed} of {all} {} killed", if all == 1 { "mutant" } else { "mutants" });
    for (number, what) in parts.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "{}{number} {what}", theme.dot());
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds with one digit")]
    let seconds = campaign.took_ms as f64 / 1000.0;
    let interrupted = if campaign.interrupted { " (interrupted)" } else { "" };
    let _ = write!(text, "{0}{1}{0}{seconds:.1} s{interrupted}", theme.dot(), cases(campaign.cases));
    text
}

fn cases(number: usize) -> String {
    if number == 1 { "1 case".to_owned() } else { format!("{number} cases") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lab::embedded::enforcer::Mutant;

    fn trial(mutant: Mutant, killed_by: &[&str]) -> Trial {
        Trial {
            mutant,
            fault: mutant.fault(),
            killed_by: killed_by.iter().map(|id| (*id).to_owned()).collect(),
            played: 7,
            skipped: 2,
            inconclusive: Vec::new(),
            reasons: BTreeMap::new(),
            took_ms: 1,
            error: None,
        }
    }

    #[test]
    fn killed_ones_take_a_line_and_survivors_say_what_they_do() {
        let campaign = Campaigned {
            schema_version: 1,
            policyprobe: "0".to_owned(),
            cases: 9,
            forecast: false,
            all_kills: true,
            trials: vec![
                trial(Mutant::IgnoresEgress, &["canary"]),
                trial(Mutant::AndsPeers, &["a", "b", "c", "d", "e"]),
                trial(Mutant::UdpOpen, &[]),
            ],
            idle: Some(vec!["lazy".to_owned()]),
            unsound: vec!["wrong".to_owned()],
            took_ms: 1234,
            interrupted: false,
        };
        let theme = Theme { unicode: false, width: 60 };
        let text = anstream::adapter::strip_str(&mutants(theme, &campaign, false)).to_string();
        insta::assert_snapshot!(text);
        let quiet = anstream::adapter::strip_str(&mutants(theme, &campaign, true)).to_string();
        assert!(!quiet.contains("ands-peers") && quiet.contains("udp-open"), "{quiet}");
    }
}
