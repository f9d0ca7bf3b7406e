//! `policyprobe node inventory`: a page of nodes at a time, so that memory does not grow with their number.

use std::{
    io::{IsTerminal as _, Write as _},
    pin::pin,
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::Value;

use super::ClusterArgs;
use crate::{
    cli::{Problem, conduct::width_of, output::UNWRITTEN},
    engine,
    node::{
        NodeState, Selection,
        inventory::NodeEntry,
        sheet::sheet,
        source::{Source, refused},
        table::NodeTable,
    },
    report::Theme,
};

/// What to show, and how.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "\
Without a name a line a node; with names, or with --fields, a sheet a node: each field with its value, who set it (the \
field manager, as clients claim it), what uses it, and what it tells an attacker. JSON and YAML always have all of it.

It needs the verb `list` on nodes, or `get` for nodes by name.

Examples:
  policyprobe node inventory
  policyprobe node inventory worker-1
  policyprobe node inventory -o wide --context staging
  policyprobe node inventory -o json | jq -r '.[].fields[] | select(.sensitive) | .field' | sort | uniq -c")]
pub(super) struct Args {
    /// Only these nodes
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// How to show them
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    /// Show a sheet of fields for each node
    #[arg(long, conflicts_with = "output")]
    fields: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line a node, or a sheet for named ones
    Table,
    /// A line a node, with every field
    Wide,
    /// Every field, as a JSON list
    Json,
    /// Every field, as a YAML list
    Yaml,
}

/// Shows the nodes; returns the exit code.
pub(super) async fn run(args: &Args) -> anyhow::Result<u8> {
    let source = Source::new(args.cluster.connect().await?);
    let mut printer = Printer::new(args);
    let mut shown = 0;
    if args.nodes.is_empty() {
        let mut pages = pin!(source.pages());
        while let Some(page) = pages.try_next().await.map_err(|error| refused(&error, "list"))? {
            shown += page.items.len();
            printer.page(page.items)?;
        }
    }
    for name in &args.nodes {
        let node = source.node(name).await.map_err(|error| match &error {
            kube::Error::Api(status) if status.is_not_found() => anyhow::Error::from(
                Problem::usage(format!("there is no node `{name}`"))
                    .hint("`policyprobe node inventory` without a name lists all nodes"),
            ),
            error => refused(error, "get").into(),
        })?;
        shown += 1;
        printer.page(vec![node])?;
    }
    printer.end(shown)?;
    Ok(engine::OK)
}

/// How much text is written at once, in bytes.
const TEXT: usize = 64 << 10;

struct Printer {
    form: Form,
    now: Timestamp,
    theme: Theme,
    first: bool,
}

enum Form {
    Lines(NodeTable),
    Sheets,
    Json,
    Yaml,
}

impl Printer {
    fn new(args: &Args) -> Self {
        let out = std::io::stdout();
        let theme = Theme::detect(out.is_terminal().then(|| width_of(&out)).flatten());
        let form = match args.output {
            Output::Json => Form::Json,
            Output::Yaml => Form::Yaml,
            Output::Table if args.fields || !args.nodes.is_empty() => Form::Sheets,
            output => Form::Lines(NodeTable::new(output == Output::Wide, theme)),
        };
        Self { form, now: Timestamp::now(), theme, first: true }
    }

    /// A node at a time becomes text, and is gone: what a page takes as it comes is a tenth of what all that is said of its
    /// nodes takes.
    fn page(&mut self, nodes: Vec<Value>) -> anyhow::Result<()> {
        if let Form::Lines(table) = &mut self.form {
            let all = Selection::everything();
            let states: Vec<_> = nodes.into_iter().filter_map(|node| NodeState::of(node, &all)).collect();
            let text = if states.is_empty() { String::new() } else { table.page(&states, self.now) };
            return self.write(text.as_bytes());
        }
        let mut text = Vec::with_capacity(2 * TEXT);
        for entry in nodes.into_iter().filter_map(|node| NodeEntry::of(node, self.now)) {
            let first = std::mem::take(&mut self.first);
            match self.form {
                Form::Json => {
                    text.extend_from_slice(if first { b"[\n" } else { b",\n" });
                    serde_json::to_writer_pretty(&mut text, &entry).context("a node as JSON")?;
                }
                // Lists written one behind the other are one list.
                Form::Yaml => serde_yaml::to_writer(&mut text, &[entry]).context("a node as YAML")?,
                Form::Lines(_) | Form::Sheets => {
                    text.extend_from_slice(if first { b"" } else { b"\n" });
                    text.extend_from_slice(sheet(&entry, self.theme).as_bytes());
                }
            }
            if text.len() > TEXT {
                self.write(&text)?;
                text.clear();
            }
        }
        self.write(&text)
    }

    /// Of thousands of nodes it is 100 MB of JSON: nothing looks through that for colours, which it does not have.
    fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        let written = match self.form {
            Form::Json | Form::Yaml => std::io::stdout().write_all(text),
            Form::Lines(_) | Form::Sheets => anstream::stdout().write_all(text),
        };
        written.context(UNWRITTEN)
    }

    fn end(&mut self, shown: usize) -> anyhow::Result<()> {
        let text = match &self.form {
            Form::Lines(_) if shown == 0 => "there are no nodes\n".to_owned(),
            Form::Lines(table) => table.legend(),
            Form::Json => if self.first { "[]\n" } else { "\n]\n" }.to_owned(),
            Form::Yaml if shown == 0 => "[]\n".to_owned(),
            Form::Sheets | Form::Yaml => String::new(),
        };
        self.write(text.as_bytes())
    }
}
