package object

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"
)

// ErrHash says that a payload is not what its hash property promised.
var ErrHash = errors.New("payload does not match its hash")

// ErrNoHash says that there is no hash to check a payload against.
var ErrNoHash = errors.New("object carries no hash")

// Hash is the BLAKE3-256 of a payload.
type Hash [32]byte

// Sum hashes a payload. It does not allocate.
func Sum(payload []byte) Hash {
	if haveWide && len(payload) >= wideMin {
		return sumWide(payload)
	}
	return blake3.Sum256(payload)
}

// String returns the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText makes hex the JSON form.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads the hex form.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("hash of %d hex digits, want %d", len(b), hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// ParseHash reads the hex form.
func ParseHash(s string) (h Hash, err error) {
	err = h.UnmarshalText([]byte(s))
	return h, err
}

// Hasher hashes what is written to it, for what does not fit into one slice.
type Hasher struct{ h *blake3.Hasher }

// NewHasher returns an empty Hasher.
func NewHasher() *Hasher { return &Hasher{blake3.New()} }

// Write adds to the hash; it never fails.
func (h *Hasher) Write(p []byte) (int, error) { return h.h.Write(p) }

// Reset empties the hash.
func (h *Hasher) Reset() { h.h.Reset() }

// Sum returns the hash of all that was written.
func (h *Hasher) Sum() (s Hash) {
	h.h.Sum(s[:0])
	return s
}

// VerifyHash checks the payload of a normal object against its hash property. It returns ErrHash when
// they differ and ErrNoHash when there is none.
func VerifyHash(o *Object) error {
	p, err := ParseProperties(o.Properties)
	if err != nil {
		return err
	}
	if o.Status != Normal {
		return nil
	}
	if !p.HasHash {
		return ErrNoHash
	}
	if Sum(o.Payload) != p.Hash {
		return ErrHash
	}
	return nil
}
