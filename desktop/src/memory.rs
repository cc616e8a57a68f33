//! What is remembered from one start to the next: one JSON file in the user's configuration folder.
//!
//! A ticket holds a secret, so nobody but the user may read the file or its folder.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The relay to join.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// an address, as `moqt://host:4443`, a ticket, or the id of a relay on the local network
    pub to: String,
    /// pin of the relay's key; a ticket has its own
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
}

impl Target {
    /// Reports whether it is the id of a relay that mDNS finds: the key in hexadecimal digits.
    pub fn is_id(&self) -> bool {
        self.to.len() == 64 && self.to.bytes().all(|b| b.is_ascii_hexdigit())
    }

    pub fn is_address(&self) -> bool {
        self.to.contains("://")
    }

    /// Why it can be no relay at all, if so; whether it is one, ec-relay knows.
    pub fn nonsense(&self) -> Option<&'static str> {
        // A comma would make two of it, and @ a file.
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == ',';
        if self.to.is_empty() || self.to.len() > 4096 || self.to.starts_with('@') || self.to.contains(odd) {
            return Some("That is neither a ticket nor the address of a relay.");
        }
        let pin = &self.fingerprint;
        let digits = pin.len() == 64 && pin.bytes().all(|b| b.is_ascii_hexdigit());
        (!pin.is_empty() && !digits).then_some("A fingerprint has 64 digits from 0 to 9 and a to f.")
    }

    /// What to call the relay in front of people: a ticket is a secret.
    pub fn name(&self) -> String {
        match self {
            t if t.is_address() => t.to.clone(),
            t if t.is_id() => format!("the relay {}", &t.to[..10]),
            _ => "the ticket's relay".to_owned(),
        }
    }
}

/// The record in the file (docs/desktop.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub v: u32, // 1
    pub relay: Option<Target>,
    /// the page's fragment when something was last played
    pub broadcast: String,
    pub volume: f64, // 0 to 1
    pub muted: bool,
    pub width: f64, // of the window's inside, logical pixels
    pub height: f64,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { v: 1, relay: None, broadcast: String::new(), volume: 1.0, muted: false, width: 1120.0, height: 780.0 }
    }
}

impl Memory {
    /// What a person or a page may have made of it is brought within bounds.
    fn bounded(mut self) -> Self {
        let of = Memory::default();
        let within = |x: f64, low: f64, high: f64, default: f64| {
            if x.is_finite() { x.clamp(low, high) } else { default }
        };
        self.volume = within(self.volume, 0.0, 1.0, of.volume);
        self.width = within(self.width, 320.0, 16384.0, of.width);
        self.height = within(self.height, 240.0, 16384.0, of.height);
        if self.broadcast.len() > 2048 {
            self.broadcast.clear();
        }
        self
    }

    /// What this window has, but what it did not change since is as another window has it.
    fn merged(&self, since: &Memory, other: Memory) -> Memory {
        let mut m = self.clone();
        if (&m.relay, &m.broadcast) == (&since.relay, &since.broadcast) {
            (m.relay, m.broadcast) = (other.relay, other.broadcast); // a broadcast is one of that relay's
        }
        if (m.volume, m.muted) == (since.volume, since.muted) {
            (m.volume, m.muted) = (other.volume, other.muted);
        }
        if (m.width, m.height) == (since.width, since.height) {
            (m.width, m.height) = (other.width, other.height);
        }
        m
    }
}

/// The file with the memory.
pub struct Book {
    path: PathBuf,
    pub memory: Memory,
    written: Memory,
}

impl Book {
    /// Reads the memory; a file that cannot be read is put aside, and the second value says so in words.
    pub fn open(path: PathBuf) -> (Book, Option<String>) {
        let mut words = None;
        let mut memory = read(&path).unwrap_or_else(|why| {
            let aside = path.with_extension("json.broken");
            let kept = fs::rename(&path, &aside).map(|()| format!(" It is kept as {}.", aside.display())).unwrap_or_default();
            words = Some(format!("What was remembered in {} cannot be read: {why}.{kept}", path.display()));
            Memory::default()
        });
        if let Some(why) = memory.relay.as_ref().and_then(Target::nonsense) {
            words = Some(format!("The relay that was remembered in {} is none: {why}", path.display()));
            memory.relay = None;
        }
        (Book { path, written: memory.clone(), memory }, words)
    }

    /// Writes the memory, if it changed since.
    pub fn save(&mut self) -> io::Result<()> {
        if self.memory == self.written {
            return Ok(());
        }
        if let Ok(other) = read(&self.path) {
            self.memory = self.memory.merged(&self.written, other);
        }
        write_private(&self.path, &serde_json::to_vec_pretty(&self.memory)?)?;
        self.written = self.memory.clone();
        Ok(())
    }
}

/// Reads the file; there is none before anything was remembered.
fn read(path: &Path) -> Result<Memory, String> {
    let b = match fs::read(path) {
        Ok(b) => b,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(e) => return Err(e.to_string()),
    };
    match serde_json::from_slice::<Memory>(&b).map_err(|e| e.to_string())? {
        m if m.v == 1 => Ok(m.bounded()),
        m => Err(format!("it has version {}, of a newer every.channel", m.v)),
    }
}

/// Makes a folder that only the user may enter.
pub fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file by one that only the user may read, whole or not at all.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    private_folder(folder)?;
    let new = path.with_extension("json.new");
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut f = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    f.write_all(content)?;
    f.write_all(b"\n")?;
    f.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_there_again_and_private() {
        let dir = crate::test_folder("memory");
        let path = dir.join("config/every.channel/desktop.json");
        let (mut b, words) = Book::open(path.clone());
        assert_eq!((words, &b.memory), (None, &Memory::default()));
        b.save().unwrap();
        assert!(!path.exists(), "nothing to remember");
        b.memory.relay = Some(Target { to: "ecaaaa".into(), fingerprint: String::new() });
        b.memory.volume = 0.25;
        b.save().unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(Book::open(path).0.memory, b.memory);
    }

    #[test]
    fn two_windows() {
        let path = crate::test_folder("two").join("desktop.json");
        let (mut a, _) = Book::open(path.clone());
        let (mut b, _) = Book::open(path.clone());
        a.memory.relay = Some(Target { to: "moqt://a:4443".into(), fingerprint: String::new() });
        a.memory.broadcast = "ec-atsc-2065-3".into();
        a.save().unwrap();
        b.memory.width = 700.0;
        b.save().unwrap();
        assert_eq!(Book::open(path).0.memory, Memory { width: 700.0, ..a.memory }, "what b did not change stays");
    }

    #[test]
    fn relays_that_are_none() {
        let path = crate::test_folder("none").join("desktop.json");
        for (to, fingerprint, fine) in [
            ("moqt://a:4443", "", true),
            ("ecaaaa", "", true),
            ("moqt://a:4443", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", true),
            ("", "", false),
            ("moqt://a:4443,moqt://b:4443", "", false),
            ("@/etc/passwd", "", false),
            ("moqt://a:4443\u{0}", "", false),
            ("two words", "", false),
            ("moqt://a:4443", "0123", false),
        ] {
            let t = Target { to: to.into(), fingerprint: fingerprint.into() };
            assert_eq!(t.nonsense().is_none(), fine, "{to:?} {fingerprint}");
            let m = Memory { relay: Some(t), volume: 0.5, ..Memory::default() };
            fs::write(&path, serde_json::to_vec(&m).unwrap()).unwrap();
            let (b, words) = Book::open(path.clone());
            assert_eq!((b.memory.relay.is_some(), words.is_none(), b.memory.volume), (fine, fine, 0.5), "{to:?}: {words:?}");
        }
    }

    #[test]
    fn what_makes_no_sense() {
        let path = crate::test_folder("broken").join("desktop.json");
        for (text, broken) in [
            ("{\"v\":1,\"volume\":", true),
            ("{\"v\":2}", true),
            ("\u{0}", true),
            ("{}", false),
            ("{\"v\":1,\"volume\":7,\"width\":-1,\"new\":[]}", false),
        ] {
            fs::write(&path, text).unwrap();
            let (b, words) = Book::open(path.clone());
            assert_eq!(words.is_some(), broken, "{text}: {words:?}");
            assert_eq!(path.exists(), !broken, "{text}");
            assert!(b.memory.volume <= 1.0 && b.memory.width >= 320.0, "{text}");
        }
    }
}
