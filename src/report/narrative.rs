//! The lab as a story, for somebody who has the document open beside it: what is applied, what is asked, what is
//! answered, and after each step the table that proves it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
};

use super::{
    Reporter, detail, document, summary, terminal,
    theme::{self, Theme, paint},
    topology, words,
};
use crate::{
    engine::{Event, RunResult, ScenarioResult, StepResult},
    scenario::{Scenario, Step},
};

/// A scenario to tell, and its manifest files as they are written, by the names that its steps use.
#[derive(Clone, Debug)]
pub struct Told {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The text of its manifest files.
    pub manifests: BTreeMap<String, String>,
}

/// Tells a run while it goes on.
pub struct Narrative<W> {
    out: W,
    theme: Theme,
    told: Vec<Told>,
    step: usize,
    /// Whether the name's address has been shown in this scenario: the document pings it once.
    resolved: bool,
    /// The sources, and whether they were expected to be answered when they were last asked.
    expected: BTreeMap<String, bool>,
}

impl<W: Write> Narrative<W> {
    /// A teller of these scenarios.
    pub fn new(out: W, theme: Theme, told: Vec<Told>) -> Self {
        Self { out, theme, told, step: 0, resolved: false, expected: BTreeMap::new() }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn find(&self, id: &str) -> Option<&Told> {
        self.told.iter().find(|told| told.scenario.id == id)
    }

    fn scenario(&mut self, id: &str, title: &str, namespaces: &BTreeMap<String, String>) -> String {
        (self.step, self.resolved) = (0, false);
        self.expected.clear();
        let mut out = format!("\n{}\n", paint(theme::FAINT, &self.theme.rule()));
        let _ = writeln!(out, "{}", paint(theme::HEAD, id));
        for line in theme::wrap(title, self.theme.width.min(100)) {
            let _ = writeln!(out, "{line}");
        }
        for (logical, literal) in namespaces {
            let _ = writeln!(out, "{}", paint(theme::FAINT, &format!("the namespace {logical} is {literal} here")));
        }
        if let Some(told) = self.find(id) {
            out.push('\n');
            out.push_str(&topology::render(&told.scenario.lab, self.theme));
        }
        out
    }

    fn step(&mut self, scenario: &str, name: &str, actions: &[String]) -> String {
        self.step += 1;
        let mut out = format!("\n{}\n", paint(theme::HEAD, &format!("{}. {name}", self.step)));
        let told = self.find(scenario);
        let step = told.and_then(|told| told.scenario.steps.iter().find(|step| step.name == name));
        match (told, step) {
            (Some(told), Some(step)) => out.push_str(&doings(told, step)),
            // The closing check is the engine's own step: no file names it.
            _ => out.extend(actions.iter().map(|action| comment(action) + "\n")),
        }
        out
    }

    fn answer(
        &mut self,
        scenario: &str,
        from: &str,
        command: &str,
        address: Option<std::net::IpAddr>,
        text: &str,
    ) -> String {
        let mut out = String::new();
        let index = self.step.saturating_sub(1);
        let expected =
            self.find(scenario).and_then(|told| told.scenario.steps.get(index)).and_then(|step| wanted(step, from));
        if let Some(now) = expected {
            let before = self.expected.insert(from.to_owned(), now);
            let _ = writeln!(out, "{}", comment(&format!("{} {}", place(from), prospect(before, now))));
        }
        let _ = writeln!(out, "{}", paint_prompt(&document::command(from, command)));
        for line in text.lines() {
            let _ = writeln!(out, "{}", theme::visible(line));
        }
        // The document pings the name once to learn the address; whoever asks by address knows it.
        if let Some(address) = address.filter(|address| !self.resolved && !command.contains(&address.to_string())) {
            self.resolved = true;
            let note = format!("The name is {address}. The document pings it to learn this; no ICMP is sent here.");
            for line in theme::wrap(&note, self.theme.width.min(100) - 2) {
                let _ = writeln!(out, "{}", comment(&line));
            }
        }
        out
    }

    fn table(&self, step: &StepResult) -> String {
        let mut out = String::from("\n");
        out.push_str(&terminal::body(step, self.theme));
        if let Some(ms) = step.settled_ms {
            let settled = format!("settled after {} and held", words::duration(ms));
            let _ = writeln!(out, "     {}", paint(theme::FAINT, &settled));
        }
        for cell in step.cells.iter().filter(|cell| detail::is_remarkable(cell.verdict)) {
            out.push('\n');
            out.push_str(&detail::cell(&step.name, cell, self.theme));
        }
        out
    }

    fn end(&self, scenario: &ScenarioResult) -> String {
        let style = theme::style(scenario.verdict);
        let sign = paint(style, self.theme.sign(scenario.verdict));
        let verdict = paint(style, words::verdict(scenario.verdict));
        let mut out = format!("\n{sign} {}: {verdict}", scenario.id);
        let _ = write!(out, "{}{}", self.theme.dot(), words::duration(scenario.took_ms));
        if let Some(ms) = scenario.dns_wait_ms.filter(|ms| *ms > 0) {
            let _ = write!(out, ", of it {} waiting for the cluster's DNS", words::duration(ms));
        }
        out.push('\n');
        if let Some(reason) = &scenario.reason {
            let _ = writeln!(out, "  {reason}");
        }
        out
    }
}

impl<W: Write + Send> Reporter for Narrative<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let text = match event {
            Event::RunStarted { backend, .. } => intro(backend, self.theme),
            Event::LabReady { facts, ready_ms } => terminal::lab(facts, *ready_ms, self.theme),
            Event::CanaryFinished(canary) => terminal::canary(canary, self.theme),
            Event::ScenarioStarted { id, title, namespaces, .. } => self.scenario(id, title, namespaces),
            Event::StepStarted { scenario, name, actions } => self.step(scenario, name, actions),
            Event::Answer { scenario, from, command, address, text } => {
                self.answer(scenario, from, command, *address, text)
            }
            Event::StepFinished { result, .. } => self.table(result),
            Event::ScenarioFinished(result) => self.end(result),
            _ => return Ok(()),
        };
        self.show(&text)
    }

    fn finish(&mut self, result: &RunResult, written: &[String]) -> io::Result<()> {
        let text = format!("\n{}", summary::block(result, written, self.theme));
        self.show(&text)
    }
}

fn intro(backend: &str, theme: Theme) -> String {
    let heading = paint(theme::HEAD, "The lab: pods, nodes and the cloud's metadata server");
    let text = "Commands are shown as one types them on the master, without the flags and the nonce that the probes add. \
        Each table is what many requests from every source showed. A denial counts only because somebody else got an \
        answer from the same server in between.";
    let lines = theme::wrap(text, theme.width.min(100)).join("\n");
    let signs = [crate::engine::Verdict::Pass, crate::engine::Verdict::Fail, crate::engine::Verdict::Inconclusive];
    let legend = signs.map(|verdict| {
        let name = if verdict == crate::engine::Verdict::Fail { "not as expected" } else { words::verdict(verdict) };
        format!("{} {name}", paint(theme::style(verdict), theme.sign(verdict)))
    });
    format!("{heading}{}backend {backend}\n\n{lines}\n{}\n\n", theme.dot(), legend.join("   "))
}

/// What a step does, as commands, with the files that it applies.
fn doings(told: &Told, step: &Step) -> String {
    let mut lines = Vec::new();
    for file in &step.apply {
        if let Some(text) = told.manifests.get(file) {
            lines.push(prompt(&format!("cat {file}")));
            lines.extend(text.trim_end().lines().map(|line| paint(theme::QUOTED, &theme::visible(line))));
        }
        lines.push(prompt(&format!("kubectl apply -f {file}")));
    }
    lines.extend(step.delete.iter().map(|file| prompt(&format!("kubectl delete -f {file}"))));
    lines.extend(step.label.iter().map(|action| prompt(&document::label(action))));
    lines.extend(step.create.iter().map(|pod| comment(&format!("The pod {} is created.", pod.name))));
    lines.extend(step.recreate.iter().map(|pod| comment(&format!("The pod {pod} is deleted and created again."))));
    lines.extend(step.restart.iter().map(|pod| comment(&format!("The container of the pod {pod} is restarted."))));
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

fn prompt(command: &str) -> String {
    paint_prompt(&document::on_master(command))
}

fn comment(text: &str) -> String {
    paint(theme::FAINT, &format!("# {text}"))
}

fn paint_prompt(line: &str) -> String {
    match line.split_once("# ") {
        Some((prompt, command)) => {
            format!("{} {}", paint(theme::FAINT, &format!("{prompt}#")), paint(theme::HEAD, command))
        }
        None => line.to_owned(),
    }
}

/// Whether the step expects the source to get the metadata; none where it says nothing.
fn wanted(step: &Step, from: &str) -> Option<bool> {
    let about = step.expect.iter().filter(|expect| expect.to.metadata.is_some());
    let named = |sources: &[String]| sources.iter().any(|source| source == from);
    about.into_iter().find_map(|expect| {
        let status = expect.status.as_ref().is_some_and(|status| named(&status.from));
        if named(&expect.allow) || status { Some(true) } else { named(&expect.deny).then_some(false) }
    })
}

fn place(from: &str) -> String {
    match from.split_once('/') {
        Some(("node", name)) => format!("The node {name}"),
        Some(("outside", name)) => format!("The host {name}"),
        _ => format!("The pod {from}"),
    }
}

fn prospect(before: Option<bool>, now: bool) -> &'static str {
    match (before, now) {
        (None, true) => "should get an answer.",
        (None, false) => "should get no answer.",
        (Some(true), true) => "should still get an answer.",
        (Some(true), false) => "should no longer get an answer.",
        (Some(false), true) => "should get an answer again.",
        (Some(false), false) => "should still get no answer.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn tell(theme: Theme) -> String {
        let (told, events, result) = testing::story();
        let mut narrative = Narrative::new(Vec::new(), theme, vec![told]);
        for event in &events {
            narrative.event(event).expect("memory takes everything");
        }
        narrative.finish(&result, &["json lab.json".to_owned()]).expect("memory takes everything");
        let text = String::from_utf8(narrative.out).expect("text");
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn the_document_lab() {
        insta::assert_snapshot!(tell(Theme { unicode: true, width: 100 }));
    }

    #[test]
    fn the_document_lab_on_a_narrow_terminal_in_ascii() {
        let text = tell(Theme { unicode: false, width: 80 });
        assert!(text.is_ascii());
        insta::assert_snapshot!(text);
    }
}
