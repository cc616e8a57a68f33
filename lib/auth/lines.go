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

	stamp fs.FileInfo // of the file as it was read; nil: read again
	known []T
}

// Read returns the records of the file, which must not be changed. Without a file there are none.
func (l *Lines[T]) Read() ([]T, error) {
	f, err := os.Open(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		l.known, l.stamp = nil, nil
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
	l.known, l.stamp = known, st
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
	l.stamp = nil // the file is read again, because its time may be that of before
	_, err = l.Read()
	return err
}
