//! What it costs to ask the kernel whose a connection is, by credd's own code, for `./bench load`: prints the nanoseconds of the question that
//! credd asks at every connection, and those of the one it asks before a secret.

// Not the tests of credd's file, which want more crates.
#![cfg(not(test))]

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

// The product's, with what only the product uses of it.
#[allow(dead_code)]
#[path = "../../../credd/src/imds/sock_diag.rs"]
mod sock_diag;

use sock_diag::{SockDiag, SockDiagError};

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (_accepted, _) = listener.accept()?;
    let (own, peer) = (client.local_addr()?, client.peer_addr()?);
    let mut kernel = SockDiag::open().map_err(told)?;
    let exact = median(2000, || kernel.exact(own, peer).is_ok())?;
    let all = median(200, || {
        kernel.all(own, peer, &[1, 4, 5]).is_ok_and(|found| found.len() == 1)
    })?;
    println!("{exact} {all}");
    Ok(())
}

fn median(rounds: usize, mut finds: impl FnMut() -> bool) -> Result<u128, Box<dyn Error>> {
    let mut taken = vec![];
    for _ in 0..rounds {
        let began = Instant::now();
        if !finds() {
            return Err("the connection was not found".into());
        }
        taken.push(began.elapsed().as_nanos());
    }
    taken.sort_unstable();
    Ok(taken[rounds / 2])
}

fn told(error: SockDiagError) -> String {
    format!("{error:?}")
}
