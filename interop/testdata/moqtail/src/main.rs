//! Speaks draft 22 with the Rust library of moqtail, for TestMoqtail. Each command goes on until its standard input ends.
//!
//!     moqtail-peer publish URL NAMESPACE TRACK     PUBLISH_NAMESPACE; answers SUBSCRIBE with its fill, FETCH and TRACK_STATUS
//!     moqtail-peer push URL NAMESPACE TRACK        PUBLISH
//!     moqtail-peer subscribe URL NAMESPACE TRACK   SUBSCRIBE with a fill of all that was: a line of JSON for each object
//!     moqtail-peer fetch URL NAMESPACE TRACK       FETCH of the whole track: the same
//!     moqtail-peer forward FROM TO NAMESPACE TRACK...   subscribes at FROM, with a fill, and publishes at TO
//!
//! A URL is moqt://HOST:PORT (QUIC) or https://HOST:PORT (WebTransport); any certificate is taken. The fields of a namespace
//! are separated by slashes. What is published is a group every 50 ms, with five objects.

mod forward;
mod publish;
mod read;
mod session;

use anyhow::{Result, bail};
use session::Session;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    tokio::select! {
        r = run(&args) => r,
        _ = ended() => Ok(()),
    }
}

async fn run(args: &[&str]) -> Result<()> {
    match args {
        ["publish", url, namespace, track] => publish::announce(Session::dial(url).await?, namespace, track).await,
        ["push", url, namespace, track] => publish::push(Session::dial(url).await?, namespace, track).await,
        ["subscribe", url, namespace, track] => read::subscribe(Session::dial(url).await?, namespace, track).await,
        ["fetch", url, namespace, track] => read::fetch(Session::dial(url).await?, namespace, track).await,
        ["forward", from, to, namespace, tracks @ ..] if !tracks.is_empty() => {
            let (from, to) = (Session::dial(from).await?, Session::dial(to).await?);
            forward::run(from, Arc::new(to), namespace, tracks).await
        }
        _ => bail!("see the comment at the top of main.rs"),
    }
}

async fn ended() {
    let mut buf = [0; 100];
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut buf).await, Ok(n) if n > 0) {}
}
