package auth

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Types of the AUTHORIZATION TOKEN parameter in which tokens come.
const (
	// TypeOutOfBand is agreed otherwise: either format (draft-ietf-moq-transport-16 §9.2.2.1).
	TypeOutOfBand = 0x0
	// TypeCAT is a Common Access Token (draft-ietf-moq-c4m-01).
	TypeCAT = 0x1
	// TypeJWT is a JSON Web Token: ec-jwt, for which no number is registered.
	TypeJWT = 0x65632d6a7774
)

// MaxToken bounds a token, in bytes.
const MaxToken = 8 << 10

// Authority checks tokens. Methods may be called concurrently.
type Authority struct {
	// Own is the relay's own key, which is trusted. Default: none.
	Own ed25519.PublicKey
	// Files have further keys that are trusted, and are read again when they change. Default: none.
	Files []string
	// Audiences are the names by which tokens may be meant for this relay. A token that names no audience is for every relay that trusts
	// its key. Default: none.
	Audiences []string
	// Types are further types of tokens, besides those above. Default: none.
	Types []uint64
	// Tokens says which ones are revoked. Required.
	Tokens *Tokens
	// Log gets files that cannot be used. Default: none.
	Log *slog.Logger

	trust atomic.Pointer[Trust] // in place of Files, Audiences and Types; nil: these
	mu    sync.Mutex            // guards what follows
	files map[string]keyFile
	asOf  time.Time // when it was last looked whether these have changed
}

// Trust is whose tokens are taken, and which.
type Trust struct {
	Files, Audiences []string
	Types            []uint64
}

// Trusts replaces Files, Audiences and Types. Tokens that are not good any more end what they allowed when they are looked at again.
func (a *Authority) Trusts(t Trust) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trust.Store(&t)
	a.asOf = time.Time{} // there are other files to look at
}

func (a *Authority) trusted() Trust {
	if t := a.trust.Load(); t != nil {
		return *t
	}
	return Trust{a.Files, a.Audiences, a.Types}
}

type keyFile struct {
	stamp fs.FileInfo
	keys  []Key
	err   error
}

// Takes reports whether a type is one of tokens that are checked here.
func (a *Authority) Takes(kind uint64) bool {
	return kind == TypeOutOfBand || kind == TypeCAT || kind == TypeJWT || slices.Contains(a.trusted().Types, kind)
}

// Verify checks a token that came with a type. An error is a Refusal, or a fault of this machine.
func (a *Authority) Verify(kind uint64, token []byte, now time.Time) (*Grant, error) {
	if len(token) > MaxToken {
		return nil, malformed("longer than %d bytes", MaxToken)
	}
	jwt := isJWT(token)
	switch {
	case len(token) == 0:
		return nil, malformed("empty")
	case kind == TypeJWT && !jwt, kind == TypeCAT && jwt:
		return nil, malformed("its type is that of another format")
	}
	var g *Grant
	var err error
	if jwt {
		g, err = a.verifyJWT(string(token), now)
	} else {
		g, err = a.verifyCAT(token, now)
	}
	if err != nil {
		return nil, err
	}
	return g, a.Check(g, now)
}

// Check reports whether a grant is still good: not expired, not revoked, and its key still trusted.
func (a *Authority) Check(g *Grant, now time.Time) error {
	if err := g.within(now); err != nil {
		return err
	}
	if g.signer != nil {
		keys, err := a.keys(g.Key, now)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(keys, g.signer.equal) {
			return ErrUnknownKey
		}
	}
	if g.By == "client" {
		stands, err := a.Tokens.stands(g.ID, g.Key, now)
		if err == nil && !stands {
			err = ErrRevoked
		}
		return err
	}
	switch revoked, err := a.Tokens.revoked(g.ID, now); {
	case err != nil:
		return fmt.Errorf("revoked tokens: %w", err)
	case revoked:
		return ErrRevoked
	}
	return nil
}

// isJWT tells the two formats apart: a Common Access Token begins with a tag of CBOR, above all letters.
func isJWT(token []byte) bool { return len(token) > 0 && token[0] < 0x80 }

// isCAT reports whether bytes begin as those of a Common Access Token.
func isCAT(token []byte) bool {
	token = bytes.TrimPrefix(token, tagCWT)
	return len(token) > 0 && token[0] == tagSign1
}

// Parse makes of a token as text the value and the type with which it is sent: a JSON Web Token, or a Common Access Token in base64url.
func Parse(text string) (value []byte, kind uint64, err error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, 0, malformed("empty")
	case strings.Count(text, ".") == 2:
		value, kind = []byte(text), TypeJWT
	default:
		if value, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); err != nil || !isCAT(value) {
			return nil, 0, malformed("neither a JSON Web Token nor a Common Access Token in base64url")
		}
		kind = TypeCAT
	}
	if len(value) > MaxToken {
		return nil, 0, malformed("longer than %d bytes", MaxToken)
	}
	return value, kind, nil
}

// keys returns the trusted keys with an id, or all of them for none, as they are at a time. For one and the same time files are looked at once.
func (a *Authority) keys(id string, now time.Time) (list []Key, err error) {
	add := func(k Key) {
		if k.goes(id) && len(list) < maxKeys {
			list = append(list, k)
		}
	}
	if a.Own != nil {
		add(Key{KeyID(a.Own), a.Own})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	files := a.trusted().Files
	if a.asOf.IsZero() || !a.asOf.Equal(now) {
		for _, path := range files {
			a.file(path)
		}
		a.asOf = now
	}
	for _, path := range files {
		for _, k := range a.files[path].keys {
			add(k)
		}
	}
	return list, nil
}

// file returns what a file of keys has; one that cannot be used has none, which the log says once. a.mu is held.
func (a *Authority) file(path string) keyFile {
	was, known := a.files[path]
	st, err := os.Stat(path)
	if known && err == nil && was.stamp != nil && os.SameFile(was.stamp, st) && st.ModTime().Equal(was.stamp.ModTime()) && st.Size() == was.stamp.Size() {
		return was
	}
	now := keyFile{stamp: st, err: err}
	if err == nil {
		now.keys, now.err = ReadKeys(path)
	}
	if a.files == nil {
		a.files = make(map[string]keyFile)
	}
	a.files[path] = now
	if a.Log == nil {
		return now
	}
	switch {
	case now.err != nil && (was.err == nil || was.err.Error() != now.err.Error()):
		a.Log.Error("keys of tokens cannot be used, tokens that they signed are refused", "file", path, "err", now.err)
	case now.err == nil && known:
		a.Log.Info("keys of tokens read again", "file", path, "keys", len(now.keys))
	}
	return now
}

// CheckFiles reports a file of keys that cannot be used.
func CheckFiles(files []string) (err error) {
	n := 0
	for _, path := range files {
		keys, e := ReadKeys(path)
		n += len(keys)
		err = errors.Join(err, e)
	}
	if n > maxKeys-1 {
		err = errors.Join(err, fmt.Errorf("%d keys for tokens, at most %d are taken", n, maxKeys-1))
	}
	return err
}
