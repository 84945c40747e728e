//! The time of an index: as a `Release` file writes it, and as the lock and archives of old packages
//! write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result, ensure};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A second of universal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u32,
    month: u32,
    day: u32,
    /// Hour, minute, second.
    time: [u32; 3],
}

impl Date {
    /// What follows `Date:` in a `Release` file: `Sat, 21 Nov 2026 09:15:44 UTC`.
    pub fn of_release(text: &str) -> Option<Date> {
        let mut words = text.split_once(',')?.1.split_whitespace();
        let day = words.next()?.parse().ok()?;
        let month = words.next()?;
        let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
        let year = words.next()?.parse().ok()?;
        let mut parts = words.next()?.split(':').map(str::parse);
        let mut part = || parts.next()?.ok();
        let date = Date { year, month, day, time: [part()?, part()?, part()?] };
        let is_universal = matches!(words.next(), Some("UTC" | "GMT" | "+0000"));
        (is_universal && date.is_one()).then_some(date)
    }

    /// In seconds since 1970.
    pub fn seconds(self) -> u64 {
        // The day of a calendar whose years begin in March, as in "chrono-Compatible Low-Level Date
        // Algorithms" by Howard Hinnant.
        let year = u64::from(self.year) - u64::from(self.month <= 2);
        let month = (u64::from(self.month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + u64::from(self.day) - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
        let [hour, minute, second] = self.time.map(u64::from);
        // 1970 began on day 719468 of it.
        days.saturating_sub(719_468) * 86_400 + hour * 3600 + minute * 60 + second
    }

    /// A day later.
    pub fn next_day(self) -> Date {
        let tomorrow = [
            Date { day: self.day + 1, ..self },
            Date { day: 1, month: self.month + 1, ..self },
            Date { day: 1, month: 1, year: self.year + 1, ..self },
        ];
        tomorrow.into_iter().find(|date| date.is_one()).unwrap_or(self)
    }

    fn is_one(&self) -> bool {
        let leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let [hour, minute, second] = self.time;
        (1..=days).contains(&self.day) && hour < 24 && minute < 60 && second <= 60
    }
}

/// `20261121T091544Z`
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day, time: [hour, minute, second] } = self;
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

impl TryFrom<String> for Date {
    type Error = Error;

    fn try_from(text: String) -> Result<Date> {
        text.parse()
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Date> {
        let number = |from: usize, to: usize| -> Result<u32> {
            let digits = text.get(from..to).filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
            Ok(digits.context("a number is missing")?.parse()?)
        };
        let what = || format!("reading the date {text:?}");
        let read = || -> Result<Date> {
            let time = [number(9, 11)?, number(11, 13)?, number(13, 15)?];
            Ok(Date { year: number(0, 4)?, month: number(4, 6)?, day: number(6, 8)?, time })
        };
        let date = read().with_context(what)?;
        ensure!(date.is_one() && date.to_string() == text, "there is no date {text:?}");
        Ok(date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_from_1970() {
        let seconds = |text: &str| text.parse::<Date>().unwrap().seconds();
        assert_eq!(seconds("19700101T000000Z"), 0);
        assert_eq!(seconds("20000229T120000Z"), 951_825_600);
        assert_eq!(seconds("20261121T091544Z"), 1_795_252_544);
        assert_eq!(seconds("19600101T000001Z"), 1);
    }

    #[test]
    fn both_forms_mean_the_same() {
        let date = Date::of_release("Sat, 21 Nov 2026 09:15:44 UTC").unwrap();
        assert_eq!(date.to_string(), "20261121T091544Z");
        assert_eq!("20261121T091544Z".parse::<Date>().unwrap(), date);
        for bad in ["", "Sat, 21 Nov 2026 09:15:44 CET", "Sat, 31 Nov 2026 09:15:44 UTC"] {
            assert_eq!(Date::of_release(bad), None, "{bad}");
        }
        for bad in ["", "20261131T091544Z", "20261121T0915Z", "2026-11-21", "20261121T091544Zx"] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_day_follows_the_calendar() {
        for (date, next) in [
            ("20261121T091544Z", "20261122T091544Z"),
            ("20240228T000000Z", "20240229T000000Z"),
            ("20260228T000000Z", "20260301T000000Z"),
            ("20261231T235959Z", "20270101T235959Z"),
        ] {
            assert_eq!(date.parse::<Date>().unwrap().next_day().to_string(), next);
        }
    }
}
