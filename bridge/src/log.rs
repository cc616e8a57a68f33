//! The log on stderr: sentences for a person, or one JSON object a line.

use std::{
    fmt::Display,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::fail::one_line;

static JSON: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

pub fn configure(json: bool, verbose: bool) {
    JSON.store(json, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

pub fn error(words: impl Display) {
    write("ERROR", &words.to_string());
}

pub fn warn(words: impl Display) {
    write("WARN", &words.to_string());
}

pub fn debug(words: impl Display) {
    if VERBOSE.load(Ordering::Relaxed) {
        write("DEBUG", &words.to_string());
    }
}

fn write(level: &str, words: &str) {
    let words = one_line(words);
    let line = if is_json() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}\n", serde_json::json!({"time": rfc3339(now), "level": level, "msg": words, "tool": "ec-iroh"}))
    } else {
        format!("ec-iroh: {}: {words}\n", level.to_lowercase())
    };
    let _ = std::io::stderr().write_all(line.as_bytes()); // whoever closed stderr does not want to know
}

/// UTC, since 1970.
fn rfc3339(at: Duration) -> String {
    let (mut days, seconds) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", days + 1, at.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), want);
        }
    }
}
