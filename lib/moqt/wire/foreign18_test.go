package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestForeign18 reads what other implementations of draft 18 wrote, and writes it the same way.
func TestForeign18(t *testing.T) {
	text, err := os.ReadFile("testdata/foreign18.txt")
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			t.Fatalf("line %q", line)
		}
		b, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		peers[f[0]] = true
		what, err := describe18(b, strings.HasPrefix(f[1], "subgroup "))
		if err != nil || what != f[1] {
			t.Errorf("%s of %s: %s, %v", f[1], f[0], what, err)
		}
	}
	if len(peers) < 6 {
		t.Errorf("peers %v", peers)
	}
}

func describe18(b []byte, subgroup bool) (string, error) {
	if subgroup {
		h, n, err := ParseSubgroupHeader(b, Draft18)
		if err != nil || n == 0 {
			return "", fmt.Errorf("header %d, %w", n, err)
		}
		o, m, err := ParseSubgroupObject(b[n:], Draft18, nil, h.HasProperties, 1<<16)
		if err != nil || n+m != len(b) {
			return "", fmt.Errorf("object %d, %w", m, err)
		}
		return fmt.Sprintf("subgroup %d/%d", h.Group, o.ID), nil
	}
	var types []string
	for len(b) > 0 {
		typ, length, n, err := MessageHeader(b, Draft18)
		if err != nil || n == 0 || len(b) < n+length {
			return "", fmt.Errorf("message header %d, %w", n, err)
		}
		m, err := ParseMessage(Draft18, typ, b[n:n+length])
		if err != nil {
			return "", err
		}
		if _, ok := m.(*Setup); !ok { // whose unknown options are left out
			again, err := AppendMessage(nil, Draft18, m)
			if err != nil || !bytes.Equal(again, b[:n+length]) {
				return "", fmt.Errorf("%T is written %x, %w", m, again, err)
			}
		}
		types = append(types, strings.TrimPrefix(fmt.Sprintf("%T", m), "*wire."))
		b = b[n+length:]
	}
	return strings.Join(types, " "), nil
}
