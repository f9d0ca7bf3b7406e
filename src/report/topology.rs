//! A picture of a scenario's lab: both nodes with their pods, and what is outside.

use super::theme::{self, Theme, pad, paint, width};
use crate::scenario::{Cloud, LabSpec, NodeName, PodSpec};

/// The picture, with a newline at the end of each line.
pub(crate) fn render(lab: &LabSpec, theme: Theme) -> String {
    let boxes: Vec<_> = NodeName::ALL.iter().map(|node| Box::new(*node, lab, theme)).collect();
    let beside = INDENT + boxes.iter().map(Box::width).sum::<usize>() + GAP <= theme.width;
    let mut lines = Vec::new();
    if beside {
        let height = boxes.iter().map(|node| node.lines.len()).max().unwrap_or(0);
        let drawn: Vec<_> = boxes.iter().map(|node| node.draw(height, theme, lab.metadata.is_some())).collect();
        for row in 0..height + 2 {
            lines.push(drawn.iter().map(|node| node[row].as_str()).collect::<Vec<_>>().join(&pad(0, GAP)));
        }
        if let Some(cloud) = lab.metadata {
            lines.extend(below(boxes[0].width(), boxes[1].width(), cloud, theme));
        }
    } else {
        lines.extend(boxes.iter().flat_map(|node| node.draw(node.lines.len(), theme, false)));
        lines.extend(lab.metadata.map(|cloud| format!("outside the cluster: {}", server(cloud))));
    }
    for host in &lab.outside {
        let address = host.address.map(|address| format!(", {address}")).unwrap_or_default();
        lines.push(format!("outside the cluster: the host {}{address}", host.name));
    }
    lines.iter().fold(String::new(), |text, line| text + &pad(0, INDENT) + line.trim_end() + "\n")
}

const INDENT: usize = 2;
/// Between the two nodes.
const GAP: usize = 4;

struct Box {
    name: &'static str,
    /// Name and labels of each pod; the first is as wide in all.
    lines: Vec<(String, String)>,
    inner: usize,
}

impl Box {
    fn new(node: NodeName, lab: &LabSpec, theme: Theme) -> Self {
        let pods: Vec<_> = lab.pods.iter().filter(|pod| pod.node == node).collect();
        let longest = pods.iter().map(|pod| width(&name(pod))).max().unwrap_or(0);
        let mut lines: Vec<_> = pods
            .iter()
            .map(|pod| {
                let name = name(pod);
                let labels: Vec<_> = pod.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let blanks = pad(width(&name), longest);
                (format!("{name}{blanks}"), theme::cut(theme, &labels.join(", "), 48))
            })
            .collect();
        if lines.is_empty() {
            lines.push(("no pods".to_owned(), String::new()));
        }
        let widest = lines.iter().map(|(name, labels)| width(name) + 2 + width(labels)).max().unwrap_or(0);
        Self { name: node.as_str(), lines, inner: widest.max(width(node.as_str()) + 8) }
    }

    fn width(&self) -> usize {
        self.inner + 4
    }

    fn draw(&self, height: usize, theme: Theme, connected: bool) -> Vec<String> {
        let (dash, bar) = (theme.either("─", "-"), theme.either("│", "|"));
        let corner = |unicode| theme.either(unicode, "+");
        let head = format!("{} {}", corner("┌"), paint(theme::HEAD, self.name));
        let mut lines = vec![format!("{head} {}{}", dash.repeat(self.inner - width(self.name)), corner("┐"))];
        for index in 0..height {
            let (name, labels) = self.lines.get(index).map_or(("", ""), |(name, labels)| (name, labels));
            let blanks = pad(width(name) + 2 + width(labels), self.inner);
            let extra = if self.inner < width(name) + 2 + width(labels) { "" } else { &*blanks };
            lines.push(format!("{bar} {name}  {}{extra} {bar}", paint(theme::FAINT, labels)));
        }
        let middle = if connected { theme.either("┬", "+") } else { dash };
        let left = self.inner / 2 + 1;
        let foot = format!("{}{}", corner("└"), dash.repeat(left));
        lines.push(format!("{foot}{middle}{}{}", dash.repeat(self.inner + 1 - left), corner("┘")));
        lines
    }
}

/// The lines that join both nodes and lead to the metadata server.
fn below(left: usize, right: usize, cloud: Cloud, theme: Theme) -> Vec<String> {
    let (dash, bar) = (theme.either("─", "-"), theme.either("│", "|"));
    let (first, second) = ((left - 2) / 2 + 1, left + GAP + (right - 2) / 2 + 1);
    let middle = usize::midpoint(first, second);
    let join = format!(
        "{}{}{}{}{}{}",
        pad(0, first),
        theme.either("└", "+"),
        dash.repeat(middle - first - 1),
        theme.either("┬", "+"),
        dash.repeat(second - middle - 1),
        theme.either("┘", "+"),
    );
    let server = server(cloud);
    let start = middle.saturating_sub(width(&server) / 2);
    vec![join, format!("{}{bar}", pad(0, middle)), format!("{}{}", pad(0, start), paint(theme::HEAD, &server))]
}

fn server(cloud: Cloud) -> String {
    match cloud {
        Cloud::Gcp => "Google's metadata server (emulated)".to_owned(),
        _ => format!("the metadata server of {} (emulated)", cloud.definition().title),
    }
}

fn name(pod: &PodSpec) -> String {
    let mut name = match pod.namespace.as_str() {
        crate::scenario::DEFAULT_NAMESPACE => pod.name.clone(),
        namespace => format!("{namespace}/{}", pod.name),
    };
    if pod.host_network {
        name.push_str(" (host network)");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn plain(unicode: bool, columns: usize) -> String {
        let text = render(&testing::lab(), Theme { unicode, width: columns });
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn beside_each_other() {
        insta::assert_snapshot!(plain(true, 100));
    }

    #[test]
    fn below_each_other_and_in_ascii() {
        insta::assert_snapshot!(plain(false, 60));
    }
}
