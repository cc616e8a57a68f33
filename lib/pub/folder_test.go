package pub

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/store"
)

// The store of a relay that is stopped is no spool, whichever of its files is left.
func TestRelaysStoreIsNoSpool(t *testing.T) {
	for _, file := range relayFiles {
		dir := t.TempDir()
		st, err := store.Open(dir, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(st.Close(), os.WriteFile(filepath.Join(dir, file), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err = Run(testContext(t), Config{Relays: []string{"moqt://127.0.0.1:1"}, Spool: dir}, bytes.NewReader(nil))
		if code, _ := exit.Of(err); !errors.Is(err, ErrRelaysStore) || code != exit.Config || exit.Hint(err) == "" {
			t.Errorf("%s: %v, code %d", file, err, code)
		}
	}
}
