package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files in the folder of a store. docs/format/keys.md has them.
const (
	KeyFile         = "key"         // the private key: PKCS#8 (RFC 5958, RFC 8410), PEM, mode 0600
	CertificateFile = "key.crt"     // the certificate that programs see
	BrowserFile     = "browser.pem" // those that browsers see, with their private keys, mode 0600
	earlierFile     = "cert.pem"    // of earlier versions: certificate and private key
)

// modeError: others can read a private key.
type modeError struct {
	path string
	mode fs.FileMode
}

func (e *modeError) Error() string {
	return fmt.Sprintf("%s: mode %04o lets others read the private key", e.path, e.mode)
}
func (e *modeError) Hint() string { return "chmod 600 " + e.path }

// LoadKey reads the key in a folder, or makes it. Several processes that make it at once get the same.
func LoadKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, KeyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	switch err := writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600, false); {
	case errors.Is(err, fs.ErrExist): // somebody else was first
		return readKey(path)
	case err != nil:
		return nil, err
	}
	return key, nil
}

// Check reports a key in the folder, or a certificate and its key of Config, with which Open fails. It makes nothing, and leaves a pipe,
// which can be read only once, to Open.
func Check(c Config) error {
	if _, err := readKey(filepath.Join(c.Dir, KeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.Cert == "" {
		return nil
	}
	for _, path := range []string{c.Cert, c.Key} {
		if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
			return nil
		}
	}
	_, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	return err
}

// OfPrivateKey is the pin of a private key's public half.
func OfPrivateKey(key ed25519.PrivateKey) Pin {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err) // there is no Ed25519 key without a form
	}
	return sha256.Sum256(der)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: %T, want an Ed25519 key", path, key)
	}
	return ed, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file", path)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 && !Credential(path) {
		return nil, &modeError{path, mode}
	}
	b := make([]byte, maxFile)
	n, err := f.Read(b)
	if err != nil && n == 0 {
		return nil, fmt.Errorf("%s: empty", path)
	}
	return b[:n], nil
}

// maxFile bounds what is read of a file, in bytes.
const maxFile = 64 << 10

// writeFile makes a file whole or not at all, in place of one that is there or, without replace, not.
func writeFile(path string, b []byte, mode fs.FileMode, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(f.Name(), path)
	} else if err = os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(f.Name(), path) // a file system without links
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
