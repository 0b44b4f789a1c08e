//! Brings requests for the metadata address to credd, and keeps everybody else from the real service.
//!
//! credd-capture uses it, with CAP_NET_ADMIN; credd itself has no capability and uses none of this. It has three parts: routing brings
//! requests here without NAT, the guard stops what routing cannot see (a connection from before, another port), and a filter at the
//! way out of every device stops what the guard has not judged. Any one holds alone. Nothing here reads what users send.

pub mod commands;
pub mod egress;
pub mod guard;
pub mod keeper;
pub mod last_plan;
pub mod observed;
pub mod plan;
pub mod repair;
pub mod routing;
pub mod state;
pub mod watch;
