//! The date in the tag `expires`: read by `users`, which of several counts, and by the verdict.

/// The first second after the day `YYYY-MM-DD` in UTC, as unix time; `None` where that is no date. Days from civil dates: Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
pub(crate) fn day_after(date: &str) -> Option<u64> {
    let mut fields = date.split('-');
    let mut number = |len: usize| {
        let field = fields
            .next()
            .filter(|field| field.len() == len && field.bytes().all(|byte| byte.is_ascii_digit()))?;
        field.parse::<i64>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if fields.next().is_some() || year < 1970 || !(1..=days).contains(&day) {
        return None;
    }
    let (shifted_year, shifted_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let since_1970 = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    u64::try_from((since_1970 + 1) * 86_400).ok()
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
        ] {
            assert_eq!(day_after(date), None, "{date:?}");
        }
    }
}
