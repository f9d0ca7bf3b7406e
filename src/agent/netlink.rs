//! The three rtnetlink requests that the agent makes, rtnetlink(7). A library for all of netlink takes longer to build
//! than the whole agent.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

/// The kernel's routing socket of this network namespace.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    /// Opens the socket.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?))
    }

    /// Makes a prefix unreachable in the main table, at this metric.
    pub(crate) fn unreachable(&self, address: IpAddr, length: u8, metric: u32) -> io::Result<()> {
        let priority = attribute(libc::RTA_PRIORITY, &metric.to_ne_bytes());
        self.new_route(libc::RTN_UNREACHABLE, (address, length), priority)
    }

    /// Leads to an address by a gateway of the same family, in the main table.
    pub(crate) fn route(&self, address: IpAddr, gateway: IpAddr) -> io::Result<()> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        self.new_route(libc::RTN_UNICAST, (address, length), attribute(libc::RTA_GATEWAY, &octets(gateway).1))
    }

    fn new_route(&self, kind: u8, (address, length): (IpAddr, u8), how: Vec<u8>) -> io::Result<()> {
        let (family, octets) = octets(address);
        let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
        // struct rtmsg.
        let mut body = vec![family, length, 0, 0, table, protocol, libc::RT_SCOPE_UNIVERSE, kind];
        body.extend(0_u32.to_ne_bytes());
        body.extend(attribute(libc::RTA_DST, &octets));
        body.extend(how);
        self.request(libc::RTM_NEWROUTE, &body)
    }

    /// Adds an address, alone in its subnet, to an interface.
    pub(crate) fn add_address(&self, interface: u32, address: IpAddr) -> io::Result<()> {
        let (family, octets) = octets(address);
        let length = if address.is_ipv4() { 32 } else { 128 };
        // struct ifaddrmsg. Without the flag an IPv6 address is tentative for a moment, and nobody can listen on it.
        let flags = u8::try_from(libc::IFA_F_NODAD).map_err(io::Error::other)?;
        let mut body = vec![family, length, flags, libc::RT_SCOPE_UNIVERSE];
        body.extend(interface.to_ne_bytes());
        body.extend(attribute(libc::IFA_LOCAL, &octets));
        body.extend(attribute(libc::IFA_ADDRESS, &octets));
        self.request(libc::RTM_NEWADDR, &body)
    }

    /// Sends one request and reads the kernel's acknowledgement. What is there already is replaced.
    fn request(&self, kind: u16, body: &[u8]) -> io::Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let flags = u16::try_from(flags).map_err(io::Error::other)?;
        // struct nlmsghdr; one request at a time needs no sequence numbers.
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        send(self.0.as_raw_fd(), &[&header, body].concat(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let read = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // struct nlmsgerr: a header and a negative error number, zero for success.
        match answer.get(..read).and_then(|answer| answer.get(16..20)?.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The address family and the address.
fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AddressFamily::Inet as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AddressFamily::Inet6 as u8, v6.octets().to_vec()),
    }
}

/// struct rtattr. All values here have a multiple of four bytes, as the next attribute needs.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}
