package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAudit: lines are added and never changed, the files are bounded, and strangers cause only so many.
func TestAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), AuditFile)
	a, err := OpenAudit(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_780_000_000, 0)
	a.now, a.most = func() time.Time { return now }, 4096
	a.Add(Entry{What: "takedown", Who: "uid 0", Subject: "ec", Detail: strings.Repeat("é", 5000)})
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e Entry
	if err := json.Unmarshal(first, &e); err != nil || e.V != 1 || e.What != "takedown" || !e.Time.Equal(now) || len(e.Detail) > maxAuditText {
		t.Fatalf("%s: %v", first, err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	a.Close()
	os.WriteFile(path, append(first, `{"v":1,"ti`...), 0o600) // torn
	first = append(first, `{"v":1,"ti`...)
	if a, err = OpenAudit(path, nil); err != nil {
		t.Fatal(err)
	}
	a.now, a.most = func() time.Time { return now }, 4096
	a.Add(Entry{What: "lift"})
	if b, _ := os.ReadFile(path); !bytes.HasPrefix(b, first) || bytes.Count(b, []byte("\n")) != 3 {
		t.Errorf("not added: %s", b)
	}

	for i := range 3 * AuditBurst {
		a.AddOf(Entry{What: "refused", Who: fmt.Sprint(i)})
	}
	now = now.Add(2 * time.Second)
	a.AddOf(Entry{What: "refused", Who: "late"})
	all := ""
	for n := AuditFiles; n >= 0; n-- {
		name := path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", path, n)
		}
		b, _ := os.ReadFile(name)
		if len(b) > 4096 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		all += string(b)
	}
	if n := strings.Count(all, `"refused"`); n != AuditBurst+1 || !strings.Contains(all, fmt.Sprintf(`"who":"late","left_out":%d}`, 2*AuditBurst)) {
		t.Errorf("%d lines of strangers, the last: %s", n, all[max(0, len(all)-200):])
	}
	for i := range 1000 {
		a.Add(Entry{What: "reload", Who: fmt.Sprint(i)})
	}
	list, _ := filepath.Glob(path + "*")
	if len(list) != AuditFiles+1 {
		t.Errorf("files: %v", list)
	}
	var none *Audit
	none.Add(Entry{})
	none.AddOf(Entry{})
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}
