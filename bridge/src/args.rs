//! The command line. Every flag `--foo-bar` can be set as EC_IROH_FOO_BAR or EC_FOO_BAR too.

use std::{env, ffi::OsString, net::SocketAddr, path::PathBuf};

use crate::fail::{Failure, USAGE};

pub const HELP: &str = "\
NAME:
   ec-iroh - carries MoQ between a relay's Unix sockets and iroh

USAGE:
   ec-iroh --dir DIR [options]

   ec-relay --iroh starts and ends it. It runs for as long as stdin is open, and reads nothing there.
   stdout: one JSON object a line, about peers. What is spoken on DIR's sockets: docs/format/iroh.md

OPTIONS:
   --dir DIR         a folder that only this user may enter, for dial.sock and accept.sock
   --key FILE        the ed25519 key that is this node's id (PKCS#8, PEM, mode 0600); without it one that is forgotten
   --bind ADDR       an address to listen on, host:port, at most one of each family; default any address, and a port that the key chooses
   --mdns            finds nodes on the local network, and can be found there if there is an accept.sock
   --relay URL       an iroh-relay to be reachable through; may be repeated. Without it none is ever contacted
   --relay-ca FILE   the certificates (PEM) that sign the relays' own; default those of the web
   --log FORMAT      text or json
   -v, --verbose     says more
   --help, --version
";

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Args {
    pub dir: PathBuf,
    pub key: Option<PathBuf>,
    pub bind: Vec<SocketAddr>,
    pub mdns: bool,
    pub relays: Vec<String>,
    pub relay_ca: Option<PathBuf>,
    pub json_log: bool,
    pub verbose: bool,
}

#[derive(Debug, PartialEq)]
pub enum Command {
    Run(Args),
    Help,
    Version,
}

/// Flags that take a value, and those that do not.
const VALUES: [&str; 6] = ["dir", "key", "bind", "relay", "relay-ca", "log"];
const SWITCHES: [&str; 2] = ["mdns", "verbose"];

pub fn parse(args: impl IntoIterator<Item = OsString>, env: impl Fn(&str) -> Option<OsString>) -> Result<Command, Failure> {
    let mut given: Vec<(String, OsString)> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().ok_or_else(|| usage(format!("what is {arg:?}?")))?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        match name {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" => return Ok(Command::Version),
            "-v" if value.is_none() => given.push(("verbose".into(), "true".into())),
            _ => {
                let flag = name.strip_prefix("--").or(name.strip_prefix('-')).unwrap_or_default();
                if SWITCHES.contains(&flag) {
                    given.push((flag.into(), value.unwrap_or("true".into())));
                } else if VALUES.contains(&flag) {
                    let value = value.or_else(|| args.next()).ok_or_else(|| usage(format!("{name} needs a value")))?;
                    given.push((flag.into(), value));
                } else {
                    return Err(usage(format!("there is no flag or argument {name:?}")));
                }
            }
        }
    }
    for flag in VALUES.into_iter().chain(SWITCHES) {
        if given.iter().any(|(name, _)| name == flag) {
            continue;
        }
        let suffix = flag.to_uppercase().replace('-', "_");
        if let Some(value) = env(&format!("EC_IROH_{suffix}")).or_else(|| env(&format!("EC_{suffix}"))) {
            let repeated = matches!(flag, "bind" | "relay");
            match value.to_str() {
                Some(list) if repeated => given.extend(list.split(',').map(|v| (flag.into(), v.into()))),
                _ => given.push((flag.into(), value)),
            }
        }
    }

    let mut a = Args::default();
    for (name, value) in given {
        let text = value.to_str().unwrap_or_default();
        match name.as_str() {
            "dir" => a.dir = value.into(),
            "key" => a.key = Some(value.into()),
            "relay-ca" => a.relay_ca = Some(value.into()),
            "relay" => a.relays.push(text.into()),
            "bind" => {
                a.bind.push(text.parse().map_err(|_| usage(format!("--bind {text:?}: an IP address and a port are needed, as in 192.0.2.1:4433")))?)
            }
            "log" => {
                a.json_log = match text {
                    "json" => true,
                    "text" => false,
                    _ => return Err(usage(format!("--log {text:?}: text or json"))),
                }
            }
            switch => {
                let on = match text {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    _ => return Err(usage(format!("--{switch} {text:?}: true or false"))),
                };
                match switch {
                    "mdns" => a.mdns = on,
                    _ => a.verbose = on,
                }
            }
        }
    }
    if a.dir.as_os_str().is_empty() {
        return Err(usage("--dir is needed".into()));
    }
    Ok(Command::Run(a))
}

pub fn from_process() -> Result<Command, Failure> {
    parse(env::args_os().skip(1), |name| env::var_os(name))
}

fn usage(words: String) -> Failure {
    Failure::new(USAGE, words).hint("ec-iroh --help tells the flags")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Command, Failure> {
        let env: Vec<_> = env.iter().map(|(k, v)| (k.to_string(), OsString::from(v))).collect();
        parse(args.iter().map(OsString::from), move |k| env.iter().find(|(name, _)| name == k).map(|(_, v)| v.clone()))
    }

    #[test]
    fn flags_win_over_the_environment_and_the_tool_s_own_over_the_common_one() {
        let env = [("EC_DIR", "/a"), ("EC_IROH_LOG", "json"), ("EC_LOG", "text"), ("EC_RELAY", "https://x,https://y")];
        let Command::Run(a) = run(&["--dir=/b", "-v", "--bind", "127.0.0.1:0", "--mdns"], &env).unwrap() else { panic!() };
        assert_eq!(a.dir, PathBuf::from("/b"));
        assert!(a.json_log && a.verbose && a.mdns);
        assert_eq!(a.relays, ["https://x", "https://y"]);
        assert_eq!(a.bind, ["127.0.0.1:0".parse().unwrap()]);
    }

    #[test]
    fn what_is_wrong_is_said_and_ends_with_64() {
        for (args, words) in [
            (&[][..], "--dir is needed"),
            (&["--dir"], "--dir needs a value"),
            (&["--dir", "/a", "now"], "there is no flag or argument \"now\""),
            (&["--dir", "/a", "--bind", "here"], "--bind \"here\""),
            (&["--dir", "/a", "--log", "xml"], "--log \"xml\": text or json"),
            (&["--dir", "/a", "--mdns=perhaps"], "--mdns \"perhaps\": true or false"),
        ] {
            let e = run(args, &[]).unwrap_err();
            assert_eq!(e.code, USAGE);
            assert!(e.words.starts_with(words), "{args:?}: {}", e.words);
        }
    }

    #[test]
    fn every_flag_is_in_the_help() {
        for flag in VALUES.into_iter().chain(SWITCHES) {
            assert!(HELP.contains(&format!("--{flag}")), "{flag}");
        }
    }
}
