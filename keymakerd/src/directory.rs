//! From IAM to the directory: what keymakerd asks AWS about people, and what it makes of the answers.
//!
//! Read in this order: `service` (what is known), `asking` (how it becomes known), `facts` (what an answer changes),
//! `entitlement` (who gets a name, a number and a verdict by it), `publishing` (what others see of it).

pub mod asking;
pub mod entitlement;
pub mod facts;
pub mod iam;
pub mod orders;
pub mod outcome;
pub mod publishing;
pub mod service;
pub mod state;
#[cfg(test)]
mod tests;
