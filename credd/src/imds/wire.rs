//! Reads the head of a request and refuses what two HTTP parsers could read differently.
//!
//! The server calls it before hyper sees a byte. hyper takes a bare LF for a line's end, joins folded lines, drops a
//! Content-Length beside a Transfer-Encoding and takes two equal Content-Lengths for one (RFC 9112 allows or tolerates
//! each); none of our clients sends any of that, and request smuggling does.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a head is not taken.
#[derive(Debug)]
pub enum HeadError {
    /// The client went away, or the connection failed, before the head was whole.
    Closed,
    /// A bare CR or LF, a folded line, or a doubtful length of the body: 400.
    Malformed,
    /// More than 16 KiB or 100 headers: 431.
    TooLarge,
}

/// The first bytes of the connection: a whole head, and what came with it.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HeadError> {
    let mut received = Vec::with_capacity(1024);
    let mut scan = Scan::default();
    loop {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return Err(HeadError::Closed);
        }
        if scan.finds_end(&received)? {
            return Ok(received);
        }
        if received.len() > LONGEST_HEAD {
            return Err(HeadError::TooLarge);
        }
    }
}

/// How far the bytes have been looked at; each is looked at once, however slowly they come.
#[derive(Default)]
struct Scan {
    seen: usize,
    line_start: usize,
    lines: usize,
    lengths: usize,
    after_cr: bool,
}

impl Scan {
    fn finds_end(&mut self, received: &[u8]) -> Result<bool, HeadError> {
        for byte in received.iter().skip(self.seen) {
            self.seen += 1;
            if self.after_cr != (*byte == b'\n') {
                return Err(HeadError::Malformed);
            }
            self.after_cr = *byte == b'\r';
            if *byte == b'\n' {
                let line = received
                    .get(self.line_start..self.seen.saturating_sub(2))
                    .unwrap_or_default();
                self.line_start = self.seen;
                if line.is_empty() && self.lines > 0 {
                    return if self.seen > LONGEST_HEAD {
                        Err(HeadError::TooLarge)
                    } else {
                        Ok(true)
                    };
                }
                self.take_line(line)?;
            }
        }
        Ok(false)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), HeadError> {
        // An empty line before the request line, or one that continues its predecessor.
        if line.first().is_none_or(|first| first.is_ascii_whitespace()) {
            return Err(HeadError::Malformed);
        }
        self.lines += 1;
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let frames = [&b"content-length"[..], b"transfer-encoding"];
        if self.lines > 1 && frames.iter().any(|frame| name.trim_ascii().eq_ignore_ascii_case(frame)) {
            self.lengths += 1;
        }
        match self.lengths {
            2.. => Err(HeadError::Malformed),
            _ if self.lines > 1 + MOST_HEADERS => Err(HeadError::TooLarge),
            _ => Ok(()),
        }
    }
}

const LONGEST_HEAD: usize = 16 * 1024;
/// Also given to hyper.
pub const MOST_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on `bytes`, fed in pieces of `step`.
    fn verdict(bytes: &[u8], step: usize) -> Result<bool, HeadError> {
        let mut scan = Scan::default();
        let mut end = 0;
        while end < bytes.len() {
            end = (end + step).min(bytes.len());
            if scan.finds_end(&bytes[..end])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[test]
    fn a_plain_head_is_whole_however_it_arrives() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
        for step in 1..head.len() {
            assert!(verdict(head, step).unwrap(), "{step}");
        }
        assert!(!verdict(b"GET / HTTP/1.1\r\nHost: x\r\n", 3).unwrap());
    }

    #[test]
    fn every_doubtful_head_is_malformed_however_it_arrives() {
        for head in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\rB: 2\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\n\tfolded\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding : x\r\n\r\n",
        ] {
            for step in [1, 2, 7, 1000] {
                assert!(
                    matches!(verdict(head.as_bytes(), step), Err(HeadError::Malformed)),
                    "{head:?} {step}"
                );
            }
        }
    }

    #[test]
    fn more_than_100_headers_or_16_kib_are_too_large() {
        let head = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: 1\r\n".repeat(count));
        assert!(verdict(head(100).as_bytes(), 4096).unwrap());
        assert!(matches!(verdict(head(101).as_bytes(), 4096), Err(HeadError::TooLarge)));
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(LONGEST_HEAD));
        assert!(matches!(verdict(long.as_bytes(), 4096), Err(HeadError::TooLarge)));
    }
}
