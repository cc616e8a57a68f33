//! The identity: an ed25519 key in PKCS#8 (RFC 8410) and PEM, the one that the relay's TLS has too.

use std::{fs, io::Read, os::unix::fs::MetadataExt, path::Path};

use iroh::SecretKey;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use crate::fail::{CONFIG, Failure, IO};

/// What is before the 32 bytes of the seed in a PKCS#8 key of ed25519: SEQUENCE, version, the algorithm 1.3.101.112, and an
/// OCTET STRING in an OCTET STRING (RFC 8410 §7). Version 0 has nothing after the seed; version 1 may have the public key.
const V0: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key file is some 120 bytes; more than this is none.
const MAX_FILE: u64 = 64 << 10;

pub fn read(path: &Path) -> Result<SecretKey, Failure> {
    let name = path.display();
    let io = |e| Failure::new(IO, format!("the key {name}: {e}"));
    let file = fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::new(CONFIG, format!("the key {name} may be read by others (mode {mode:03o})")).hint(format!("chmod 600 {name}")));
    }
    let mut pem = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut pem).map_err(io)?;
    parse(&pem).ok_or_else(|| Failure::new(CONFIG, format!("{name} holds no ed25519 key (PKCS#8, PEM)")))
}

fn parse(pem: &[u8]) -> Option<SecretKey> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    let der = key.secret_pkcs8_der();
    let mut head = *der.first_chunk::<16>()?;
    match (head[4], der.len(), head[1] as usize) {
        (0, 48, 46) => {}
        (1, n, len) if n == len + 2 && len < 128 => (head[1], head[4]) = (0x2e, 0),
        _ => return None,
    }
    (head == V0).then(|| SecretKey::from_bytes(der[16..].first_chunk().expect("48 bytes and more")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    // RFC 8410 §10.3, its two keys: the same seed without and with attributes and public key.
    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const WITH_PUBLIC: &str = "-----BEGIN PRIVATE KEY-----\nMHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\noB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\nZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn keys_of_the_rfc() {
        for pem in [PLAIN, WITH_PUBLIC] {
            assert_eq!(parse(pem.as_bytes()).unwrap().public().to_string(), PUBLIC);
        }
    }

    #[test]
    fn no_other_key_is_taken() {
        let wrong = PLAIN.replace("K2Vw", "K2Vu"); // X25519
        let short = PLAIN.replace("hC\n", "\n");
        for pem in ["", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", &wrong, &short] {
            assert!(parse(pem.as_bytes()).is_none(), "{pem}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("ec-iroh-key-{}", std::process::id()));
        fs::write(&path, PLAIN).unwrap();
        for (mode, code) in [(0o644, Some(CONFIG)), (0o600, None)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).err().map(|e| e.code), code);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap_err().code, IO);
    }
}
