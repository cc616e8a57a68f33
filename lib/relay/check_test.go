package relay

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/store"
)

// TestCheckLinks: a store that is a link is as good as what it leads to.
func TestCheckLinks(t *testing.T) {
	dir := t.TempDir()
	for link, to := range map[string]string{"good": dir, "dangling": "nowhere"} {
		path := filepath.Join(dir, link)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		for _, below := range []string{"", "a/b"} {
			dir := filepath.Join(path, below)
			err := Check(ServerConfig{Dir: dir})
			if made := os.MkdirAll(dir, 0o755); (err == nil) != (made == nil) {
				t.Errorf("%s: %v, and making it: %v", dir, err, made)
			}
		}
	}
}

// TestCheckFolderOfOthers: who may not write in a folder can run a relay there if store and key are in it, and not otherwise.
func TestCheckFolderOfOthers(t *testing.T) {
	dir := t.TempDir()
	try := func(step, path string, starts bool) {
		t.Helper()
		defer asStranger(t, dir)()
		if err := Check(ServerConfig{Dir: path}); (err == nil) != starts {
			t.Errorf("%s: %v", step, err)
		}
	}
	try("an empty folder", dir, false)
	try("a folder in it", filepath.Join(dir, "below"), false)
	if _, err := keys.LoadKey(dir); err != nil {
		t.Fatal(err)
	}
	try("a key", dir, false)
	st, err := store.Open(dir, store.Config{})
	if err == nil {
		err = st.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	try("a key and a store", dir, true)
	if err := os.Remove(filepath.Join(dir, keys.KeyFile)); err != nil {
		t.Fatal(err)
	}
	try("a store", dir, false)
}

// asStranger makes the test somebody who owns what is in a folder, and may write nothing in the folder itself, until back is called. Root may write
// everywhere, so root's thread looks at files as another user.
func asStranger(t *testing.T, dir string) (back func()) {
	t.Helper()
	root := os.Getuid() == 0
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(os.Chmod(dir, 0o555))
	if root {
		const stranger = 65534
		ok(os.Chmod(filepath.Dir(dir), 0o755))
		list, err := os.ReadDir(dir)
		ok(err)
		for _, e := range list {
			ok(os.Chown(filepath.Join(dir, e.Name()), stranger, stranger))
		}
		runtime.LockOSThread()
		ok(syscall.Setfsuid(stranger))
	}
	return func() {
		if root {
			ok(syscall.Setfsuid(0))
			runtime.UnlockOSThread()
		}
		ok(os.Chmod(dir, 0o755))
	}
}

// TestCheckListens: an address at which nothing can listen is told before a store is made, but one that the relay of this store has is fine.
func TestCheckListens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for _, c := range []ServerConfig{
		{Listen: []string{"192.0.2.1:0"}}, {Listen: []string{"tcp://192.0.2.1:0"}}, {Listen: []string{"wss://192.0.2.1:0"}}, {HTTP: []string{"192.0.2.1:0"}},
		{Listen: []string{"unix://" + filepath.Join(dir, "nowhere", "s")}}, {Listen: []string{"nowhere.invalid:0"}}, {QLogDir: filepath.Join(os.DevNull, "q")},
	} {
		c.Dir = dir
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%v, %v and %v: started", c.Listen, c.HTTP, c.QLogDir)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%v, %v and %v: left a store", c.Listen, c.HTTP, c.QLogDir)
		}
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	taken := []ServerConfig{
		{Dir: dir, Listen: []string{udp.LocalAddr().String()}}, {Dir: dir, Listen: []string{"tcp://" + tcp.Addr().String()}}, {Dir: dir, HTTP: []string{tcp.Addr().String()}},
	}
	for _, c := range taken {
		err := Check(c)
		if code, _ := exit.Of(err); !errors.Is(err, syscall.EADDRINUSE) || code != exit.Busy {
			t.Errorf("%v and %v in use: %v", c.Listen, c.HTTP, err)
		}
	}
	st, err := store.Open(dir, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, c := range taken {
		if err := Check(c); err != nil {
			t.Errorf("%v and %v in use, and a relay runs: %v", c.Listen, c.HTTP, err)
		}
	}
}
