//! Nodes as lines of a table, a page at a time: columns are as wide as the first page needs, so that nothing of a page
//! has to stay in memory.

use jiff::Timestamp;

use super::NodeState;
use crate::report::theme::{self, Theme, pad, paint, width};

/// A column: its heading, whether what it shows is sensitive, and its text for a node.
struct Column {
    heading: &'static str,
    sensitive: bool,
    text: fn(&NodeState, Timestamp) -> String,
}

const fn open(heading: &'static str, text: fn(&NodeState, Timestamp) -> String) -> Column {
    Column { heading, sensitive: false, text }
}

const fn secret(heading: &'static str, text: fn(&NodeState, Timestamp) -> String) -> Column {
    Column { heading, sensitive: true, text }
}

/// What is shown where a server does not say.
pub const NOT_REPORTED: &str = "not reported";

static NARROW: &[Column] = &[
    open("NAME", |node, _| node.name.clone()),
    open("STATUS", |node, _| status(node)),
    open("ROLES", |node, _| roles(node)),
    open("AGE", age),
    secret("KUBELET", |node, _| info(node, "kubeletVersion")),
    secret("KERNEL", |node, _| info(node, "kernelVersion")),
    secret("RUNTIME", |node, _| info(node, "containerRuntimeVersion")),
    secret("INTERNAL-IP", |node, _| get(node, "status.addresses[InternalIP]")),
    open("TAINTS", |node, _| taints(node)),
];

static WIDE: &[Column] = &[
    open("UID", |node, _| get(node, "metadata.uid")),
    open("ARCH", |node, _| info(node, "architecture")),
    open("OS", |node, _| info(node, "operatingSystem")),
    secret("OS-IMAGE", |node, _| info(node, "osImage")),
    secret("MACHINE-ID", |node, _| info(node, "machineID")),
    secret("SYSTEM-UUID", |node, _| info(node, "systemUUID")),
    open("BOOT-ID", |node, _| info(node, "bootID")),
    open("KUBE-PROXY", |node, _| info(node, "kubeProxyVersion")),
    secret("EXTERNAL-IP", |node, _| node.get("status.addresses[ExternalIP]").unwrap_or("-").to_owned()),
    open("POD-CIDR", |node, _| node.get("spec.podCIDRs").map_or_else(|| get(node, "spec.podCIDR"), str::to_owned)),
    secret("PROVIDER-ID", |node, _| get(node, "spec.providerID")),
    open("CONDITIONS", |node, _| conditions(node)),
    secret("CAPACITY", |node, _| resources(node, "status.capacity")),
    open("ALLOCATABLE", |node, _| resources(node, "status.allocatable")),
    secret("IMAGES", |node, _| node.count("status.images").to_string()),
    open("VOLUMES", |node, _| node.count("status.volumesInUse").max(node.count("status.volumesAttached")).to_string()),
    open("LABELS", |node, _| pairs(node, "metadata.labels")),
    open("ANNOTATIONS", |node, _| pairs(node, "metadata.annotations")),
];

/// A table under way.
pub struct NodeTable {
    columns: Vec<&'static Column>,
    theme: Theme,
    widths: Vec<usize>,
}

impl NodeTable {
    /// With every column, or with those that fit on a terminal.
    #[must_use]
    pub fn new(wide: bool, theme: Theme) -> Self {
        let columns = NARROW.iter().chain(WIDE.iter().filter(|_| wide)).collect();
        Self { columns, theme, widths: Vec::new() }
    }

    /// The lines of a page; before the first the headings.
    pub fn page(&mut self, nodes: &[NodeState], now: Timestamp) -> String {
        let rows: Vec<Vec<String>> = nodes
            .iter()
            .map(|node| self.columns.iter().map(|column| theme::visible(&(column.text)(node, now))).collect())
            .collect();
        let mut text = String::new();
        if self.widths.is_empty() {
            let headings: Vec<_> = self.columns.iter().map(|column| self.heading(column)).collect();
            let widest = |at: usize| rows.iter().map(|row| width(&row[at])).max().unwrap_or(0);
            self.widths = headings.iter().enumerate().map(|(at, text)| width(text).max(widest(at))).collect();
            text.push_str(&self.line(&headings, Some(theme::HEAD)));
        }
        text.extend(rows.iter().map(|row| self.line(row, None)));
        text
    }

    /// What stands below the table.
    #[must_use]
    pub fn legend(&self) -> String {
        let text = "* tells an attacker something; `policyprobe node inventory NODE` says what, what each field is \
                    used for and who set it";
        let lines = theme::wrap(text, self.theme.width);
        lines.iter().map(|line| paint(theme::FAINT, line) + "\n").collect()
    }

    fn heading(&self, column: &Column) -> String {
        let _ = self;
        format!("{}{}", column.heading, if column.sensitive { "*" } else { "" })
    }

    fn line(&self, cells: &[String], style: Option<anstyle::Style>) -> String {
        let mut line = String::new();
        for (cell, wanted) in cells.iter().zip(&self.widths) {
            line.push_str(&style.map_or_else(|| cell.clone(), |style| paint(style, cell)));
            line.push_str(&pad(width(cell), *wanted));
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

fn get(node: &NodeState, field: &str) -> String {
    node.get(field).unwrap_or(NOT_REPORTED).to_owned()
}

fn info(node: &NodeState, field: &str) -> String {
    get(node, &format!("status.nodeInfo.{field}"))
}

/// As `kubectl get nodes` says it.
fn status(node: &NodeState) -> String {
    let ready = match node.get("status.conditions[Ready].status") {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        _ => "Unknown",
    };
    let cordoned = node.get("spec.unschedulable") == Some("true");
    format!("{ready}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn roles(node: &NodeState) -> String {
    let labels = node.below("metadata.labels");
    let roles: Vec<_> = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() { "-".to_owned() } else { roles.join(",") }
}

fn age(node: &NodeState, now: Timestamp) -> String {
    let created = node.get("metadata.creationTimestamp").and_then(|time| time.parse::<Timestamp>().ok());
    // A clock that was set back makes nothing younger than 0 s.
    created.map_or_else(|| NOT_REPORTED.to_owned(), |created| short((now.as_second() - created.as_second()).max(0)))
}

/// A number of seconds, as `kubectl` shortens it.
fn short(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn taints(node: &NodeState) -> String {
    let taints: Vec<_> = node.below("spec.taints").map(|(key, value)| taint(key, value)).collect();
    if taints.is_empty() { "-".to_owned() } else { taints.join(",") }
}

/// `key=value:Effect`, as `kubectl taint` writes it.
fn taint(key: &str, value: &str) -> String {
    match key.rsplit_once(':') {
        Some((key, effect)) if !value.is_empty() => format!("{key}={value}:{effect}"),
        _ => key.to_owned(),
    }
}

/// The conditions that hold, beside Ready.
fn conditions(node: &NodeState) -> String {
    let path = "status.conditions[";
    let held = node.fields.iter().filter_map(|(field, value)| {
        let kind = field.strip_prefix(path)?.strip_suffix("].status")?;
        (kind != "Ready" && value != "False").then_some(kind)
    });
    let held: Vec<_> = held.collect();
    if held.is_empty() { "-".to_owned() } else { held.join(",") }
}

fn resources(node: &NodeState, path: &str) -> String {
    let of = |name: &str| node.get(&format!("{path}[{name}]"));
    let parts = [
        of("cpu").map(|cpu| format!("{cpu} cpu")),
        of("memory").map(str::to_owned),
        of("pods").map(|n| format!("{n} pods")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { NOT_REPORTED.to_owned() } else { parts.join(" ") }
}

fn pairs(node: &NodeState, path: &str) -> String {
    let pairs =
        node.below(path).map(|(key, value)| if value.is_empty() { key.to_owned() } else { format!("{key}={value}") });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::{
        Selection,
        inventory::tests::{example, now},
    };

    fn shown(wide: bool) -> String {
        let theme = Theme { unicode: true, width: 120 };
        let mut table = NodeTable::new(wide, theme);
        let state = |node| NodeState::of(node, &Selection::everything()).unwrap();
        let bare = state(json!({"metadata": {"name": "bare"}}));
        let first = table.page(&[state(example())], now());
        let text = first + &table.page(&[bare], now()) + &table.legend();
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_line_a_node() {
        insta::assert_snapshot!(shown(false));
    }

    #[test]
    fn wide_has_every_field() {
        insta::assert_snapshot!(shown(true));
    }

    #[test]
    fn ages_are_shortened() {
        let shown: Vec<_> = [0, 119, 120, 7_199, 7_200, 172_800].map(short).into_iter().collect();
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
