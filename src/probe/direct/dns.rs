//! One question to the name servers, RFC 1035: the message, and the asking.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::names::Names;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
/// Flags: a question that asks for recursion.
const RECURSE: u16 = 0x0100;
/// The response code for a name that does not exist.
const NO_SUCH_NAME: u8 = 3;
/// A question is sent again after this share of what is left of its time.
const SENT: u32 = 3;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Address(IpAddr),
    /// No such name, or no address of the family.
    Nothing,
    /// The server could not say.
    Failed(u8),
}

/// The address of a name. The error says why there is none.
pub(super) async fn resolve(
    names: &Names,
    socket: &UdpSocket,
    name: &str,
    v6: bool,
    limit: Duration,
) -> Result<IpAddr, String> {
    let deadline = Instant::now() + limit;
    let mut why = format!("there is no `{name}`");
    for candidate in names.candidates(name) {
        match ask(names, socket, &candidate, v6, deadline).await? {
            Said::Address(address) => return Ok(address),
            Said::Nothing => {}
            Said::Failed(code) => why = format!("the name server answered with code {code}"),
        }
    }
    Err(why)
}

async fn ask(names: &Names, socket: &UdpSocket, name: &str, v6: bool, deadline: Instant) -> Result<Said, String> {
    let began = Instant::now();
    let [first, second, ..] = RandomState::new().hash_one(name).to_be_bytes();
    let id = u16::from_be_bytes([first, second]);
    let message = message(id, name, v6).ok_or_else(|| format!("`{name}` is no name"))?;
    let mut buffer = [0; 4096];
    let mut why = "no name server is known".to_owned();
    for number in 0..SENT {
        for server in &names.servers {
            if let Err(error) = socket.send_to(&message, server).await {
                why = format!("{server}: {error}");
            }
        }
        let until = began + deadline.saturating_duration_since(began) * (number + 1) / SENT;
        while let Ok(received) = timeout_at(until, socket.recv_from(&mut buffer)).await {
            let Ok((length, from)) = received else {
                // An error on the way to one server is no answer of another.
                tokio::task::yield_now().await;
                continue;
            };
            if let Some(said) = read(&buffer[..length], id, v6).filter(|_| names.servers.contains(&from)) {
                return Ok(said);
            }
        }
        if names.servers.is_empty() {
            break;
        }
        why = format!("no answer for `{name}` from the name server");
    }
    Err(why)
}

/// A question's bytes; none where the name cannot be one.
fn message(id: u16, name: &str, v6: bool) -> Option<Vec<u8>> {
    let mut bytes = [id, RECURSE, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([if v6 { TYPE_AAAA } else { TYPE_A }, 1].into_iter().flat_map(u16::to_be_bytes));
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// Reads the answer to the question with this id; none where it is something else.
fn read(bytes: &[u8], id: u16, v6: bool) -> Option<Said> {
    let number = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
    let (flags, questions, answers) = (number(2)?, number(4)?, number(6)?);
    if number(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    match flags.to_be_bytes()[1] & 0xf {
        0 => {}
        NO_SUCH_NAME => return Some(Said::Nothing),
        code => return Some(Said::Failed(code)),
    }
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(bytes, at)? + 4;
    }
    for _ in 0..answers {
        at = after_name(bytes, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        // Aliases are followed by the addresses that they stand for.
        let address = match (kind, v6) {
            (TYPE_A, false) => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
            (TYPE_AAAA, true) => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
            _ => None,
        };
        if let Some(address) = address {
            return Some(Said::Address(address));
        }
    }
    Some(Said::Nothing)
}

/// Where a name ends that begins here.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// An answer with an alias before the address.
    fn answer(id: u16, code: u8, data: &[u8], kind: u16) -> Vec<u8> {
        let mut bytes = message(id, "a.bc", false).unwrap();
        bytes[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        bytes[7] = 2;
        for (kind, data) in [(5, &b"\x01x\x00"[..]), (kind, data)] {
            bytes.extend([0xc0, 12]);
            bytes.extend([kind, 1, 0, 60, u16::try_from(data.len()).unwrap()].into_iter().flat_map(u16::to_be_bytes));
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn an_address_is_found_behind_an_alias() {
        let found = answer(7, 0, &[10, 0, 0, 1], TYPE_A);
        assert_eq!(read(&found, 7, false), Some(Said::Address(IpAddr::from([10, 0, 0, 1]))));
        assert_eq!(read(&found, 7, true), Some(Said::Nothing));
        assert_eq!(read(&found, 8, false), None, "another question's");
        assert_eq!(read(&answer(7, NO_SUCH_NAME, &[], TYPE_A), 7, false), Some(Said::Nothing));
        assert_eq!(read(&answer(7, 2, &[], TYPE_A), 7, false), Some(Said::Failed(2)));
        for length in 0..found.len() {
            assert_ne!(read(&found[..length], 7, false), Some(Said::Address(IpAddr::from([10, 0, 0, 1]))));
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_not_asked_for() {
        assert_eq!(message(1, "a.bc", false).unwrap()[12..], *b"\x01a\x02bc\x00\x00\x01\x00\x01");
        for name in ["", "a..b", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert_eq!(message(1, name, false), None, "{name}");
        }
    }
}
