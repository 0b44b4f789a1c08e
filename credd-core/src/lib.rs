//! What credd and credd-capture must agree on: what credd.toml says, whom capture spares, where the metadata service is
//! and what may be asked of it. It knows neither HTTP nor AWS's clients, so that credd-capture links neither.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod capture_state;
pub mod config;
pub mod metadata;
pub mod plan;
pub mod time_text;
