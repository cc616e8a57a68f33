package psi

import "strings"

// Compression is compression_type of a multiple string structure, A/65 table 6.40.
type Compression uint8

// Compression types.
const (
	Uncompressed       Compression = 0
	TitleHuffman       Compression = 1 // A/65 tables C.4 and C.5
	DescriptionHuffman Compression = 2 // tables C.6 and C.7
)

// Characters with special definitions, A/65 table C.1.
const (
	huffmanEnd    = 0
	huffmanEscape = 27
)

// What is not itself in the written trees.
const (
	treeNode   = '#'
	treeEnd    = '<'
	treeEscape = '~'

	unlistedTree = "~~"
)

// maxSegment is the longest segment of a multiple string structure: number_bytes has 8 bits.
const maxSegment = 255

// trees are the Huffman trees of c, nil where it has none.
func (c Compression) trees() *[128]string {
	switch c {
	case TitleHuffman:
		return &titleTrees
	case DescriptionHuffman:
		return &descriptionTrees
	}
	return nil
}

// tree is the one that codes what follows prior, below 128.
func tree(trees *[128]string, prior byte) string {
	if t := trees[prior]; t != "" {
		return t
	}
	return unlistedTree
}

// skipSubtree is the index in t behind what begins at i.
func skipSubtree(t string, i int) int {
	for open := 1; open > 0; i++ {
		if t[i] == treeNode {
			open++
		} else {
			open--
		}
	}
	return i
}

// leaf is the character that the byte of a tree stands for.
func leaf(c byte) byte {
	switch c {
	case treeEnd:
		return huffmanEnd
	case treeEscape:
		return huffmanEscape
	}
	return c
}

// huffmanText decodes a compressed string, A/65 annex C.2. It ends with the terminating character or with b.
func huffmanText(b []byte, trees *[128]string) string {
	var s strings.Builder
	bits := bitReader{b: b}
	for prior := byte(0); ; {
		c, ok := prior, true
		if prior < 128 {
			if c, ok = bits.symbol(tree(trees, prior)); ok && c == huffmanEscape {
				c, ok = bits.byte()
			}
		} else { // what follows a character from 128 on is not compressed
			c, ok = bits.byte()
		}
		if !ok || c == huffmanEnd {
			return s.String()
		}
		if c != huffmanEscape { // an escape among uncompressed characters leads back to the trees
			s.WriteRune(rune(c))
		}
		prior = c
	}
}

// bitReader reads bits, the first being the highest of a byte.
type bitReader struct {
	b  []byte
	at int // bits read
}

func (r *bitReader) bit() (bit byte, ok bool) {
	if r.at >= 8*len(r.b) {
		return 0, false
	}
	bit = r.b[r.at/8] >> (7 - r.at%8) & 1
	r.at++
	return bit, true
}

func (r *bitReader) byte() (c byte, ok bool) {
	for range 8 {
		bit, ok := r.bit()
		if !ok {
			return 0, false
		}
		c = c<<1 | bit
	}
	return c, true
}

// symbol walks down tree to a leaf.
func (r *bitReader) symbol(tree string) (c byte, ok bool) {
	for i := 0; ; i++ {
		bit, ok := r.bit()
		if !ok {
			return 0, false
		}
		if bit == 1 {
			i = skipSubtree(tree, i)
		}
		if tree[i] != treeNode {
			return leaf(tree[i]), true
		}
	}
}

// bitWriter is the opposite of bitReader.
type bitWriter struct {
	b []byte
	n int // bits written
}

func (w *bitWriter) code(bits uint32, n int) {
	for n--; n >= 0; n-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(bits>>n&1) << (7 - w.n%8)
		w.n++
	}
}

// code is the path to c in tree. No path is longer than 32 bits.
func code(tree string, c byte) (bits uint32, n int, ok bool) {
	if tree == unlistedTree {
		return 1, 1, c == huffmanEscape // tables C.4 and C.6 write the escape as 1
	}
	return find(tree, 0, 0, 0, c)
}

// find looks for c below the node whose children begin at i.
func find(tree string, i int, path uint32, depth int, c byte) (bits uint32, n int, ok bool) {
	for bit := range uint32(2) {
		p := path<<1 | bit
		if tree[i] == treeNode {
			if bits, n, ok = find(tree, i+1, p, depth+1, c); ok {
				return bits, n, true
			}
		} else if leaf(tree[i]) == c {
			return p, depth + 1, true
		}
		i = skipSubtree(tree, i)
	}
	return 0, 0, false
}

// compressible tells whether s has only characters that a compressed string may hold.
func compressible(s string) bool {
	for _, r := range s {
		if r > 0xff || r == huffmanEnd || r == huffmanEscape {
			return false
		}
	}
	return true
}

// appendHuffman encodes the characters of s, all from 1 to 255 and not 27, until the string has grown to
// number_bytes' limit, and returns what is left of them.
func appendHuffman(b []byte, s []rune, trees *[128]string) ([]byte, []rune) {
	const longest = 32 + 8 + 32 + 8 // bits of an escaped character and an escaped end
	w := bitWriter{}
	put := func(prior, c byte) {
		if prior >= 128 {
			w.code(uint32(c), 8)
			return
		}
		t := tree(trees, prior)
		bits, n, ok := code(t, c)
		if !ok || c >= 128 {
			bits, n, _ = code(t, huffmanEscape)
			w.code(bits, n)
			bits, n = uint32(c), 8
		}
		w.code(bits, n)
	}
	prior := byte(0)
	for len(s) > 0 && w.n+longest <= 8*maxSegment {
		put(prior, byte(s[0]))
		prior, s = byte(s[0]), s[1:]
	}
	put(prior, huffmanEnd)
	return append(b, w.b...), s
}
