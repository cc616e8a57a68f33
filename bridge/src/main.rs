//! ec-iroh carries MoQ between a relay's Unix sockets and iroh. What goes over the sockets, stdin and stdout is in
//! docs/format/iroh.md; args.rs has the command line.

mod args;
mod bridge;
mod congestion;
mod door;
mod endpoint;
mod fail;
mod key;
mod log;
mod node;
mod qmux;
mod record;

use std::process::ExitCode;

use fail::{BUG, Failure, IO, OTHER};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            if log::is_json() {
                log::error(&e.words);
            } else {
                eprintln!("{e}");
            }
            ExitCode::from(e.code)
        }
    }
}

fn run() -> Result<u8, Failure> {
    let args = match args::from_process()? {
        args::Command::Help => return show(args::HELP),
        args::Command::Version => return show(concat!("ec-iroh ", env!("CARGO_PKG_VERSION"), "\n")),
        args::Command::Run(args) => args,
    };
    log::configure(args.json_log, args.verbose);
    // One thread: two of them wake each other for each packet, and carry less.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failure::new(OTHER, format!("to start threads: {e}")))?;
    let code = runtime.block_on(async {
        // A task of its own, so that a panic anywhere in it ends the process with the code of a bug.
        tokio::spawn(node::run(args))
            .await
            .unwrap_or_else(|e| Err(Failure::new(BUG, format!("internal error: {e}")).hint("this is a bug; please report it")))
    });
    runtime.shutdown_background(); // the thread that waits for the end of stdin may still do so
    code
}

fn show(text: &str) -> Result<u8, Failure> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::new(IO, e.to_string()))?;
    Ok(0)
}
