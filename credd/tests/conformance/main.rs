//! The metadata protocol, row by row: the table is docs/metadata-protocol.md, a row's test has its number.
//!
//! The real server code answers over loopback, on IPv4 and again on IPv6, in front of a stand-in for the real service
//! that records every request it gets. Callers are identified by the kernel; where a row needs several uids, the stand
//! renames the uid that the kernel named. Beside the rows: what is written down of each answer, and random requests.

#[cfg(test)]
mod audited;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod installed;
#[cfg(test)]
mod reply;
#[cfg(test)]
mod rows_container;
#[cfg(test)]
mod rows_credentials;
#[cfg(test)]
mod rows_http;
#[cfg(test)]
mod rows_metadata;
#[cfg(test)]
mod rows_tokens;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod stand;
#[cfg(test)]
mod stand_in;
