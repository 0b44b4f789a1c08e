//! Writes times as the metadata service writes them.
//!
//! Replies and audit lines use it. It reads no clock: the time comes in.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-21T19:30:54Z`: exactly the form that every SDK parses; fractions and offsets are not.
pub fn iso8601(time: SystemTime) -> String {
    let Moment {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = Moment::of(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `Sat, 21 Nov 2026 19:30:54 GMT`, the IMF-fixdate of RFC 9110, 5.6.7.
pub fn http_date(time: SystemTime) -> String {
    let Moment {
        year,
        month,
        day,
        hour,
        minute,
        second,
        weekday,
    } = Moment::of(time);
    let name = |names: &'static str, index: u64| {
        names
            .split(' ')
            .nth(usize::try_from(index).unwrap_or(usize::MAX))
            .unwrap_or_default()
    };
    let (weekday, month) = (name(WEEKDAYS, weekday), name(MONTHS, month.saturating_sub(1)));
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    weekday: u64,
}

impl Moment {
    /// Times before 1970 count as its beginning. The calendar is counted from 1 March of year 0, so that the leap day is
    /// the last of its year.
    fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let since_march_0 = days + 719_468;
        let (era, day_of_era) = (since_march_0 / 146_097, since_march_0 % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            // 1 January 1970 was a Thursday.
            weekday: (days + 4) % 7,
        }
    }
}

const WEEKDAYS: &str = "Sun Mon Tue Wed Thu Fri Sat";
const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";

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
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!((iso8601(time).as_str(), http_date(time).as_str()), (iso, http));
        }
    }
}
