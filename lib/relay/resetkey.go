package relay

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// ResetKeyFile in Dir holds the key by which a restarted relay tells clients that their connections are gone.
const ResetKeyFile = "reset.key"

// resetKey reads the key, or makes it. One that others may read is no secret any more; one that cannot be kept lasts as long as the
// process.
func resetKey(dir string, log *slog.Logger) *[32]byte {
	path := filepath.Join(dir, ResetKeyFile)
	b, err := os.ReadFile(path)
	st, serr := os.Stat(path)
	switch {
	case err != nil || serr != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("reset key made anew", "err", errors.Join(err, serr))
		}
	case len(b) != 32 || st.Mode().Perm()&0o077 != 0:
		log.Warn("reset key made anew: damaged, or others might read it", "path", path)
	default:
		return (*[32]byte)(b)
	}
	key := new([32]byte)
	rand.Read(key[:])
	if err := writeFile(path, key[:], 0o600); err != nil {
		log.Warn("reset key not kept: after a restart clients will notice late that their connections are gone", "err", err)
	}
	return key
}
