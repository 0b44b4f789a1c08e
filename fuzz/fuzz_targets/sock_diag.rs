//! Any bytes as the kernel's answer about a socket: an owner is read only where the addresses and ports of the
//! connection stand in it.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use credd::imds::sock_diag::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (v6, message) = input;
    let (local, remote): (SocketAddr, SocketAddr) = if v6 {
        let address = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
        ((Ipv6Addr::LOCALHOST, 40_000).into(), (address, 80).into())
    } else {
        (
            (Ipv4Addr::new(10, 0, 0, 1), 40_000).into(),
            (Ipv4Addr::new(169, 254, 169, 254), 80).into(),
        )
    };
    let Ok(socket) = decode(message, local, remote) else {
        return;
    };
    let at = |offset: usize, len: usize| message.get(16 + offset..16 + offset + len).expect("an answer is whole");
    assert_eq!(at(4, 4), [40_000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat());
    assert_eq!(socket.uid.to_ne_bytes(), at(64, 4));
    assert_eq!(socket.inode.to_ne_bytes(), at(68, 4));
});
