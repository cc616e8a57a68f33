package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"every.channel/ec/lib/ticket"
)

// TicketsFile is the file in the store's folder with the tickets that were made: no secrets, only their hashes.
const TicketsFile = "tickets"

// Bounds of tickets.
const (
	// MaxUses is the largest bound of how many holders may come with one ticket.
	MaxUses = 4096
	// MaxNote is how long a note may be, in bytes.
	MaxNote = 200
	// MinLife and MaxLife are the shortest and the longest time for which a ticket is good, if not for ever.
	MinLife, MaxLife = time.Second, 100 * 365 * 24 * time.Hour
	// maxTickets bounds the tickets that are known at a time; expired ones are forgotten.
	maxTickets = 4096
	// maxTicketsFile bounds the file, in bytes.
	maxTicketsFile = 16 << 20
)

// Errors of tickets that are not taken.
var (
	ErrUnknownTicket = errors.New("the relay does not know this ticket")
	ErrSpentTicket   = errors.New("the ticket is spent: others came with it, as many as it is for")
)

// TermsError says why a ticket cannot be made with the given terms.
type TermsError struct{ err error }

func (e *TermsError) Error() string { return e.err.Error() }
func (e *TermsError) Unwrap() error { return e.err }

// Tickets are the tickets that a relay has given out. Methods may be called concurrently. Only the relay that holds the store's
// lock writes the file; an operator may change it by hand, and the file is read again when it has changed.
type Tickets struct {
	path string

	mu    sync.Mutex  // guards what follows
	stamp fs.FileInfo // of the file as it was read; nil: read again
	known []record
}

// record is a line of the file (docs/format/ticket.md).
type record struct {
	V       int        `json:"v"`
	Hash    string     `json:"hash"`              // SHA-256 of the secret
	Expires *time.Time `json:"expires,omitempty"` // never without
	Uses    int        `json:"uses,omitempty"`    // how many may come; 0: any number
	Holders []string   `json:"holders,omitempty"` // SHA-256 of the holders that came
	Note    string     `json:"note,omitempty"`
}

// NewTickets returns the tickets in a folder's file, which is made with the first ticket.
func NewTickets(dir string) *Tickets { return &Tickets{path: filepath.Join(dir, TicketsFile)} }

// Terms are the terms of a new ticket.
type Terms struct {
	// Life is how long the ticket is good. Default 0: for ever.
	Life time.Duration
	// Uses is how many holders may come with it. Default 0: any number.
	Uses int
	// Note says what the ticket was made for.
	Note string
}

// Check returns a TermsError for terms that no ticket may have.
func (t Terms) Check() error {
	bad := func(format string, args ...any) error { return &TermsError{fmt.Errorf(format, args...)} }
	switch {
	case t.Uses < 0 || t.Uses > MaxUses:
		return bad("%d uses: at most %d may come with one ticket, and 0 lets any number come", t.Uses, MaxUses)
	case t.Life != 0 && (t.Life < MinLife || t.Life > MaxLife):
		return bad("good for %v: want %v to %d years, and 0 is for ever", t.Life, MinLife, MaxLife/(365*24*time.Hour))
	case len(t.Note) > MaxNote:
		return bad("a note of %d bytes: want at most %d", len(t.Note), MaxNote)
	case strings.ContainsFunc(t.Note, unicode.IsControl) || !utf8.ValidString(t.Note):
		return bad("a note of more than one line, or not of letters")
	}
	return nil
}

// Issue gives t a secret and an end, and stores it. It returns a TermsError for terms that no ticket may have, and for a ticket
// that nobody could use.
func (ts *Tickets) Issue(t *ticket.Ticket, terms Terms, now time.Time) error {
	if err := terms.Check(); err != nil {
		return err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.read(); err != nil {
		return err
	}
	t.Secret = ticket.NewSecret()
	r := record{V: 1, Hash: sum(t.Secret), Uses: terms.Uses, Note: terms.Note}
	t.Expires = time.Time{}
	if terms.Life > 0 {
		t.Expires = now.Add(terms.Life + time.Second - 1).UTC().Truncate(time.Second) // not earlier than asked for
		r.Expires = &t.Expires
	}
	if _, err := ticket.Parse(t.String()); err != nil { // parsed as its holders will parse it
		return &TermsError{err}
	}
	known := slices.DeleteFunc(slices.Clone(ts.known), func(r record) bool { return r.expired(now) })
	if len(known) >= maxTickets {
		return fmt.Errorf("%s: %d tickets are good already", ts.path, len(known))
	}
	return ts.write(append(known, r))
}

// Redeem checks the value of a token, and notes its holder: it returns nil for a holder that may come now, or that came before.
func (ts *Tickets) Redeem(token []byte, now time.Time) error {
	who, secret, ok := ticket.ParseToken(token)
	if !ok {
		return ErrUnknownTicket
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.read(); err != nil {
		return err
	}
	hash := sum(secret) // a hash of many random bits, so the time that a comparison takes tells nothing
	i := slices.IndexFunc(ts.known, func(r record) bool { return r.Hash == hash })
	if i < 0 {
		return ErrUnknownTicket
	}
	r := ts.known[i]
	if r.expired(now) {
		return ticket.ErrExpired
	}
	holder := sum(who[:])
	switch {
	case r.Uses == 0 || slices.Contains(r.Holders, holder):
		return nil
	case r.left() == 0:
		return ErrSpentTicket
	}
	known := slices.Clone(ts.known)
	known[i].Holders = append(slices.Clone(r.Holders), holder)
	return ts.write(known)
}

func (r record) expired(now time.Time) bool { return r.Expires != nil && !now.Before(*r.Expires) }

// left returns how many holders may still come, if there is a bound.
func (r record) left() int { return max(0, min(r.Uses, MaxUses)-len(r.Holders)) }

// id is the name of a ticket for its operator; it lets nobody in.
func (r record) id() string { return r.Hash[:min(len(r.Hash), idDigits)] }

// idDigits is the length of a ticket's id: the first digits of the hash of its secret.
const idDigits = 16

// Ticket is everything that is told of a ticket; its secret is not.
type Ticket struct {
	ID      string     `json:"id"`
	Note    string     `json:"note,omitempty"`
	Expires *time.Time `json:"expires,omitempty"` // never without
	Uses    int        `json:"uses,omitempty"`    // how many may come; 0: any number
	Left    *int       `json:"left,omitempty"`    // of them; without a bound there is none
}

// ID returns the id of a ticket that was issued.
func (*Tickets) ID(t *ticket.Ticket) string { return sum(t.Secret)[:idDigits] }

// List returns the tickets that have not expired, in the order in which they were made.
func (ts *Tickets) List(now time.Time) ([]Ticket, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.read(); err != nil {
		return nil, err
	}
	list := []Ticket{}
	for _, r := range ts.known {
		if r.expired(now) {
			continue
		}
		t := Ticket{ID: r.id(), Note: r.Note, Expires: r.Expires, Uses: r.Uses}
		if r.Uses > 0 {
			left := r.left()
			t.Left = &left
		}
		list = append(list, t)
	}
	return list, nil
}

// Revoke forgets the ticket with an id. ErrUnknownTicket: there is none.
func (ts *Tickets) Revoke(id string) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.read(); err != nil {
		return err
	}
	known := slices.DeleteFunc(slices.Clone(ts.known), func(r record) bool { return r.id() == id })
	if len(known) == len(ts.known) {
		return ErrUnknownTicket
	}
	return ts.write(known)
}

// IDOfToken returns the id of the ticket that a token belongs to; "" if the token is none of a ticket.
func IDOfToken(token []byte) string {
	_, secret, ok := ticket.ParseToken(token)
	if !ok {
		return ""
	}
	return sum(secret)[:idDigits]
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// read reads the file if it has changed.
func (ts *Tickets) read() error {
	f, err := os.Open(ts.path)
	if errors.Is(err, fs.ErrNotExist) {
		ts.known, ts.stamp = nil, nil
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if was := ts.stamp; was != nil && os.SameFile(was, st) && st.ModTime().Equal(was.ModTime()) && st.Size() == was.Size() && st.Mode() == was.Mode() {
		return nil
	}
	ts.stamp = nil
	switch {
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s: not a file", ts.path)
	case st.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s: others may read it; chmod 600", ts.path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTicketsFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxTicketsFile {
		return fmt.Errorf("%s: longer than %d bytes", ts.path, maxTicketsFile)
	}
	var known []record
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(text, &r); err != nil || r.V != 1 || len(r.Hash) != 2*sha256.Size {
			return fmt.Errorf("%s: line %d is no ticket of this version", ts.path, line)
		}
		known = append(known, r)
	}
	ts.known, ts.stamp = known, st
	return nil
}

// write replaces the file.
func (ts *Tickets) write(known []record) error {
	var b bytes.Buffer
	for _, r := range known {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if b.Len() > maxTicketsFile {
		return fmt.Errorf("%s: no room for more than %d bytes", ts.path, maxTicketsFile)
	}
	f, err := os.CreateTemp(filepath.Dir(ts.path), ".tickets-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), ts.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	ts.stamp = nil // the file is read again, because its time may be that of before
	return ts.read()
}
