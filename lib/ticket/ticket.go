// Package ticket is the one credential of a relay in a line of text: where it is, which key it has, and a secret that it knows.
//
// Text flows in and out; docs/format/ticket.md has the form.
package ticket

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"every.channel/ec/lib/exit"
)

// Ticket is the content of a ticket's text. Fields with the zero value are not in the text.
type Ticket struct {
	// Addresses are the relay's addresses as moqt.Dial takes them, the best first; at most 16.
	Addresses []string
	// Pin is the SHA-256 of the relay's public key (SubjectPublicKeyInfo, RFC 7469 §2.4).
	Pin [32]byte
	// Iroh is the relay's id in iroh: its Ed25519 public key.
	Iroh [32]byte
	// IrohAddrs are where iroh may find it, IP:port; at most 16.
	IrohAddrs []string
	// IrohRelay is the URL of the iroh-relay that it is behind.
	IrohRelay string
	// Secret is what lets the holder in: 16 to 64 bytes.
	Secret []byte
	// Expires is when it ends, in whole seconds.
	Expires time.Time
}

const (
	// Prefix begins every ticket.
	Prefix   = "ec"
	version  = 1
	maxBytes = 2048
	maxList  = 16
	checksum = 4
)

// Types of records. A reader skips those it does not know from optional on, and refuses a ticket with others.
const (
	recordAddress   = 1
	recordPin       = 2
	recordIroh      = 3
	recordIrohAddr  = 4
	recordIrohRelay = 5
	recordSecret    = 6
	recordExpires   = 7
	optional        = 64
)

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Errors of tickets that cannot be used.
var (
	ErrExpired = errors.New("the ticket has expired")
	errForm    = errors.New("not a ticket")
)

// Error is a text that is no ticket of this version.
type Error struct{ err error }

func (e *Error) Error() string { return "ticket: " + e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// ExitCode is 64: what was typed is wrong.
func (e *Error) ExitCode() int { return exit.Usage }

// Hint says how to get one.
func (e *Error) Hint() string { return "copy the whole line that ec-relay ticket prints" }

// Is reports whether a text is meant to be a ticket: no address looks like one.
func Is(text string) bool {
	if len(text) < len(Prefix)+8 || !strings.EqualFold(text[:len(Prefix)], Prefix) {
		return false
	}
	for _, c := range strings.ToUpper(text[len(Prefix):]) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// NewSecret makes one of 16 bytes.
func NewSecret() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	return b
}

// String is the ticket as text.
func (t *Ticket) String() string {
	b := []byte{version}
	add := func(typ uint64, v []byte) {
		b = binary.AppendUvarint(b, typ)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	for _, a := range t.Addresses {
		add(recordAddress, []byte(a))
	}
	if t.Pin != ([32]byte{}) {
		add(recordPin, t.Pin[:])
	}
	if t.HasIroh() {
		add(recordIroh, t.Iroh[:])
	}
	for _, a := range t.IrohAddrs {
		add(recordIrohAddr, []byte(a))
	}
	if t.IrohRelay != "" {
		add(recordIrohRelay, []byte(t.IrohRelay))
	}
	if len(t.Secret) > 0 {
		add(recordSecret, t.Secret)
	}
	if !t.Expires.IsZero() {
		add(recordExpires, binary.BigEndian.AppendUint64(nil, uint64(t.Expires.Unix())))
	}
	sum := sha256.Sum256(b)
	return Prefix + strings.ToLower(encoding.EncodeToString(append(b, sum[:checksum]...)))
}

// Parse reads a ticket; upper case and space around it do not matter. That it has expired is for its user to look at.
func Parse(text string) (*Ticket, error) {
	t, err := parse(strings.TrimSpace(text))
	if err != nil {
		return nil, &Error{err}
	}
	return t, nil
}

func parse(text string) (*Ticket, error) {
	if !Is(text) {
		return nil, errForm
	}
	if encoding.DecodedLen(len(text)-len(Prefix)) > maxBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxBytes)
	}
	b, err := encoding.DecodeString(strings.ToUpper(text[len(Prefix):]))
	if err != nil || len(b) < 1+checksum {
		return nil, errForm
	}
	if !strings.EqualFold(encoding.EncodeToString(b), text[len(Prefix):]) {
		return nil, errors.New("the last letter is wrong")
	}
	b, sum := b[:len(b)-checksum], b[len(b)-checksum:]
	if want := sha256.Sum256(b); !bytes.Equal(sum, want[:checksum]) {
		return nil, errors.New("letters are missing or wrong (checksum)")
	}
	if b[0] != version {
		return nil, fmt.Errorf("version %d, want %d: made by another version", b[0], version)
	}
	t := new(Ticket)
	for b = b[1:]; len(b) > 0; {
		var typ uint64
		var v []byte
		if typ, v, b, err = record(b); err != nil {
			return nil, err
		}
		if err := t.set(typ, v); err != nil {
			return nil, err
		}
	}
	if len(t.Addresses) == 0 && !t.HasIroh() {
		return nil, errors.New("says of no relay where it is")
	}
	return t, nil
}

func record(b []byte) (typ uint64, v, rest []byte, err error) {
	typ, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errForm
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, errForm
	}
	b = b[n:]
	return typ, b[:size], b[size:], nil
}

func (t *Ticket) set(typ uint64, v []byte) error {
	switch typ {
	case recordAddress, recordIrohAddr:
		list := &t.Addresses
		if typ == recordIrohAddr {
			if _, err := netip.ParseAddrPort(string(v)); err != nil {
				return err
			}
			list = &t.IrohAddrs
		}
		if len(*list) == maxList {
			return fmt.Errorf("more than %d addresses", maxList)
		}
		*list = append(*list, string(v))
	case recordPin, recordIroh:
		if len(v) != 32 {
			return fmt.Errorf("a key of %d bytes", len(v))
		}
		if typ == recordPin {
			t.Pin = [32]byte(v)
		} else {
			t.Iroh = [32]byte(v)
		}
	case recordIrohRelay:
		t.IrohRelay = string(v)
	case recordSecret:
		if len(v) < 16 || len(v) > 64 {
			return fmt.Errorf("a secret of %d bytes", len(v))
		}
		t.Secret = bytes.Clone(v)
	case recordExpires:
		if len(v) != 8 || v[0]&0x80 != 0 {
			return errForm
		}
		t.Expires = time.Unix(int64(binary.BigEndian.Uint64(v)), 0).UTC()
	default:
		if typ < optional {
			return fmt.Errorf("record %d: made by a newer version", typ)
		}
	}
	return nil
}

// HasIroh reports whether the relay can be reached by iroh.
func (t *Ticket) HasIroh() bool { return t.Iroh != [32]byte{} }

// Name returns how the relay is called in logs and errors; it holds no secret.
func (t *Ticket) Name() string {
	if len(t.Addresses) > 0 {
		return t.Addresses[0]
	}
	return "iroh://" + hex.EncodeToString(t.Iroh[:])
}

// Expired is ErrExpired once the ticket has.
func (t *Ticket) Expired(now time.Time) error {
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return fmt.Errorf("%w on %s", ErrExpired, t.Expires.Format(time.RFC3339))
	}
	return nil
}

// TokenType is "ec-join": type of the AUTHORIZATION TOKEN in a client's setup message that shows the secret of a ticket.
const TokenType = 0x65632d6a6f696e

// Token returns the value of the token that a client shows: the bytes that name the holder, and the secret. A relay counts
// holders, so a holder that comes again is not counted twice.
func (t *Ticket) Token(who [16]byte) []byte { return append(who[:], t.Secret...) }

// ParseToken takes a value apart.
func ParseToken(v []byte) (who [16]byte, secret []byte, ok bool) {
	if len(v) < 32 || len(v) > 80 {
		return who, nil, false
	}
	return [16]byte(v), v[16:], true
}
