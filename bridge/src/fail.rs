//! How the process ends when something is wrong: one sentence for a person, one code for a machine (README, Contract).

use std::fmt;

pub const OTHER: u8 = 1;
pub const USAGE: u8 = 64;
pub const BUG: u8 = 70;
pub const IO: u8 = 74;
pub const NOT_ALLOWED: u8 = 77;
pub const CONFIG: u8 = 78;

#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub words: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: u8, words: impl Into<String>) -> Self {
        Self { code, words: words.into(), hint: None }
    }

    pub fn hint(mut self, words: impl Into<String>) -> Self {
        self.hint = Some(words.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ec-iroh: error: {}", one_line(&self.words))?;
        if let Some(hint) = &self.hint {
            write!(f, "\nec-iroh: hint: {}", one_line(hint))?;
        }
        Ok(())
    }
}

/// Words that may come from a peer, without line ends and control characters.
pub fn one_line(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The longest words of a line for the starter, in bytes: escaped in JSON they still leave room for the rest.
pub const MAX_WORDS: usize = 1024;

/// One line, cut where it is too long: what is no UTF-8 came in a third of the bytes that it takes here.
pub fn brief(words: &str) -> String {
    let mut line = one_line(words);
    line.truncate(line.floor_char_boundary(MAX_WORDS));
    line
}

/// An error with its causes, outermost first.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut words = e.to_string();
    let mut source = e.source();
    while let Some(e) = source {
        let cause = e.to_string();
        if !words.ends_with(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        source = e.source();
    }
    words
}
