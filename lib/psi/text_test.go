package psi

import (
	"bytes"
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
		{"a surrogate pair", "\x11\xd8\x3d\xdc\xfa", "📺"},
		{"two-byte emphasis and newline", "\x11\xe0\x86\x00a\xe0\x87\xe0\x8a\x00b", "a\nb"},
		{"KS X 1001", "\x12KBS \xc7\xd1\xb1\xb9\xb9\xe6\xbc\xdb", "KBS 한국방송"},
		{"GB 2312", "\x13CCTV-1 \xd6\xd0\xd1\xeb", "CCTV-1 中央"},
		{"GB 2312, emphasis and newline of one byte", "\x13\x86\xd6\xd0\x87\x8a\xd1\xeb", "中\n央"},
		{"GB 2312, emphasis and newline of two", "\x13\xe0\x86\xd6\xd0\xe0\x87\xe0\x8a\xd1\xeb", "中\n央"},
		{"GB 2312 with a byte missing", "\x13\xd6\xd0\xd1", "中\ufffd"},
		{"GB 2312, no character", "\x13\xd6\xd0\xff!", "中\ufffd!"},
		{"Big5", "\x14\xa4\xbd\xa6@\xb9q\xb5\xf8", "公共電視"},
		{"the code points of ISO/IEC 10646 in place of Big5", "\x14\x51\x6c\x51\x71\x96\xfb\x89\x96", "公共電視"},
		{"Big5 and newline", "\x14\xa4\xbd\xe0\x8aab", "公\nab"},
		{"only the table", "\x13", ""},
		{"UTF-8", "\x15Große", "Große"},
		{"UTF-8 emphasis and newline", "\x15\xee\x82\x86a\xee\x82\x87\xee\x82\x8ab", "a\nb"},
		{"an encoding of somebody's own", "\x1f\x01abc", "\ufffd"},
		{"one without text", "\x1f\x01", ""},
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
		{{Language: "eng", Text: "The next", Compression: TitleHuffman}, {Language: "eng", Text: "It rains.", Compression: DescriptionHuffman}},
		{{Language: "spa", Text: "¿Qué? ñandú", Compression: TitleHuffman}},
		{{Language: "eng", Text: strings.Repeat("A long story, ", 80) + "é", Compression: DescriptionHuffman}},
		English(strings.Repeat("📺", 200)),
		English("a" + strings.Repeat("📺", 200)),
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
	for _, c := range []struct {
		name, in, want string
		compressed     bool
	}{
		{"Huffman title", "\x01eng\x01\x01\x00\x02\x5e\x00", "TV", false},
		{"Huffman description", "\x01eng\x01\x02\x00\x03\xd8\xe5\xd0", "TV.", false},
		{"a Huffman segment, then Cyrillic", "\x01eng\x02\x01\x00\x02\x5e\x00\x00\x04\x01\x10", "TVА", false},
		{"an unknown compression, then Cyrillic", "\x01eng\x02\x03\x00\x02ab\x00\x04\x01\x10", "А", true},
		{"Huffman in a mode it has not", "\x01eng\x01\x01\x04\x02\x5e\x00", "", true},
		{"SCSU", "\x01rus\x01\x00\x3e\x07\x12\x9c\xbe\xc1\xba\xb2\xb0", "Москва", false},
		{"a mode of Taiwan", "\x01zho\x01\x00\x40\x02ab", "", true},
	} {
		got, err := ParseText([]byte(c.in))
		if err != nil || len(got) != 1 || got[0].Compressed != c.compressed || got[0].Text != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	whole := English("News").Append(nil)
	for n := 1; n < len(whole); n++ {
		if _, err := ParseText(whole[:n]); err == nil {
			t.Errorf("cut at %d is taken", n)
		}
	}
}

// What a compressed string cannot hold goes without.
func TestTextThatCannotBeCompressed(t *testing.T) {
	for _, s := range []string{"数", "", "a\x1bb"} {
		in := Text{{Language: "eng", Text: s, Compression: TitleHuffman}}
		got, err := ParseText(in.Append(nil))
		if err != nil || got[0].Compression != Uncompressed || got[0].Text != strings.ReplaceAll(s, "\x1b", "") {
			t.Errorf("%q becomes %+v, %v", s, got, err)
		}
	}
}

// Strings of bits put together from the tables; the first is the example of A/65 annex F.
func TestHuffman(t *testing.T) {
	for _, c := range []struct {
		compression Compression
		text, bits  string
	}{
		{TitleHuffman, "The next", "010 0 0 01 10010100 01101110 010 00010011 01 010"},
		{TitleHuffman, "TV", "010 111100 000"},
		{TitleHuffman, "Lorem ipsum", "11101 00 101 101 1001101 001 010010 000101 10000 0010100 10010 0100"},
		{DescriptionHuffman, "TV.", "1101 1000 111 00101110 1"},
		{DescriptionHuffman, "Lorem ipsum.", "10011 10 011 101 100111 111 10101 000110 01100 110010 111111 110101 1"},
	} {
		want := strings.ReplaceAll(c.bits, " ", "")
		var b []byte
		for i, bit := range want {
			if i%8 == 0 {
				b = append(b, 0)
			}
			b[i/8] |= byte(bit-'0') << (7 - i%8)
		}
		if got := huffmanText(b, c.compression.trees()); got != c.text {
			t.Errorf("%s is read as %q, want %q", c.bits, got, c.text)
		}
		if got, rest := appendHuffman(nil, []rune(c.text), c.compression.trees()); !bytes.Equal(got, b) || len(rest) > 0 {
			t.Errorf("%q is written as %08b, want %08b", c.text, got, b)
		}
	}
}

// Every tree is whole, has no character twice, and has a way out for all others; every pair of characters survives.
func TestHuffmanTrees(t *testing.T) {
	for _, c := range []Compression{TitleHuffman, DescriptionHuffman} {
		trees, codes := c.trees(), 0
		for prior, tr := range trees {
			if tr == "" {
				continue
			}
			if zero := skipSubtree(tr, 0); skipSubtree(tr, zero) != len(tr) {
				t.Errorf("%d, tree %d: more or less than two branches", c, prior)
			}
			leaves := strings.ReplaceAll(tr, string(treeNode), "")
			codes += len(leaves)
			if strings.Count(leaves, string(treeEscape)) != 1 && prior != 0 {
				t.Errorf("%d, tree %d has no escape", c, prior)
			}
			for i := range len(leaves) {
				if strings.Count(leaves, leaves[i:i+1]) != 1 {
					t.Errorf("%d, tree %d has %q twice", c, prior, leaves[i])
				}
			}
		}
		t.Logf("compression_type %d: %d codes", c, codes)
		for i := 1; i < 256; i++ {
			for j := 1; j < 256; j++ {
				if i == huffmanEscape || j == huffmanEscape {
					continue
				}
				in := []rune{rune(i), rune(j)}
				b, _ := appendHuffman(nil, in, trees)
				if got := huffmanText(b, trees); got != string(in) {
					t.Fatalf("compression_type %d: %q becomes %q", c, string(in), got)
				}
			}
		}
	}
}

// Samples of UTS #6 §9.
func TestSCSU(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"German", "\xd6\x6c\x20\x66\x6c\x69\x65\xdf\x74", "Öl fließt"},
		{"Russian", "\x12\x9c\xbe\xc1\xba\xb2\xb0", "Москва"},
		{"all features", "\x41\xdf\x12\x81\x03\x5f\x10\xdf\x1b\x03\xdf\x1c\x88\x80\x0b\xbf\xff\xff\x0d\x0a" +
			"\x41\x10\xdf\x12\x81\x03\x5f\x10\xdf\x13\xdf\x14\x80\x15\xff",
			"A\u00df\u0401\u015f\u00df\u01df\uf000\U0010ffff\r\nA\u00df\u0401\u015f\u00df\u01df\uf000\U0010ffff"},
		{"Unicode mode and back", "\x0f\x65\xe5\xf0\xe0\x01\xd8\x3d\xdc\xfa\xe0a", "日\ue001📺a"},
		{"a window defined there", "\x0f\xea\x08\x80", "\u0400"},
		{"quoted units", "\x0e\xd8\x3d\x0e\xdc\xfaa", "📺a"},
		{"broken off in a quote", "a\x01", "a\ufffd"},
		{"broken off in a unit", "a\x0f\x65", "a\ufffd"},
		{"a reserved tag", "a\x0cb", "a\ufffd"},
		{"a reserved window", "a\x18\x00b", "a\ufffd"},
		{"a reserved tag of Unicode mode", "\x0f\xf2", "\ufffd"},
	} {
		if got := scsuText([]byte(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add(English("News").Append(nil))
	f.Add(Text{{Language: "eng", Text: "The next", Compression: TitleHuffman}}.Append(nil))
	f.Add([]byte("\x01eng\x02\x00\x3e\x07\x12\x9c\xbe\xc1\xba\xb2\xb0\x02\x00\x03\xd8\xe5\xd0"))
	f.Add([]byte("\xc2e \x01\xbf\xe0\xd8"))
	f.Add([]byte("\x13\xe0\x86\xd6\xd0\xe0\x87\x8a\xd1\xeb"))
	f.Add([]byte("\x14\x51\x6c\x51\x71"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := DVBText(b)
		if strings.ContainsRune(s, 0x1b) {
			t.Fatalf("an escape goes through: %q", s)
		}
		if got := DVBText(AppendDVBText(nil, s)); got != s && !strings.ContainsFunc(s, func(r rune) bool { return r >= 0xe080 && r <= 0xe09f }) {
			t.Fatalf("%q becomes %q", s, got)
		}
		if len(b) > maxSection {
			return
		}
		text, err := ParseText(b)
		if err != nil {
			return
		}
		again, err := ParseText(text.Append(nil))
		if err != nil || len(again) != len(text) {
			t.Fatalf("%+v becomes %+v, %v", text, again, err)
		}
		for i := range text {
			if again[i].Text != text[i].Text {
				t.Fatalf("%+v becomes %+v", text[i], again[i])
			}
		}
	})
}
