//! Times as RFC 3339 with nanoseconds, in UTC, written into bytes.
//!
//! Entries come many to a second, so the text of the last second is kept: what is left to
//! write are nine digits.

const SECOND_NS: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;
/// Length of a time, in bytes.
const TIME_BYTES: usize = 30;

/// Writes times; remembers the last second.
pub(super) struct Times {
    second: u64,
    /// `2026-11-21T09:30:00.123456789Z`
    text: [u8; TIME_BYTES],
}

impl Default for Times {
    fn default() -> Self {
        let mut times = Self { second: 0, text: *b"0000-00-00T00:00:00.000000000Z" };
        times.set_second(0);
        times
    }
}

impl Times {
    /// The text of a Unix time in nanoseconds; those of 64 bits end in the year 2554.
    pub(super) fn text(&mut self, wall_ns: u64) -> &[u8; TIME_BYTES] {
        let second = wall_ns / SECOND_NS;
        if second != self.second {
            self.set_second(second);
        }
        digits(&mut self.text[20..29], wall_ns % SECOND_NS);
        &self.text
    }

    fn set_second(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = date(second / DAY_SECONDS);
        let of_day = second % DAY_SECONDS;
        digits(&mut self.text[0..4], year);
        digits(&mut self.text[5..7], month);
        digits(&mut self.text[8..10], day);
        digits(&mut self.text[11..13], of_day / 3600);
        digits(&mut self.text[14..16], of_day / 60 % 60);
        digits(&mut self.text[17..19], of_day % 60);
    }
}

/// Year, month and day of a day since 1970: the calendar counted from a first of March, so that the
/// leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Fills `out` with the last decimal digits of `number`.
fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends a number in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn theirs(wall_ns: u64) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(wall_ns);
        humantime::format_rfc3339_nanos(time).to_string()
    }

    // REQ C11
    #[test]
    fn times_are_written_as_everybody_writes_them() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut times = Times::default();
        let leap_day = 951_782_400 * SECOND_NS;
        let edges = [0, 1, SECOND_NS - 1, SECOND_NS, leap_day - 1, leap_day, u64::MAX];
        let random = std::iter::repeat_with(|| rng.u64(..)).take(20_000).collect::<Vec<_>>();
        for wall_ns in edges.into_iter().chain(random) {
            for wall_ns in [wall_ns, wall_ns.saturating_add(7)] {
                assert_eq!(std::str::from_utf8(times.text(wall_ns)).unwrap(), theirs(wall_ns));
            }
        }
    }

    // REQ C11
    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = b"x".to_vec();
            push_number(&mut out, number);
            assert_eq!(out, format!("x{number}").into_bytes());
        }
    }
}
