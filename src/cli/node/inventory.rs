//! `policyprobe node inventory`: a page of nodes at a time, so that memory does not grow with their number.

use std::{
    io::{IsTerminal as _, Write as _},
    pin::pin,
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::ClusterArgs;
use crate::{
    cli::{Problem, conduct::width_of},
    engine,
    node::{
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
            // Aside, so that the next page is read meanwhile.
            let printing = tokio::task::spawn_blocking(move || printer.page(page.items.iter()).map(|()| printer));
            printer = printing.await.context("printing")??;
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
        printer.page([&node])?;
    }
    printer.end(shown)?;
    Ok(engine::OK)
}

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

    fn page<'a>(&mut self, nodes: impl IntoIterator<Item = &'a serde_json::Value>) -> anyhow::Result<()> {
        let entries: Vec<_> = nodes.into_iter().filter_map(|node| NodeEntry::of(node, self.now)).collect();
        let mut text = String::new();
        match &mut self.form {
            Form::Lines(table) if !entries.is_empty() => text = table.page(&entries, self.now),
            Form::Sheets => {
                for entry in &entries {
                    text.push_str(if std::mem::take(&mut self.first) { "" } else { "\n" });
                    text.push_str(&sheet(entry, self.theme));
                }
            }
            Form::Json => {
                for entry in &entries {
                    text.push_str(if std::mem::take(&mut self.first) { "[\n" } else { ",\n" });
                    text.push_str(&serde_json::to_string_pretty(entry).context("a node as JSON")?);
                }
            }
            // Lists written one behind the other are one list.
            Form::Yaml if !entries.is_empty() => text = serde_yaml::to_string(&entries).context("nodes as YAML")?,
            Form::Lines(_) | Form::Yaml => {}
        }
        self.write(&text)
    }

    /// Of thousands of nodes it is 100 MB of JSON: nothing looks through that for colours, which it does not have.
    fn write(&self, text: &str) -> anyhow::Result<()> {
        let written = match self.form {
            Form::Json | Form::Yaml => std::io::stdout().write_all(text.as_bytes()),
            Form::Lines(_) | Form::Sheets => anstream::stdout().write_all(text.as_bytes()),
        };
        written.context("writing")
    }

    fn end(&mut self, shown: usize) -> anyhow::Result<()> {
        let text = match &self.form {
            Form::Lines(_) if shown == 0 => "there are no nodes\n".to_owned(),
            Form::Lines(table) => table.legend(),
            Form::Json => if self.first { "[]\n" } else { "\n]\n" }.to_owned(),
            Form::Yaml if shown == 0 => "[]\n".to_owned(),
            Form::Sheets | Form::Yaml => String::new(),
        };
        self.write(&text)
    }
}
