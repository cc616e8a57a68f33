package relay

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// Setting is one line of a configuration file.
type Setting struct {
	Name, Value string
	Line        int
}

// ReadSettings reads a configuration file: lines of `name = value`, named like the flags; # starts a
// comment at the start of a line or behind a space.
func ReadSettings(path string) ([]Setting, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, exit.With(exit.Config, err, "")
	}
	defer f.Close()
	var settings []Setting
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := sc.Text()
		if i := strings.Index(" "+line, " #"); i >= 0 {
			line = line[:i]
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		s := Setting{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value), Line: n}
		if !ok || s.Name == "" {
			return nil, SettingError(path, s, errors.New("want name = value"))
		}
		settings = append(settings, s)
	}
	if err := sc.Err(); err != nil {
		return nil, exit.With(exit.Config, fmt.Errorf("%s: %w", path, err), "")
	}
	return settings, nil
}

// SettingError says which line of a configuration file is wrong.
func SettingError(path string, s Setting, err error) error {
	return exit.With(exit.Config, fmt.Errorf("%s:%d: %w", path, s.Line, err), "settings are named like the flags of ec-relay --help")
}

// ParseKeep reads a retention rule, NAMESPACE=AGE[/BYTES]; 0 is no bound. age and size read AGE and BYTES.
func ParseKeep(s string, age func(string) (time.Duration, error), size func(string) (int64, error)) (r store.Rule, err error) {
	fail := func(err error) (store.Rule, error) {
		return store.Rule{}, fmt.Errorf("%q: %w; want NAMESPACE=AGE or NAMESPACE=AGE/SIZE", s, err)
	}
	ns, rest, ok := strings.Cut(s, "=")
	if !ok {
		return fail(errors.New("no ="))
	}
	if r.Prefix, err = object.ParseNamespace(ns); err != nil {
		return fail(err)
	}
	kept, bytes, hasBytes := strings.Cut(rest, "/")
	if r.MaxAge, err = age(kept); err == nil && r.MaxAge < 0 {
		err = errors.New("negative age")
	}
	if err == nil && hasBytes {
		r.MaxBytes, err = size(bytes)
	}
	if err != nil {
		return fail(err)
	}
	return r, nil
}
