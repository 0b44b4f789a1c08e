//! Any bytes as the beginning of a connection: the verdict is the same however they are cut into packets, and a head
//! that is taken ends where another parser (httparse) ends it, with as many headers.

#![no_main]

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use credd::imds::wire::{HeadError, MOST_HEADERS, read_head};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let (whole, left) = verdict(bytes, bytes.len().max(1));
    let (in_pieces, _) = verdict(bytes, usize::from(step).max(1));
    assert_eq!(name(&whole), name(&in_pieces));
    let Ok(received) = whole else { return };
    assert_eq!([&received, left].concat(), bytes);
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if let Ok(httparse::Status::Complete(end)) = request.parse(&received) {
        let head = received.get(..end).expect("the head lies in the bytes");
        assert!(head.ends_with(b"\r\n\r\n"));
        let lines = head.split(|byte| *byte == b'\n').count() - 2;
        assert_eq!(lines, 1 + request.headers.len());
        let framing = request.headers.iter().filter(|header| {
            ["content-length", "transfer-encoding"]
                .iter()
                .any(|name| header.name.eq_ignore_ascii_case(name))
        });
        assert!(framing.count() < 2);
    }
});

/// And the bytes that the connection still has.
fn verdict(bytes: &[u8], step: usize) -> (Result<Vec<u8>, HeadError>, &[u8]) {
    let mut stream = Pieces { bytes, step };
    let verdict = pin!(read_head(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
    match verdict {
        Poll::Ready(verdict) => (verdict, stream.bytes),
        Poll::Pending => panic!("all bytes are there"),
    }
}

fn name(verdict: &Result<Vec<u8>, HeadError>) -> &'static str {
    match verdict {
        Ok(_) => "taken",
        Err(HeadError::Closed) => "closed",
        Err(HeadError::Malformed) => "malformed",
        Err(HeadError::TooLarge) => "too large",
    }
}

/// The bytes, at most `step` at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let len = self.step.min(self.bytes.len()).min(buffer.remaining());
        let (now, later) = self.bytes.split_at(len);
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}
