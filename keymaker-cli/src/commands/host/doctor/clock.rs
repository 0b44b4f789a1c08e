//! This host's clock, against the metadata service's, which every answer of its carries (RFC 9110, Date). It asks for
//! nothing secret.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use aws_sdk_iam::primitives::{DateTime, DateTimeFormat};

use super::Findings;
use super::finding::FaultCause;

const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
const PATIENCE: Duration = Duration::from_secs(1);
/// AWS refuses what is signed five minutes off; a fifth of it no longer has a chance.
const OFF: u64 = 60;

/// Looks at the clock. Where the metadata service does not say what time it is, there is nothing to compare.
pub fn look(found: &mut Findings) {
    let Some(there) = head().ok().as_deref().and_then(date) else {
        return;
    };
    let here = SystemTime::now();
    let (off, how) = match here.duration_since(there) {
        Ok(ahead) => (ahead.as_secs(), "ahead of"),
        Err(error) => (error.duration().as_secs(), "behind"),
    };
    if off > OFF {
        found
            .fault(
                format!("this host's clock is {off} seconds {how} the metadata service's"),
                "AWS refuses requests that are signed five minutes off, and expiry, max_stale and logins by proof are judged by it",
                "timedatectl set-ntp true; chronyc makestep; keymaker sync",
            )
            .is(FaultCause::Clock);
    }
}

/// The head of the service's answer, whatever the answer is.
fn head() -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SERVICE, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"HEAD /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn date(head: &str) -> Option<SystemTime> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = fields.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    let date = DateTime::from_str(date.trim(), DateTimeFormat::HttpDate).ok()?;
    date.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_whatever_the_answer() {
        let head = "HTTP/1.1 401 Unauthorized\r\nServer: EC2ws\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(date(head), Some(then));
        assert_eq!(date("HTTP/1.1 200 OK\r\n\r\n"), None);
    }
}
