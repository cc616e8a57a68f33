package relay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"every.channel/ec/lib/limits"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/settings"
	"every.channel/ec/lib/store"
)

// ParseLimit reads a bound of what peers may use up into a table: NAME=PEER, NAME=PEER/WIDE or NAME=PEER/WIDE/ALL; 0 is no bound. size reads
// bytes.
func ParseLimit(s string, t *limits.Table, size func(string) (int64, error)) error {
	fail := func(err error) error {
		return fmt.Errorf("%q: %w; want NAME=PEER, NAME=PEER/WIDE or NAME=PEER/WIDE/ALL", s, err)
	}
	name, rest, ok := strings.Cut(s, "=")
	if !ok {
		return fail(errors.New("no ="))
	}
	k, err := limits.ParseKind(strings.TrimSpace(name))
	if err != nil {
		return fail(err)
	}
	parts := strings.Split(rest, "/")
	if k == limits.Sessions && len(parts) > 2 {
		return fail(errors.New("--max-sessions bounds those of all"))
	}
	if len(parts) > 3 {
		return fail(errors.New("more than three bounds"))
	}
	var b [3]int64
	for i, text := range parts {
		if b[i], err = limitOf(k, strings.TrimSpace(text), size); err != nil {
			return fail(err)
		}
		if i > 0 && b[i] > 0 && b[i] < b[i-1] {
			return fail(errors.New("each bound holds for more peers than the one before, and is not smaller"))
		}
	}
	if len(parts) == 1 && b[0] < 0 {
		b[1], b[2] = -1, -1
	}
	if k == limits.Sessions {
		b[2] = t[k].All
	}
	t[k] = limits.Bounds{Peer: b[0], Wide: b[1], All: b[2]}
	return nil
}

// ParseTokenLimit reads a bound of what the holders of a token may use up together: NAME=N.
func ParseTokenLimit(s string, size func(string) (int64, error)) (name string, n int64, err error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok {
		return "", 0, fmt.Errorf("%q: want NAME=N", s)
	}
	k, err := limits.ParseKind(name)
	if err == nil {
		if n, err = limitOf(k, text, size); err == nil && n < 0 {
			err = errors.New("want 1 or more")
		}
	}
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", s, err)
	}
	return name, n, nil
}

// limitOf reads a bound of a kind; 0 is none, which limits writes as -1.
func limitOf(k limits.Kind, text string, size func(string) (int64, error)) (n int64, err error) {
	if k.Bytes() {
		n, err = size(text)
	} else if n, err = strconv.ParseInt(text, 10, 64); err != nil {
		err = fmt.Errorf("%.32q: not a number", text)
	}
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, errors.New("negative")
	}
	return settings.Of(n), nil
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
