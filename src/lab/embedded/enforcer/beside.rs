//! Tables beside that of the policies: packets that are lost on purpose, and places that lead elsewhere.

use std::net::{IpAddr, SocketAddr};

use nlink::netlink::{
    Connection, Nftables,
    nftables::{
        BaseChain, ByteorderOp, Chain, CmpOp, Expr, Family, FilterHook, NatHook, NatStatement, NumgenKind, Priority,
        Register, Rule,
    },
};

const IMPAIR: &str = "policyprobe-impair";
const REDIRECT: &str = "policyprobe-redirect";
const INET: Family = Family::Inet;

/// Drops a share of what passes one pod's device, both ways; nothing where the share is 0.
pub(in crate::lab::embedded) async fn impair(
    nft: &Connection<Nftables>,
    device: &str,
    loss_percent: u8,
) -> nlink::Result<()> {
    nft.del_table_if_exists(IMPAIR, INET).await?;
    if loss_percent == 0 {
        return Ok(());
    }
    let lose = |rule: Rule| {
        rule.expr(Expr::Numgen { dreg: Register::R0, kind: NumgenKind::Random, modulus: 100, offset: 0 })
            // Compared as bytes, so the number has to be in network order.
            .expr(Expr::Byteorder { sreg: Register::R0, dreg: Register::R0, op: ByteorderOp::Hton, len: 4, size: 4 })
            .expr(Expr::Cmp { sreg: Register::R0, op: CmpOp::Lt, data: u32::from(loss_percent).to_be_bytes().to_vec() })
            .drop()
    };
    let chain = |name: &str, hook| {
        Ok::<_, nlink::Error>(Chain::new(IMPAIR, name)?.family(INET).base(BaseChain::filter(hook, Priority::Raw)))
    };
    let on = |chain| Rule::new(IMPAIR, chain).family(INET);
    nft.transaction()
        .add_table(IMPAIR, INET)
        .add_chain(chain("from", FilterHook::Prerouting)?)
        .add_chain(chain("to", FilterHook::Postrouting)?)
        .add_rule(lose(on("from").match_iif(device)))
        .add_rule(lose(on("to").match_oif(device)))
        .commit(nft)
        .await
}

/// Leads what local pods send to these places to an agent of the node instead, at the address that it has in the place's
/// family, as kiam and GKE do. Connections are then the node's own business: what forwards, and judges what is forwarded,
/// never sees them.
pub(in crate::lab::embedded) async fn redirect(
    nft: &Connection<Nftables>,
    pods: &str,
    places: &[SocketAddr],
    (agents, port): (&[IpAddr], u16),
) -> nlink::Result<()> {
    let nat = BaseChain::nat(NatHook::Prerouting, Priority::DstNat);
    let chain = Chain::new(REDIRECT, "prerouting")?.family(INET).base(nat);
    let mut tx = nft.transaction().add_table(REDIRECT, INET).add_chain(chain);
    for place in places {
        let rule = Rule::new(REDIRECT, "prerouting").family(INET).match_iif_prefix(pods);
        let rule = match place.ip() {
            IpAddr::V4(v4) => rule.match_daddr_v4(v4, 32),
            IpAddr::V6(v6) => rule.match_daddr_v6(v6, 128),
        };
        let Some(agent) = agents.iter().find(|agent| agent.is_ipv4() == place.is_ipv4()) else { continue };
        tx = tx.add_rule(rule.match_tcp_dport(place.port()).nat(NatStatement::dnat(*agent).port(port)));
    }
    tx.commit(nft).await
}
