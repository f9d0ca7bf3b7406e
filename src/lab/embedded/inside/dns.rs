//! The cluster's DNS: what kube-dns would say, from a fixed table. UDP and TCP, in a pod of its own.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::timeout,
};

use super::{net::Host, serve, topo};
use crate::scenario::Cloud;

/// Addresses by absolute name, lower case, without the last dot.
pub(super) type Zone = Arc<BTreeMap<String, Vec<IpAddr>>>;

/// A name that every cluster has.
const ALWAYS: &str = "kubernetes.default.svc.cluster.local";
const TTL: u32 = 5;
/// A client that sends nothing for this long is left.
const IDLE: Duration = Duration::from_secs(10);

/// What the lab's DNS knows.
pub(super) fn zone(cloud: Option<Cloud>) -> Zone {
    let mut names = BTreeMap::from([
        (ALWAYS.to_owned(), vec![topo::APISERVER.into()]),
        ("kube-dns.kube-system.svc.cluster.local".to_owned(), vec![topo::COREDNS.into()]),
    ]);
    if let Some(cloud) = cloud {
        let all = serve::addresses(cloud);
        // The usual one of each family: a name stands for no other.
        let usual = |v6: bool| all.iter().copied().find(move |address| address.is_ipv6() == v6);
        let addresses: Vec<IpAddr> = [usual(false), usual(true)].into_iter().flatten().collect();
        names.extend(cloud.definition().hosts.iter().map(|host| ((*host).to_owned(), addresses.clone())));
    }
    Arc::new(names)
}

/// The answer to a message; none where the message is not worth one.
fn answer(request: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    let [query] = &request.queries[..] else {
        response.metadata.response_code = ResponseCode::FormErr;
        return response.to_vec().ok();
    };
    response.add_query(query.clone());
    if request.metadata.op_code != OpCode::Query {
        response.metadata.response_code = ResponseCode::NotImp;
        return response.to_vec().ok();
    }
    response.metadata.authoritative = true;
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let Some(addresses) = zone.get(&name) else {
        response.metadata.response_code = ResponseCode::NXDomain;
        return response.to_vec().ok();
    };
    // A name that exists may have no record of that type.
    for address in addresses {
        let data = match (address, query.query_type()) {
            (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => RData::A(A(*v4)),
            (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(*v6)),
            _ => continue,
        };
        response.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    }
    response.to_vec().ok()
}

/// Answers datagrams, for ever.
pub(super) async fn serve_udp(socket: UdpSocket, zone: Zone) {
    let mut buffer = [0; 4096];
    loop {
        // An error here is that of an earlier answer, which its client did not wait for.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = answer(&buffer[..length], &zone) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// Answers connections, for ever.
pub(super) async fn serve_tcp(listener: TcpListener, zone: Zone) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let zone = zone.clone();
        tokio::spawn(timeout(IDLE, async move {
            while let Ok(length) = stream.read_u16().await {
                let mut request = vec![0; length.into()];
                stream.read_exact(&mut request).await?;
                let Some(answer) = answer(&request, &zone) else { break };
                let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
                stream.write_u16(length).await?;
                stream.write_all(&answer).await?;
            }
            std::io::Result::Ok(())
        }));
    }
}

/// Asks the DNS for the name that every cluster has, from a node.
pub(super) async fn check(node: &Host) -> anyhow::Result<()> {
    let socket = node.datagrams_to((topo::COREDNS, 53).into()).await?;
    let mut request = Message::query();
    request.add_query(Query::query(Name::from_ascii(ALWAYS)?, RecordType::A));
    socket.send(&request.to_vec()?).await?;
    let mut buffer = [0; 4096];
    let length =
        timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await.context("the DNS does not answer")??;
    let response = Message::from_vec(&buffer[..length])?;
    if response.metadata.id != request.metadata.id || response.answers.is_empty() {
        bail!("the DNS does not know {ALWAYS}");
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = answer(&request.to_vec().unwrap(), &zone(Some(Cloud::Gcp))).unwrap();
        let response = Message::from_vec(&answer).unwrap();
        assert_eq!((response.metadata.id, &response.queries), (request.metadata.id, &request.queries));
        response
    }

    #[test]
    fn names_are_resolved_in_any_case() {
        for name in ["metadata.google.internal.", "Metadata.Google.INTERNAL."] {
            let response = ask(name, RecordType::A);
            assert_eq!(response.metadata.response_code, ResponseCode::NoError);
            assert_eq!(response.answers[0].data, RData::A(A(Ipv4Addr::new(169, 254, 169, 254))));
            let v6: Vec<_> = ask(name, RecordType::AAAA).answers.into_iter().map(|answer| answer.data).collect();
            let known = serve::addresses(Cloud::Gcp).into_iter().find_map(|address| match address {
                IpAddr::V6(v6) => Some(RData::AAAA(AAAA(v6))),
                IpAddr::V4(_) => None,
            });
            assert_eq!(v6, Vec::from_iter(known));
        }
    }

    #[test]
    fn a_known_name_without_a_record_is_no_unknown_name() {
        let response = ask("kubernetes.default.svc.cluster.local.", RecordType::AAAA);
        assert_eq!((response.metadata.response_code, response.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(ask("kubernetes.default.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn without_a_cloud_there_is_no_metadata_server_to_find() {
        assert!(!zone(None).contains_key("metadata.google.internal"));
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        assert!(answer(b"", &zone(None)).is_none());
        let response = Message::response(1, OpCode::Query).to_vec().unwrap();
        assert!(answer(&response, &zone(None)).is_none());
        let empty = answer(&Message::query().to_vec().unwrap(), &zone(None)).unwrap();
        assert_eq!(Message::from_vec(&empty).unwrap().metadata.response_code, ResponseCode::FormErr);
    }
}
