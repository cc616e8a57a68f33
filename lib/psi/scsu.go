package psi

import (
	"unicode/utf16"
	"unicode/utf8"
)

// Windows at the start of a text, Unicode Technical Standard #6 §6.3 and §6.4.
var (
	scsuStatic  = [8]rune{0x0000, 0x0080, 0x0100, 0x0300, 0x2000, 0x2080, 0x2100, 0x3000}
	scsuDynamic = [8]rune{0x0080, 0x00c0, 0x0400, 0x0600, 0x0900, 0x3040, 0x30a0, 0xff00}
)

// Tags of the two modes; those with a window have it in their lower three bits.
const (
	scsuSQ0 = 0x01 // quote from window 0; to 0x08
	scsuSDX = 0x0b // define an extended window
	scsuSQU = 0x0e // quote one UTF-16 unit
	scsuSCU = 0x0f // change to Unicode mode
	scsuSC0 = 0x10 // change to window 0; to 0x17
	scsuSD0 = 0x18 // define window 0; to 0x1f
	scsuUC0 = 0xe0 // change to single-byte mode, window 0; to 0xe7
	scsuUD0 = 0xe8 // define window 0 and change to it; to 0xef
	scsuUQU = 0xf0 // quote one UTF-16 unit
	scsuUDX = 0xf1 // define an extended window and change to it
	scsuUR  = 0xf2 // reserved
)

// scsuText decodes the Standard Compression Scheme for Unicode, UTS #6. A text that breaks off or holds a reserved
// value ends with U+FFFD.
func scsuText(b []byte) string {
	d := scsu{b: b, windows: scsuDynamic}
	for ok := true; ok && len(d.b) > 0; {
		if d.unicode {
			ok = d.unicodeMode()
		} else {
			ok = d.singleByteMode()
		}
		if !ok {
			d.put(utf8.RuneError)
		}
	}
	return string(utf16.Decode(d.out))
}

type scsu struct {
	b       []byte // still to be read
	out     []uint16
	windows [8]rune
	window  int
	unicode bool
}

func (d *scsu) put(r rune) { d.out = utf16.AppendRune(d.out, r) }

// take reads n bytes as a number.
func (d *scsu) take(n int) (v rune, ok bool) {
	if len(d.b) < n {
		d.b = nil
		return 0, false
	}
	for _, c := range d.b[:n] {
		v = v<<8 | rune(c)
	}
	d.b = d.b[n:]
	return v, true
}

// unit takes over one UTF-16 unit, which may be half of a surrogate pair.
func (d *scsu) unit() bool {
	v, ok := d.take(2)
	if ok {
		d.out = append(d.out, uint16(v))
	}
	return ok
}

func (d *scsu) singleByteMode() bool {
	c, _ := d.take(1)
	switch {
	case c >= 0x80:
		d.put(d.windows[d.window] + c - 0x80)
	case c >= 0x20, c == 0x00, c == '\t', c == '\n', c == '\r':
		d.put(c)
	case c >= scsuSQ0 && c < scsuSQ0+8:
		v, ok := d.take(1)
		switch n := c - scsuSQ0; {
		case !ok:
			return false
		case v < 0x80:
			d.put(scsuStatic[n] + v)
		default:
			d.put(d.windows[n] + v - 0x80)
		}
	case c == scsuSDX:
		return d.extend()
	case c == scsuSQU:
		return d.unit()
	case c == scsuSCU:
		d.unicode = true
	case c >= scsuSC0 && c < scsuSC0+8:
		d.window = int(c - scsuSC0)
	case c >= scsuSD0:
		return d.define(int(c - scsuSD0))
	default: // 0x0c is reserved
		return false
	}
	return true
}

func (d *scsu) unicodeMode() bool {
	switch c := d.b[0]; {
	case c < scsuUC0, c > scsuUR:
		return d.unit()
	case c < scsuUD0:
		d.b = d.b[1:]
		d.window, d.unicode = int(c-scsuUC0), false
		return true
	case c < scsuUQU:
		d.b = d.b[1:]
		d.unicode = false
		return d.define(int(c - scsuUD0))
	case c == scsuUQU:
		d.b = d.b[1:]
		return d.unit()
	case c == scsuUDX:
		d.b = d.b[1:]
		d.unicode = false
		return d.extend()
	}
	return false
}

// define gives a window another place and changes to it, UTS #6 table 4.
func (d *scsu) define(n int) bool {
	x, ok := d.take(1)
	var at rune
	switch {
	case !ok, x == 0, x > 0xa7 && x < 0xf9:
		return false
	case x < 0x68:
		at = x * 0x80
	case x <= 0xa7:
		at = x*0x80 + 0xac00
	default:
		at = [...]rune{0x00c0, 0x0250, 0x0370, 0x0530, 0x3040, 0x30a0, 0xff60}[x-0xf9]
	}
	d.windows[n], d.window = at, n
	return true
}

// extend gives a window a place beyond the basic multilingual plane and changes to it.
func (d *scsu) extend() bool {
	v, ok := d.take(2)
	if !ok {
		return false
	}
	d.window = int(v >> 13)
	d.windows[d.window] = 0x10000 + 0x80*(v&0x1fff)
	return true
}
