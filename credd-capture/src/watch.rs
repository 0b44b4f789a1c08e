//! Waits until somebody changes rules, routes, filters or nftables.
//!
//! The keeper sleeps here. The kernel's notices are not read, only counted: what changed is found by comparing with the
//! plan, so a notice that is lost or forged costs nothing but a comparison.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// The kernel's notices.
pub struct Changes {
    sockets: [OwnedFd; 2],
}

impl Changes {
    /// Notices of everything from now on.
    pub fn subscribe() -> io::Result<Self> {
        Ok(Self {
            sockets: [
                listen(NETLINK_ROUTE, ROUTING_GROUPS)?,
                listen(Some(NETFILTER), NFTABLES_GROUPS)?,
            ],
        })
    }

    /// Whether anything changed within `patience`. Everything that has come is counted as one change.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut waiting = self.sockets.each_ref().map(|socket| PollFd::new(socket, PollFlags::IN));
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(_) => {
                self.sockets.iter().for_each(drain);
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn listen(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Until there is nothing more. ENOBUFS, notices lost, is a notice as well and ends nothing.
fn drain(socket: &OwnedFd) {
    let mut waste = [0_u8; 8192];
    loop {
        match recv(socket, &mut waste, RecvFlags::empty()) {
            Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Protocol 0 of its address family.
const NETLINK_ROUTE: Option<Protocol> = None;
/// `linux/rtnetlink.h`: `RTMGRP_LINK`, `RTMGRP_TC`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV4_RULE`, `RTMGRP_IPV6_ROUTE`, and
/// group `RTNLGRP_IPV6_RULE` (19).
const ROUTING_GROUPS: u32 = 0x1 | 0x8 | 0x40 | 0x80 | 0x400 | 1 << 18;
/// `linux/netfilter/nfnetlink.h`: group `NFNLGRP_NFTABLES` (7).
const NFTABLES_GROUPS: u32 = 1 << 6;
