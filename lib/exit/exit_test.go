package exit

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestWith(t *testing.T) {
	inner := With(IO, io.ErrClosedPipe, "free some space")
	for _, c := range []struct {
		name string
		err  error
		code int
		ok   bool
		hint string
	}{
		{"no error", With(IO, nil, "never seen"), Other, false, ""},
		{"none chose", io.EOF, Other, false, ""},
		{"one chose", inner, IO, true, "free some space"},
		{"wrapped", fmt.Errorf("store: %w", inner), IO, true, "free some space"},
		{"the outer one counts, with its own hint", With(Config, inner, "name another folder"), Config, true, "name another folder"},
		{"the outer one counts, with the hint within", With(Config, inner, ""), Config, true, "free some space"},
		{"joined", errors.Join(io.EOF, inner), IO, true, "free some space"},
	} {
		code, ok := Of(c.err)
		if code != c.code || ok != c.ok || Hint(c.err) != c.hint {
			t.Errorf("%s: code %d %v, hint %q", c.name, code, ok, Hint(c.err))
		}
	}
	if !errors.Is(inner, io.ErrClosedPipe) || inner.Error() != io.ErrClosedPipe.Error() {
		t.Errorf("%v hides its cause", inner)
	}
}
