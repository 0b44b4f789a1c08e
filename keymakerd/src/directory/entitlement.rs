//! Who of the people and groups in IAM has which name, number and verdict on this host: rules, which ask nobody and
//! write nothing.

pub mod ending;
pub mod entitled;
pub mod ids;
pub mod names;
pub mod neighbours;
pub mod passwd_fields;
pub mod refused;
pub mod verdict;
