package mesh

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"every.channel/ec/lib/auth"
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
	mu   sync.Mutex // guards file
	file auth.Lines[record]
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
func NewTickets(dir string) *Tickets {
	return &Tickets{file: auth.Lines[record]{
		Path: filepath.Join(dir, TicketsFile), Max: maxTicketsFile, Temp: ".tickets-*", What: "ticket",
		Good: func(r record) bool { return r.V == 1 && len(r.Hash) == 2*sha256.Size },
		ID:   record.id,
	}}
}

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
	all, err := ts.file.Read()
	if err != nil {
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
	known := slices.DeleteFunc(slices.Clone(all), func(r record) bool { return r.expired(now) })
	if len(known) >= maxTickets {
		return fmt.Errorf("%s: %d tickets are good already", ts.file.Path, len(known))
	}
	return ts.file.Write(append(known, r))
}

// Redeem checks the value of a token, and notes its holder: it returns nil for a holder that may come now, or that came before.
func (ts *Tickets) Redeem(token []byte, now time.Time) error {
	who, secret, ok := ticket.ParseToken(token)
	if !ok {
		return ErrUnknownTicket
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all, err := ts.file.Read()
	if err != nil {
		return err
	}
	hash := sum(secret) // a hash of many random bits, so the time that a comparison takes tells nothing
	i := slices.IndexFunc(all, func(r record) bool { return r.Hash == hash })
	if i < 0 {
		return ErrUnknownTicket
	}
	r := all[i]
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
	known := slices.Clone(all)
	known[i].Holders = append(slices.Clone(r.Holders), holder)
	return ts.file.Write(known)
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
	all, err := ts.file.Read()
	if err != nil {
		return nil, err
	}
	list := []Ticket{}
	for _, r := range all {
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
	all, err := ts.file.Read()
	if err != nil {
		return err
	}
	known := slices.DeleteFunc(slices.Clone(all), func(r record) bool { return r.id() == id })
	if len(known) == len(all) {
		return ErrUnknownTicket
	}
	return ts.file.Write(known)
}

// Good reports whether the ticket with an id still lets its holders stay: it returns ticket.ErrExpired or ErrUnknownTicket if not.
func (ts *Tickets) Good(id string, now time.Time) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all, err := ts.file.Of(id, now)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return ErrUnknownTicket
	case all[0].expired(now):
		return ticket.ErrExpired
	}
	return nil
}

// Ends returns when the ticket with an id ends; zero: never, or there is none.
func (ts *Tickets) Ends(id string) (end time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all, _ := ts.file.Read()
	for _, r := range all {
		if r.id() == id && r.Expires != nil {
			end = *r.Expires
		}
	}
	return end
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
