package pub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"every.channel/ec/lib/exit"
)

// relayFiles are those that a relay has beside its groups, any of which marks a folder as a relay's (docs/format/keys.md, store.md).
var relayFiles = []string{"key", "key.crt", "cert.pem", "browser.pem", "fingerprint", "reset.key", "tickets"}

// ErrRelaysStore: the folder of the spool is a relay's store. A spool's retention would remove what the relay recorded.
var ErrRelaysStore = errors.New("this is a relay's store")

// notARelays refuses the store of a relay, which may be stopped at the moment.
func notARelays(dir string) error {
	for _, name := range relayFiles {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return exit.With(exit.Config, fmt.Errorf("%s: %w: it has the file %q, and its recordings would be removed as the spool's retention says", dir, ErrRelaysStore, name), "give --spool a folder of its own")
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return exit.With(exit.IO, fmt.Errorf("spool: %w", err), "")
		}
	}
	return nil
}
