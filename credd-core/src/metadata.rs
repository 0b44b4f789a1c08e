//! The metadata service as both programs see it: its addresses, the paths that it has, and who may read them.

pub mod path;
pub mod route_table;
pub mod routes;
pub mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the metadata service.
pub const METADATA_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
