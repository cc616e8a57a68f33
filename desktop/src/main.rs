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

fn main() {
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
