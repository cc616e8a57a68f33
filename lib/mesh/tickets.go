package mesh

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"every.channel/ec/lib/ticket"
)

// TicketsFile is the file in the store's folder with what is known of tickets: no secret, only their hashes.
const TicketsFile = "tickets"

const (
	// maxTickets bounds the tickets that are known at a time; expired ones are forgotten.
	maxTickets = 4096
	// maxHolders bounds those who came with one ticket.
	maxHolders = 4096
)

// Errors of tickets that are not taken.
var (
	ErrUnknownTicket = errors.New("the relay does not know this ticket")
	ErrSpentTicket   = errors.New("the ticket is spent")
)

// Tickets are those that a relay has given out. Methods may be called concurrently, also by several processes: the file is read
// again when it has changed.
type Tickets struct {
	path string

	mu    sync.Mutex // guards what follows
	stamp stamp
	known []record
}

type stamp struct {
	at   time.Time
	size int64
}

// record is a line of the file (docs/format/ticket.md).
type record struct {
	V       int        `json:"v"`
	Hash    string     `json:"hash"`              // SHA-256 of the secret
	Expires *time.Time `json:"expires,omitempty"` // never without
	Uses    int        `json:"uses,omitempty"`    // how many may come; 0: any number
	Holders []string   `json:"holders,omitempty"` // SHA-256 of those who came
	Note    string     `json:"note,omitempty"`
}

// NewTickets uses the file in a folder, which is made with the first ticket.
func NewTickets(dir string) *Tickets { return &Tickets{path: filepath.Join(dir, TicketsFile)} }

// Terms are those of a new ticket.
type Terms struct {
	// Life is how long it is good. Default 0: for ever.
	Life time.Duration
	// Uses is how many may come with it. Default 0: any number.
	Uses int
	// Note says what it was made for.
	Note string
}

// Issue gives t a secret and an end, and remembers it.
func (ts *Tickets) Issue(t *ticket.Ticket, terms Terms, now time.Time) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if err := ts.read(); err != nil {
		return err
	}
	t.Secret = ticket.NewSecret()
	r := record{V: 1, Hash: sum(t.Secret), Uses: terms.Uses, Note: terms.Note}
	t.Expires = time.Time{}
	if terms.Life > 0 {
		t.Expires = now.Add(terms.Life).UTC().Truncate(time.Second)
		r.Expires = &t.Expires
	}
	known := slices.DeleteFunc(slices.Clone(ts.known), func(r record) bool { return r.expired(now) })
	if len(known) >= maxTickets {
		return fmt.Errorf("%s: %d tickets are good already", ts.path, len(known))
	}
	return ts.write(append(known, r))
}

// Redeem takes the value of a token: that of somebody who may come, and comes now or came before.
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
	hash := sum(secret) // of many random bits: what the comparison tells by its time is of no use
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
	case len(r.Holders) >= min(r.Uses, maxHolders):
		return ErrSpentTicket
	}
	known := slices.Clone(ts.known)
	known[i].Holders = append(slices.Clone(r.Holders), holder)
	return ts.write(known)
}

func (r record) expired(now time.Time) bool { return r.Expires != nil && !now.Before(*r.Expires) }

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// read reads the file if it has changed.
func (ts *Tickets) read() error {
	f, err := os.Open(ts.path)
	if errors.Is(err, fs.ErrNotExist) {
		ts.known, ts.stamp = nil, stamp{}
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
	now := stamp{st.ModTime(), st.Size()}
	if now == ts.stamp {
		return nil
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: others may read it; chmod 600", ts.path)
	}
	var known []record
	for s := bufio.NewScanner(f); s.Scan(); {
		var r record
		if err := json.Unmarshal(s.Bytes(), &r); err != nil || r.V != 1 {
			return fmt.Errorf("%s: line %d is no ticket of this version", ts.path, len(known)+1)
		}
		known = append(known, r)
	}
	ts.known, ts.stamp = known, now
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
	ts.stamp = stamp{} // read again: the time may be that of before
	return ts.read()
}
