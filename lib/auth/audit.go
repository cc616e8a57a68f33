package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// AuditFile is the file in the store's folder to which is added who did what at the relay, and when (docs/format/audit.md).
const AuditFile = "audit"

// Bounds of the audit log.
const (
	// MaxAuditFile is how many bytes the file has before it gets the name of the first of AuditFiles earlier ones.
	MaxAuditFile = 16 << 20
	// AuditFiles is how many earlier files are kept.
	AuditFiles = 9
	// AuditBurst and AuditRate bound the lines that strangers can cause: so many at once, and so many a second.
	AuditBurst, AuditRate = 100, 1
	// maxAuditText bounds each text of a line, in bytes.
	maxAuditText = 1024
)

// Entry is a line of the audit log.
type Entry struct {
	V    int       `json:"v"` // 1
	Time time.Time `json:"time"`
	// What was done; docs/format/audit.md has the words.
	What string `json:"what"`
	// Who did it: "uid 0" at the operator's door, "signal", "relay" itself, or the address of a peer.
	Who string `json:"who"`
	// Token is the id of the token or ticket by which it was done; By is its kind. Missing: it was done by none.
	Token string `json:"token,omitempty"`
	By    string `json:"by,omitempty"`
	// Subject is what it was done to: a namespace, a track, an id.
	Subject string `json:"subject,omitempty"`
	// Detail says more, for people.
	Detail string `json:"detail,omitempty"`
	// Err is why it was not done.
	Err string `json:"error,omitempty"`
	// Left is how many lines before this one were left out, because strangers caused too many.
	Left int `json:"left_out,omitempty"`
}

// Audit adds lines to the file. The zero value, and nil, do nothing; methods may be called concurrently.
type Audit struct {
	path string
	most int64
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	file  *os.File   // nil: not open
	size  int64
	torn  bool // the last line is not whole: the machine went down, or the disk was full
	said  bool // that it cannot be written
	fail  func(error)
	spare float64 // how many lines strangers may still cause
	since time.Time
	left  int
}

// OpenAudit opens the log at a path, with mode 0600, and makes it if there is none. failed gets the first of errors in succession.
func OpenAudit(path string, failed func(error)) (*Audit, error) {
	a := &Audit{path: path, most: MaxAuditFile, now: time.Now, fail: failed, spare: AuditBurst}
	if failed == nil {
		a.fail = func(error) {}
	}
	return a, a.open()
}

// open opens the file; a.mu is held, or nobody else has a.
func (a *Audit) open() error {
	f, err := os.OpenFile(a.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file", a.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.file, a.size = f, st.Size()
	if a.size == 0 {
		syncDir(filepath.Dir(a.path))
	}
	if last := [1]byte{'\n'}; a.size > 0 {
		f.ReadAt(last[:], a.size-1)
		a.torn = last[0] != '\n'
	}
	return nil
}

// Add adds a line about what an operator did, or the relay itself. The line is on the disk when it returns.
func (a *Audit) Add(e Entry) {
	if a == nil || a.path == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(e, true)
}

// AddOf adds a line about what a stranger did, unless strangers cause too many.
func (a *Audit) AddOf(e Entry) {
	if a == nil || a.path == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if !a.since.IsZero() {
		a.spare = min(a.spare+AuditRate*now.Sub(a.since).Seconds(), AuditBurst)
	}
	a.since = now
	if a.spare < 1 {
		a.left++
		return
	}
	a.spare--
	e.Left, a.left = a.left, 0
	a.add(e, false)
}

func (a *Audit) add(e Entry, sync bool) {
	err := a.write(e, sync)
	if err != nil && !a.said {
		a.fail(err)
	}
	a.said = err != nil
}

func (a *Audit) write(e Entry, sync bool) error {
	e.V, e.Time = 1, a.now().UTC()
	for _, text := range []*string{&e.Who, &e.Subject, &e.Detail, &e.Err, &e.Token} {
		*text = strings.ToValidUTF8((*text)[:min(len(*text), maxAuditText)], "")
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if a.size > 0 && a.size+int64(len(line)) > a.most {
		if err := a.rotate(); err != nil {
			return err
		}
	}
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	if a.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := a.file.Write(line)
	a.size += int64(n)
	a.torn = n > 0 && n < len(line) || a.torn && n == 0
	if err == nil && sync {
		err = a.file.Sync()
	}
	return err
}

// rotate gives the file the name of the first earlier one, and each of these that of the next; the last one goes.
func (a *Audit) rotate() error {
	name := func(n int) string { return fmt.Sprintf("%s.%d", a.path, n) }
	for n := AuditFiles - 1; n > 0; n-- {
		if err := os.Rename(name(n), name(n+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := os.Rename(a.path, name(1)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
	return a.open()
}

// Close closes the file.
func (a *Audit) Close() error {
	if a == nil || a.path == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}
