//! The two Unix sockets in the starter's folder: dial.sock, on which it asks for connections, and accept.sock, on which it
//! takes those that peers began.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use crate::{
    fail::{Failure, IO, NOT_ALLOWED},
    record::{Code, MAX_LINE, Refusal},
};

/// How long the starter may take for its line.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);

/// The folder, and dial.sock in it for as long as this lives.
pub struct Door {
    pub dial: UnixListener,
    dir: PathBuf,
}

impl Door {
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let name = dir.display();
        let io = |e: io::Error| Failure::new(IO, format!("the folder {name}: {e}"));
        let meta = fs::metadata(dir).map_err(io)?;
        if !meta.is_dir() {
            return Err(Failure::new(IO, format!("{name} is no folder")));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(Failure::new(NOT_ALLOWED, format!("the folder {name} may be entered by others (mode {:03o})", meta.mode() & 0o777))
                .hint(format!("chmod 700 {name}")));
        }
        let path = dir.join("dial.sock");
        // One that a process left behind when it was killed; that of a living one is not taken away.
        if fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_socket()) {
            if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                return Err(Failure::new(IO, format!("another ec-iroh uses {name}")));
            }
            fs::remove_file(&path).map_err(io)?;
        }
        let dial = UnixListener::bind(&path).map_err(|e| Failure::new(IO, format!("to listen on {}: {e}", path.display())))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        Ok(Self { dial, dir: dir.into() })
    }

    pub fn accept_path(&self) -> PathBuf {
        self.dir.join("accept.sock")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.dir.join("dial.sock")); // the starter may have removed the folder already
    }
}

/// Reads the one line of the starter and nothing of what follows it.
pub async fn read_line(stream: &mut UnixStream) -> Result<String, Refusal> {
    let bad = |words: &str| Refusal::new(Code::BadRequest, words);
    let reading = async {
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await {
                Ok(b'\n') => return String::from_utf8(line).map_err(|_| bad("the line is not UTF-8")),
                Ok(_) if line.len() == MAX_LINE - 1 => return Err(bad("the line has more than 4,096 bytes")),
                Ok(byte) => line.push(byte),
                Err(_) => return Err(bad("the connection ended inside the line")),
            }
        }
    };
    timeout(LINE_TIMEOUT, reading).await.unwrap_or_else(|_| Err(bad("no line within five seconds")))
}

/// Writes one line; a starter that does not read it within the time of one has gone.
pub async fn write_line(stream: &mut UnixStream, line: &str) -> io::Result<()> {
    timeout(LINE_TIMEOUT, stream.write_all(line.as_bytes())).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(sent: &[u8]) -> (Result<String, Refusal>, Vec<u8>) {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        a.write_all(sent).await.unwrap();
        drop(a);
        let line = read_line(&mut b).await;
        let mut rest = Vec::new();
        b.read_to_end(&mut rest).await.unwrap();
        (line, rest)
    }

    #[tokio::test]
    async fn a_line_and_nothing_after_it() {
        assert_eq!(read(b"{}\n\x05rest").await, (Ok("{}".into()), b"\x05rest".to_vec()));
    }

    #[tokio::test]
    async fn a_line_has_a_length() {
        let longest = [vec![b'a'; MAX_LINE - 1], b"\n".to_vec()].concat();
        assert_eq!(read(&longest).await.0.unwrap().len(), MAX_LINE - 1);
        let longer = [vec![b'a'; MAX_LINE], b"\n".to_vec()].concat();
        assert_eq!(read(&longer).await.0.unwrap_err().error, "the line has more than 4,096 bytes");
        assert_eq!(read(b"{\"v\":1").await.0.unwrap_err().error, "the connection ended inside the line");
        assert_eq!(read(b"\xff\n").await.0.unwrap_err().error, "the line is not UTF-8");
    }

    #[tokio::test]
    async fn a_folder_that_others_may_enter_is_refused_and_a_socket_left_behind_is_replaced() {
        let dir = std::env::temp_dir().join(format!("ec-iroh-door-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Door::open(&dir).err().unwrap().code, NOT_ALLOWED);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.join("dial.sock")).unwrap());
        let door = Door::open(&dir).unwrap();
        assert_eq!(Door::open(&dir).err().unwrap().code, IO);
        drop(door);
        fs::remove_dir(&dir).unwrap(); // nothing is left in it
    }
}
