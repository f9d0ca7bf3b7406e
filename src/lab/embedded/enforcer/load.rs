//! Hands a compiled ruleset to a node's kernel, in one transaction.
//!
//! Connections are judged where they are forwarded: `forward` sends those of a local pod to its egress chain, what
//! passes goes on to `ingress`, and that to the chain of the local pod it is for. A node's own traffic, and a pod's with
//! its own node, is not forwarded and so not judged. Every chain ends in a drop: a look-up that misses, as one can while
//! the kernel swaps rules under traffic, never lets a packet through.

use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use nlink::netlink::{
    Connection, Nftables,
    nftables::{
        BaseChain, Chain, CtState, Expr, Family, FilterHook, PacketField, PayloadBase, Policy, Priority, RangeOp,
        Register, Rule, Set, SetElement, SetKeyType, Transaction, Verdict,
    },
};

use super::{Accept, Addresses, Direction, Peers, PodRules, PortRange, Quirk, Ruleset};
use crate::{lab::embedded::DenyBy, scenario::Protocol};

const TABLE: &str = "policyprobe";
const INET: Family = Family::Inet;
/// One netlink message takes at most 64 KiB of elements.
const ELEMENTS_A_MESSAGE: usize = 500;
/// The default send buffer holds some 150 rules; the kernel caps this at `net.core.wmem_max`.
const SEND_BUFFER: usize = 4 << 20;
const SCTP: u8 = 132;
const DNS: u16 = 53;
/// IPv6's questions for a neighbour's link address, and the answers: no traffic of anybody's, and without them there is none.
const NEIGHBOURS: [u8; 2] = [135, 136];

/// How a node's devices are named.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab::embedded) struct Devices {
    /// What the names of the devices towards pods begin with.
    pub(in crate::lab::embedded) pods: &'static str,
    /// The devices towards the rest of the world.
    pub(in crate::lab::embedded) uplinks: &'static [&'static str],
}

/// Puts a ruleset in the place of the one before, if there was one.
pub(in crate::lab::embedded) async fn load(
    nft: &Connection<Nftables>,
    ruleset: &Ruleset,
    devices: Devices,
    deny_by: DenyBy,
    replace: bool,
) -> nlink::Result<()> {
    setsockopt(nft.socket(), SndBuf, &SEND_BUFFER).map_err(std::io::Error::from)?;
    let mut tables = nft.transaction();
    if replace {
        tables = tables.del_table(TABLE, INET);
    }
    let mut loader = Loader { tx: Some(tables.add_table(TABLE, INET)), deny_by, quirk: ruleset.quirk };
    loader.base_chains(devices)?;
    if ruleset.quirk == Some(Quirk::JudgesOwnNode) {
        loader.own_node(devices)?;
    }
    for (index, pod) in ruleset.pods.iter().enumerate() {
        loader.direction(&EGRESS, index, &pod.egress)?;
        loader.direction(&INGRESS, index, &pod.ingress)?;
    }
    for side in [&EGRESS, &INGRESS] {
        loader.pods(side, &ruleset.pods, devices)?;
    }
    loader.add(|tx| tx.add_rule(rule("ingress").drop()));
    loader.tx.take().expect("it is put back after each change").commit(nft).await
}

/// What differs between the two directions.
struct Side {
    name: &'static str,
    /// The fields with the other end's address, IPv4 and IPv6.
    peer: [PacketField; 2],
    /// The fields with the pod's address.
    own: [PacketField; 2],
    /// The chain for what passes; none where it is accepted for good.
    passed: Option<&'static str>,
}

const SOURCE: [PacketField; 2] = [PacketField::Ip4Saddr, PacketField::Ip6Saddr];
const DESTINATION: [PacketField; 2] = [PacketField::Ip4Daddr, PacketField::Ip6Daddr];
const EGRESS: Side = Side { name: "egress", peer: DESTINATION, own: SOURCE, passed: Some("ingress") };
const INGRESS: Side = Side { name: "ingress", peer: SOURCE, own: DESTINATION, passed: None };

impl Side {
    fn chain(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    fn verdict(&self) -> nlink::Result<Verdict> {
        self.passed.map_or(Ok(Verdict::Accept), |chain| Ok(Verdict::GotoTo(chain.parse()?)))
    }

    fn pass(&self, rule: Rule) -> nlink::Result<Rule> {
        match self.passed {
            None => Ok(rule.accept()),
            Some(chain) => rule.try_goto(chain),
        }
    }
}

fn rule(chain: &str) -> Rule {
    Rule::new(TABLE, chain).family(INET)
}

struct Loader {
    tx: Option<Transaction>,
    deny_by: DenyBy,
    quirk: Option<Quirk>,
}

impl Loader {
    fn add(&mut self, change: impl FnOnce(Transaction) -> Transaction) {
        self.tx = self.tx.take().map(change);
    }

    fn base_chains(&mut self, devices: Devices) -> nlink::Result<()> {
        let base = BaseChain::filter(FilterHook::Forward, Priority::Filter).policy(Policy::Drop);
        let forward = Chain::new(TABLE, "forward")?.family(INET).base(base);
        let ingress = Chain::new(TABLE, "ingress")?.family(INET);
        let known = rule("forward").match_ct_state(CtState::ESTABLISHED | CtState::RELATED);
        self.add(|tx| tx.add_chain(forward).add_chain(ingress));
        match self.quirk {
            Some(Quirk::JudgesReplies) => {}
            Some(Quirk::OnlyConnectionsSince(number)) => {
                let first = rule("forward").match_ct_state(CtState::NEW).set_ct_mark(number);
                let other = rule("forward").match_ct_state(CtState::ESTABLISHED).drop();
                self.add(|tx| tx.add_rule(first).add_rule(known.match_ct_mark(number).accept()).add_rule(other));
            }
            _ => self.add(|tx| tx.add_rule(known.accept())),
        }
        if self.quirk == Some(Quirk::TrustsDnsPort) {
            let from_dns = rule("forward").match_range(PacketField::UdpSport, DNS, DNS).accept();
            self.add(|tx| tx.add_rule(from_dns));
        }
        for uplink in devices.uplinks {
            // The egress of what comes from elsewhere was judged there, or is nobody's business.
            let elsewhere = rule("forward").match_iif(uplink).try_goto("ingress")?;
            let leaves = rule("ingress").match_oif(uplink).accept();
            self.add(|tx| tx.add_rule(elsewhere).add_rule(leaves));
        }
        Ok(())
    }

    /// Judges what the node itself sends to its pods, as a mutant does; replies to them pass.
    fn own_node(&mut self, devices: Devices) -> nlink::Result<()> {
        let output =
            Chain::new(TABLE, "output")?.family(INET).base(BaseChain::filter(FilterHook::Output, Priority::Filter));
        let known = rule("output").match_ct_state(CtState::ESTABLISHED | CtState::RELATED).accept();
        let to_pods = rule("output").match_oif_prefix(devices.pods).try_goto("ingress")?;
        self.add(|tx| tx.add_chain(output).add_rule(known));
        for kind in NEIGHBOURS {
            self.add(|tx| tx.add_rule(rule("output").match_icmpv6_type(kind).accept()));
        }
        self.add(|tx| tx.add_rule(to_pods));
        Ok(())
    }

    /// The chain of an isolated pod in one direction.
    fn direction(&mut self, side: &Side, index: usize, direction: &Direction) -> nlink::Result<()> {
        let Direction::Isolated(accepts) = direction else { return Ok(()) };
        let chain = side.chain(index);
        let declared = Chain::new(TABLE, chain.as_str())?.family(INET);
        self.add(|tx| tx.add_chain(declared));
        for (number, accept) in accepts.iter().enumerate() {
            self.accept(side, &chain, number, accept)?;
        }
        let last = rule(&chain);
        let deny_by = self.deny_by;
        self.add(|tx| match deny_by {
            DenyBy::Drop => tx.add_rule(last.counter().drop()),
            DenyBy::Reject => tx
                .add_rule(last.clone().counter().reject_tcp_reset())
                .add_rule(last.clone().counter().reject())
                .add_rule(last.drop()),
        });
        Ok(())
    }

    fn accept(&mut self, side: &Side, chain: &str, number: usize, accept: &Accept) -> nlink::Result<()> {
        let peers = match &accept.peers {
            Peers::Any => vec![rule(chain)],
            Peers::Only(addresses) => self.address_sets(side, &format!("{chain}-{number}"), chain, addresses),
        };
        for peer in peers {
            let each: Vec<Rule> = match &accept.ports {
                None => vec![peer],
                Some(ports) => {
                    let from = ports.iter().filter(|_| self.quirk == Some(Quirk::ReadsBothPorts));
                    let from = from.filter_map(|range| from_port(peer.clone(), *range));
                    ports.iter().map(|range| on_port(peer.clone(), *range)).chain(from).collect()
                }
            };
            for rule in each {
                let rule = side.pass(rule.comment(&accept.rule))?;
                self.add(|tx| tx.add_rule(rule));
            }
        }
        Ok(())
    }

    /// A rule for each family that has addresses, over a set of them.
    fn address_sets(&mut self, side: &Side, name: &str, chain: &str, addresses: &Addresses) -> Vec<Rule> {
        let families = [(SetKeyType::Ipv4Addr, &addresses.v4, 12), (SetKeyType::Ipv6Addr, &addresses.v6, 0)];
        let mut rules = Vec::new();
        for (index, (key, ranges, skip)) in families.into_iter().enumerate().filter(|(_, (_, all, _))| !all.is_empty())
        {
            let bytes = |number: u128| number.to_be_bytes()[skip..].to_vec();
            let elements: Vec<_> = ranges.iter().map(|&(a, b)| SetElement::range(bytes(a), bytes(b))).collect();
            let set = Set::new(TABLE, &format!("{name}-{index}")).family(INET).key_type(key).interval();
            rules.push(rule(chain).match_in_interval_set(side.peer[index], set.name()));
            self.set(&set, &elements);
        }
        rules
    }

    /// Where the local pods' traffic goes, by address: an explicit element also for those that are not isolated.
    fn pods(&mut self, side: &Side, pods: &[PodRules], devices: Devices) -> nlink::Result<()> {
        let mut elements = [Vec::new(), Vec::new()];
        for (index, pod) in pods.iter().enumerate() {
            let direction = if side.passed.is_some() { &pod.egress } else { &pod.ingress };
            let verdict = match direction {
                Direction::Open => side.verdict()?,
                Direction::Isolated(_) => Verdict::GotoTo(side.chain(index).parse()?),
            };
            for address in &pod.addresses {
                match address {
                    std::net::IpAddr::V4(v4) => elements[0].push(SetElement::ipv4(*v4).verdict(verdict.clone())),
                    std::net::IpAddr::V6(v6) => elements[1].push(SetElement::ipv6(*v6).verdict(verdict.clone())),
                }
            }
        }
        for (index, key) in [SetKeyType::Ipv4Addr, SetKeyType::Ipv6Addr].into_iter().enumerate() {
            let map = Set::new(TABLE, &format!("{}-pods-{index}", side.name)).family(INET).key_type(key).vmap();
            let base = match side.passed {
                Some(_) => rule("forward").match_iif_prefix(devices.pods),
                None => rule("ingress").match_oif_prefix(devices.pods),
            };
            let look_up = base.vmap(side.own[index], map.name());
            self.set(&map, &elements[index]);
            self.add(|tx| tx.add_rule(look_up));
        }
        Ok(())
    }

    fn set(&mut self, set: &Set, elements: &[SetElement]) {
        self.add(|tx| tx.add_set(set.clone()));
        for some in elements.chunks(ELEMENTS_A_MESSAGE) {
            self.add(|tx| tx.add_set_elements(set, some));
        }
    }
}

fn on_port(rule: Rule, range: PortRange) -> Rule {
    let PortRange { protocol, first, last } = range;
    let every = (first, last) == (0, u16::MAX);
    match protocol {
        Protocol::Tcp if every => rule.match_l4proto(6),
        Protocol::Udp if every => rule.match_l4proto(17),
        Protocol::Sctp if every => rule.match_l4proto(SCTP),
        Protocol::Tcp => rule.match_range(PacketField::TcpDport, first, last),
        Protocol::Udp => rule.match_range(PacketField::UdpDport, first, last),
        Protocol::Sctp => rule
            .match_l4proto(SCTP)
            .expr(Expr::Payload { dreg: Register::R0, base: PayloadBase::Transport, offset: 2, len: 2 })
            .expr(Expr::Range {
                sreg: Register::R0,
                op: RangeOp::Eq,
                from: first.to_be_bytes().to_vec(),
                to: last.to_be_bytes().to_vec(),
            }),
    }
}

/// What a mutant takes for the same; it has not thought of SCTP.
fn from_port(rule: Rule, PortRange { protocol, first, last }: PortRange) -> Option<Rule> {
    match protocol {
        Protocol::Tcp => Some(rule.match_range(PacketField::TcpSport, first, last)),
        Protocol::Udp => Some(rule.match_range(PacketField::UdpSport, first, last)),
        Protocol::Sctp => None,
    }
}

/// The rules in force, in nft's words, each with its chain and what it has counted.
pub(in crate::lab::embedded) async fn listing(nft: &Connection<Nftables>) -> nlink::Result<Vec<String>> {
    let rules = nft.list_rules(TABLE, INET).await?;
    let line = |rule: &nlink::netlink::nftables::RuleInfo| {
        let counted = rule.counter().map(|(packets, _)| format!(" [{packets} packets]")).unwrap_or_default();
        format!("{}: {}{counted}", rule.chain, rule.nft_syntax_stateless().unwrap_or_default())
    };
    Ok(rules.iter().map(line).collect())
}
