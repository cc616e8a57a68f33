package psi

import (
	"strings"
	"testing"
)

func TestDVBText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"ASCII", "arte HD", "arte HD"},
		{"empty", "", ""},
		{"default table, accents before letters", "\xc2e \xc8u \xcfC \xe9", "é ü Č Ø"},
		{"default table, euro", "\xa4", "€"},
		{"an accent no letter has", "\xc2q", "q\u0301"},
		{"an accent at the end", "a\xc2", "a\ufffd"},
		{"8859-5", "\x01\xbf\xe0\xd8", "При"},
		{"8859-9", "\x05\xde\xfd", "Şı"},
		{"8859-15", "\x0b\xa4", "€"},
		{"8859-2 by number", "\x10\x00\x02\xe8", "č"},
		{"8859-1 by number", "\x10\x00\x01\xe8", "è"},
		{"a table of the future", "\x10\x00\x63abc", "abc"},
		{"a table cut off", "\x10\x00", ""},
		{"UTF-16", "\x11\x04\x1f\x04\x40", "Пр"},
		{"UTF-8", "\x15Große", "Große"},
		{"broken UTF-8", "\x15a\xffb", "a\ufffdb"},
		{"emphasis and newline", "a\x86b\x87\x8ac", "ab\nc"},
		{"an escape sequence", "\x15a\x1b[2Jb", "a[2Jb"},
		{"reserved first byte", "\x0cabc", "abc"},
	} {
		if got := DVBText([]byte(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, s := range []string{"plain", "Český ö €", "ニュース", ""} {
		if got := DVBText(AppendDVBText(nil, s)); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	for _, r := range []string{latin6937} {
		if n := len([]rune(r)); n != 96 {
			t.Errorf("the default table has %d places", n)
		}
	}
	for n, r := range iso8859 {
		if len([]rune(r)) != 96 {
			t.Errorf("8859-%d has %d places", n, len([]rune(r)))
		}
	}
}

func TestText(t *testing.T) {
	for _, want := range []Text{
		nil,
		English("News"),
		{{Language: "eng", Text: "Résumé"}, {Language: "fra", Text: "à €5"}},
		English(strings.Repeat("long ", 200)),
		English(strings.Repeat("数", 300)),
		English(""),
	} {
		got, err := ParseText(want.Append(nil))
		if err != nil || len(got) != len(want) {
			t.Errorf("%v becomes %v, %v", want, got, err)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%v becomes %v", want[i], got[i])
			}
		}
	}
	got, err := ParseText([]byte("\x01eng\x02\x01\x00\x02ab\x00\x04\x01\x10"))
	if err != nil || !got[0].Compressed || got[0].Text != "А" {
		t.Errorf("a Huffman segment, then Cyrillic: %+v, %v", got, err)
	}
	whole := English("News").Append(nil)
	for n := 1; n < len(whole); n++ {
		if _, err := ParseText(whole[:n]); err == nil {
			t.Errorf("cut at %d is taken", n)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add(English("News").Append(nil))
	f.Add([]byte("\xc2e \x01\xbf\xe0\xd8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := DVBText(b)
		if strings.ContainsRune(s, 0x1b) {
			t.Fatalf("an escape goes through: %q", s)
		}
		if got := DVBText(AppendDVBText(nil, s)); got != s && !strings.ContainsAny(s, "\ue080\ue09f") {
			for _, r := range s {
				if r >= 0xe080 && r <= 0xe09f {
					return
				}
			}
			t.Fatalf("%q becomes %q", s, got)
		}
		_, _ = ParseText(b)
	})
}
