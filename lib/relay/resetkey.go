package relay

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
)

// ResetKeyFile in Dir holds the key by which a restarted relay tells clients that their connections are gone.
const ResetKeyFile = "reset.key"

// resetKey reads the key, or makes it.
func resetKey(dir string) (*[32]byte, error) {
	path := filepath.Join(dir, ResetKeyFile)
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 32 {
		return (*[32]byte)(b), nil
	}
	key := new([32]byte)
	rand.Read(key[:])
	if err := os.WriteFile(path, key[:], 0o600); err != nil {
		return nil, &codedError{fmt.Errorf("reset key: %w", err), 74, ""}
	}
	return key, nil
}
