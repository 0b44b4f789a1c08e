//! Writes times as the metadata service writes them.
//!
//! Replies and audit lines use it. It reads no clock: the time comes in.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// `2026-11-21T19:30:54Z`: exactly the form that every SDK parses; fractions and offsets are not.
pub fn iso8601(time: SystemTime) -> String {
    let at = moment(time);
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", at.date())
}

/// `Sat, 21 Nov 2026 19:30:54 GMT`, the IMF-fixdate of RFC 9110, 5.6.7.
pub fn http_date(time: SystemTime) -> String {
    let at = moment(time);
    let (weekday, day, month, year) = (at.weekday(), at.day(), at.month(), at.year());
    let (hour, minute, second) = at.to_hms();
    format!("{weekday:.3}, {day:02} {month:.3} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Times before 1970 count as its beginning, and so do those after 9999: whatever ends then has ended.
fn moment(time: SystemTime) -> OffsetDateTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let moment = i64::try_from(seconds).map(OffsetDateTime::from_unix_timestamp);
    moment.ok().and_then(Result::ok).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_date_1_writes_them() {
        // Expected values: date -u -d @N '+%FT%TZ' and '+%a, %d %b %Y %T GMT'.
        for (seconds, iso, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_767_225_599, "2025-12-31T23:59:59Z", "Wed, 31 Dec 2025 23:59:59 GMT"),
            (1_795_289_454, "2026-11-21T19:30:54Z", "Sat, 21 Nov 2026 19:30:54 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!((iso8601(time).as_str(), http_date(time).as_str()), (iso, http));
        }
        for beyond in [
            UNIX_EPOCH - Duration::from_secs(1),
            UNIX_EPOCH + Duration::from_secs(253_402_300_800),
        ] {
            assert_eq!(iso8601(beyond), "1970-01-01T00:00:00Z");
        }
    }
}
