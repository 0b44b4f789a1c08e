//! Brings requests for the metadata address to credd, and keeps everybody else from the real service.
//!
//! credd-capture uses it, with CAP_NET_ADMIN; credd itself has no capability and uses none of this. Two halves, both needed:
//! routing brings requests here without NAT, and the guard stops what routing cannot see (a socket bound to a device, a
//! connection from before, forwarded packets). Nothing here reads what users send.

pub mod commands;
pub mod guard;
pub mod keeper;
pub mod last_plan;
pub mod observed;
pub mod plan;
pub mod repair;
pub mod routing;
pub mod state;
pub mod watch;
