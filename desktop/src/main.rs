//! every.channel on the desktop: a window that shows the page of a local relay, which is started and ended with it.
//!
//! docs/desktop.md says what it promises. `keeper` owns the local relay, `relay` is one run of it, `memory` what is remembered, and `shell`
//! the window.

mod door;
mod keeper;
mod memory;
mod relay;
mod shell;

use std::path::{Path, PathBuf};

/// The package's version, as scripts/desktop-deb says it, or the crate's.
const VERSION: &str = match option_env!("EVERY_CHANNEL_VERSION") {
    Some(v) => v,
    None => env!("CARGO_PKG_VERSION"),
};

const HELP: &str = "every-channel: watch the broadcasts that a relay has

Usage:
  every-channel [flags]

Opens a window, which asks once for a ticket, as ec-relay ticket prints it, or an address.

Flags:
  --version   print the version and exit
  --help, -h  print this text and exit

Files and exit codes: man every-channel
";

fn main() {
    match std::env::args_os().nth(1).as_ref().map(|a| a.to_string_lossy()).as_deref() {
        None => {}
        Some("--help" | "-h") => return print(HELP),
        Some("--version") => return print(&format!("every-channel {VERSION}\n")),
        Some(other) => {
            eprintln!("every-channel: error: {other} is not understood");
            eprintln!("every-channel: hint: every-channel --help; which relay to join the window asks");
            std::process::exit(64);
        }
    }
    let (config, data) = match (folder("XDG_CONFIG_HOME", ".config"), folder("XDG_DATA_HOME", ".local/share")) {
        (Some(c), Some(d)) => (c, d),
        _ => {
            eprintln!("every-channel: error: neither HOME nor XDG_CONFIG_HOME and XDG_DATA_HOME say where its files are");
            std::process::exit(78);
        }
    };
    let place = relay::Place { program: program(), store: data.join("every.channel/relay") };
    if let Err(e) = shell::run(place, config.join("every.channel/desktop.json")) {
        eprintln!("every-channel: error: {e}");
        std::process::exit(1);
    }
}

/// Writes to stdout, whose reader may have left.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A folder of the user's, as the XDG base directory specification has it.
fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    set(variable).or_else(|| Some(set("HOME")?.join(below_home)))
}

/// Where ec-relay is: in the package beside this program's own folder, in a build beside this program.
fn program() -> PathBuf {
    let here = std::env::current_exe().ok();
    let here = here.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/bin"));
    let beside = here.join("ec-relay");
    let packaged = here.join("../lib/every-channel/ec-relay");
    if packaged.exists() || !beside.exists() { packaged } else { beside }
}

/// A new folder for a test.
#[cfg(test)]
fn test_folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ec-desktop-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder for the test");
    dir
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manual_page_has_the_flags() {
        let page = include_str!("../../docs/man/every-channel.1");
        let flags = |line: &str| line.split_whitespace().map(|w| w.trim_matches([',', '-']).to_owned()).collect::<Vec<_>>();
        let help: Vec<String> =
            super::HELP.lines().filter(|l| l.starts_with("  -")).flat_map(|l| flags(l.split("  ").nth(1).unwrap_or(""))).collect();
        let page: Vec<String> =
            page.lines().filter_map(|l| l.strip_prefix(".It Fl ")).flat_map(|l| flags(&l.replace(" Fl ", " "))).filter(|w| !w.is_empty()).collect();
        assert_eq!(help, ["version", "help", "h"]);
        assert_eq!(page, help);
    }
}
