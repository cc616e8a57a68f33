package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Lines is a file of records, one JSON object a line, that only its user may read. The relay that holds the store's lock writes the file; an
// operator may change it by hand, and it is read again when it has changed. Its owner guards it.
type Lines[T any] struct {
	// Path is where the file is. It is made with the first record.
	Path string
	// Max bounds the file, in bytes.
	Max int64
	// Temp is the pattern of the names under which new files are written, as os.CreateTemp has it.
	Temp string
	// Good reports whether a record is one of this version. What says what it is not.
	Good func(T) bool
	What string
	// ID is by what a record is found; several may have the same. Needed for Of.
	ID func(T) string

	stamp fs.FileInfo // of the file as it was read; nil: read again
	known []T
	index map[string][]T // of known; nil: not made yet
	asOf  time.Time      // when Of last looked whether the file has changed
	err   error          // what it found then
}

// Of returns the records with an id, as they are at a time. For one and the same time the file is looked at once, so that whoever looks at many
// ids at a time does not do so for each.
func (l *Lines[T]) Of(id string, now time.Time) ([]T, error) {
	if l.asOf.IsZero() || !l.asOf.Equal(now) {
		_, l.err = l.Read()
		l.asOf = now
	}
	if l.err != nil {
		return nil, l.err
	}
	if l.index == nil {
		l.index = make(map[string][]T)
		for _, r := range l.known {
			l.index[l.ID(r)] = append(l.index[l.ID(r)], r)
		}
	}
	return l.index[id], nil
}

// Read returns the records of the file, which must not be changed. Without a file there are none.
func (l *Lines[T]) Read() ([]T, error) {
	f, err := os.Open(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		l.known, l.stamp, l.index = nil, nil, nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if was := l.stamp; was != nil && os.SameFile(was, st) && st.ModTime().Equal(was.ModTime()) && st.Size() == was.Size() && st.Mode() == was.Mode() {
		return l.known, nil
	}
	l.stamp = nil
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a file", l.Path)
	case st.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: others may read it; chmod 600", l.Path)
	}
	b, err := io.ReadAll(io.LimitReader(f, l.Max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > l.Max {
		return nil, fmt.Errorf("%s: longer than %d bytes", l.Path, l.Max)
	}
	var known []T
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		var r T
		if err := json.Unmarshal(text, &r); err != nil || !l.Good(r) {
			return nil, fmt.Errorf("%s: line %d is no %s of this version", l.Path, line, l.What)
		}
		known = append(known, r)
	}
	l.known, l.stamp, l.index = known, st, nil
	return known, nil
}

// Write replaces the file.
func (l *Lines[T]) Write(records []T) error {
	var b bytes.Buffer
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if int64(b.Len()) > l.Max {
		return fmt.Errorf("%s: no room for more than %d bytes", l.Path, l.Max)
	}
	f, err := os.CreateTemp(filepath.Dir(l.Path), l.Temp) // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), l.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	syncDir(filepath.Dir(l.Path))
	l.stamp, l.asOf = nil, time.Time{} // the file is read again, because its time may be that of before
	_, err = l.Read()
	return err
}

// syncDir has a folder's names survive a loss of power, where the file system can do that.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	d.Sync() // some file systems refuse it for folders; then nothing is lost but the certainty
}
