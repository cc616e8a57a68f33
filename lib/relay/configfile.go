package relay

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

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
