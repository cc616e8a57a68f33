package relay

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/mesh"
)

// words is a log that a test reads.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *words) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// A relay starts whatever is in the place of a file that can be made anew or done without, says so, and has the same key.
func TestStartsWithDamage(t *testing.T) {
	first := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}})
	key, err := os.ReadFile(filepath.Join(first.dir, keys.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{FingerprintFile, keys.CertificateFile, keys.BrowserFile, ResetKeyFile, admin.SocketFile, "cert.pem", mesh.TicketsFile, ".tmp-1"} {
		for _, what := range []string{"a folder", "garbage"} {
			t.Run(file+" is "+what, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, file)
				os.WriteFile(filepath.Join(dir, keys.KeyFile), key, 0o600)
				if what == "a folder" {
					os.MkdirAll(filepath.Join(path, "full"), 0o755)
				} else {
					os.WriteFile(path, []byte(what), 0o600)
				}
				log := new(words)
				d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}, Dir: dir, Logger: log.logger()})
				if d.pin != first.pin {
					t.Errorf("another key")
				}
				silent := file == ".tmp-1" || what == "garbage" && file == FingerprintFile || // replaced
					file == mesh.TicketsFile // said when somebody comes
				if !silent && !strings.Contains(log.String(), path) {
					t.Errorf("not a word of %s:\n%s", path, log)
				}
			})
		}
	}
}

// A secret that others might have read is made anew.
func TestSecretsOfOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{keys.BrowserFile, ResetKeyFile} {
		path := filepath.Join(dir, name)
		openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}, Dir: dir}).stop()
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, 0o644)
		log := new(words)
		openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}, Dir: dir, Logger: log.logger()}).stop()
		is, err := os.ReadFile(path)
		st, serr := os.Stat(path)
		if err != nil || serr != nil || bytes.Equal(was, is) || st.Mode().Perm() != 0o600 || !strings.Contains(log.String(), path) {
			t.Errorf("%s: the same: %v, mode %v, log: %s", name, bytes.Equal(was, is), st.Mode(), log)
		}
	}
}

// Everything in a relay's folder that is secret, or by which others could keep the relay from its work, is the owner's alone.
func TestModes(t *testing.T) {
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}})
	if _, err := ask[TicketMade](t, d, "ticket", nil); err != nil {
		t.Fatal(err)
	}
	public := map[string]fs.FileMode{FingerprintFile: 0o644, keys.CertificateFile: 0o644, "groups": fs.ModeDir | 0o755}
	list, err := os.ReadDir(d.dir)
	if err != nil || len(list) < 8 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, e := range list {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		want, known := public[e.Name()]
		if !known {
			want = st.Mode().Type() | 0o600
		}
		if st.Mode() != want {
			t.Errorf("%s: %v, want %v", e.Name(), st.Mode(), want)
		}
	}
}

// What killed relays left is removed, nothing else is; a folder in which others may write is pointed out.
func TestLeftBehind(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * passingAge)
	for name, stays := range map[string]bool{".tmp-123": false, ".tickets-9": false, ".admin-77": false, ".tmp-mine": true, "tmp-1": true, ".tmp-5new": true, ".tmp-": true} {
		path := filepath.Join(dir, name)
		if strings.HasPrefix(name, ".admin") {
			os.Mkdir(path, 0o700)
			os.WriteFile(filepath.Join(path, admin.SocketFile), nil, 0o600)
		} else {
			os.WriteFile(path, []byte("x"), 0o600)
		}
		os.Chtimes(path, old, old)
		defer func() {
			if _, err := os.Lstat(path); (err == nil) != stays {
				t.Errorf("%s: stays: %v", name, err == nil)
			}
		}()
	}
	os.WriteFile(filepath.Join(dir, ".tmp-456"), []byte("of now"), 0o600) // somebody may be about to finish it
	os.Chmod(dir, 0o777)
	log := new(words)
	openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}, Dir: dir, Logger: log.logger()})
	if _, err := os.Lstat(filepath.Join(dir, ".tmp-456")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "others may write") {
		t.Errorf("log: %s", log)
	}
}
