//! The date in the tag `expires`: read by `users`, which of several counts, and by the verdict.

use time::{Date, Month};

/// The first second after the day `YYYY-MM-DD` in UTC, as unix time; `None` where that is not a date.
pub(crate) fn day_after(date: &str) -> Option<u64> {
    let mut fields = date.split('-');
    let mut number = |len: usize| {
        let field = fields
            .next()
            .filter(|field| field.len() == len && field.bytes().all(|byte| byte.is_ascii_digit()))?;
        field.parse::<u16>().ok()
    };
    let (year, month, day) = (
        number(4)?,
        u8::try_from(number(2)?).ok()?,
        u8::try_from(number(2)?).ok()?,
    );
    let date = Date::from_calendar_date(year.into(), Month::try_from(month).ok()?, day).ok()?;
    let start = date.midnight().assume_utc().unix_timestamp();
    (fields.next().is_none() && start >= 0).then_some(start.unsigned_abs() + 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_ends_with_its_day_in_utc() {
        // date -u -d '2027-01-01' +%s and so on.
        assert_eq!(day_after("1970-01-01"), Some(86_400));
        assert_eq!(day_after("2026-12-31"), Some(1_798_761_600));
        assert_eq!(day_after("2028-02-29"), Some(1_835_481_600));
        assert_eq!(day_after("2000-02-29"), Some(951_868_800));
        assert_eq!(day_after("2400-02-29"), Some(13_574_649_600));
        assert_eq!(day_after("2027-04-30"), Some(1_809_129_600));
    }

    // P7
    #[test]
    fn what_is_no_date_is_none_so_that_the_user_is_refused() {
        for date in [
            "",
            "tomorrow",
            "2026-13-01",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-06-31",
            "2026-09-31",
            "2026-11-31",
            "2026-12-32",
            "2026-1-1",
            "2026-01-01T00",
            "2026-01-01-",
            "+026-01-01",
            "2026-00-10",
            "2026-01-00",
            "1969-12-31",
        ] {
            assert_eq!(day_after(date), None, "{date:?}");
        }
    }
}
