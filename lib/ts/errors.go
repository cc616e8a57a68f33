package ts

import (
	"bytes"
	"errors"

	"every.channel/ec/lib/exit"
)

var (
	// ErrNotTS: no framing of transport packets was found at the start of the input.
	ErrNotTS = errors.New("not an MPEG transport stream")
	// ErrEmpty: the input ended before its first byte.
	ErrEmpty = errors.New("input is empty")
)

// FormatError is ErrNotTS or ErrEmpty with what the input looks like instead.
type FormatError struct {
	Err  error
	What string // "an object stream", or nothing known
	hint string
}

func (e *FormatError) Error() string {
	if e.What == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ": looks like " + e.What
}

func (e *FormatError) Unwrap() error { return e.Err }

// ExitCode is 65, bad data.
func (e *FormatError) ExitCode() int { return exit.BadData }

// Hint says what to do instead.
func (e *FormatError) Hint() string { return e.hint }

// EcoMagic starts an object stream, docs/format/eco.md.
const EcoMagic = "\x8fECO\r\n\x1a\n"

var lookalikes = []struct {
	at          int
	magic, what string
	hint        string
}{
	{0, EcoMagic, "an object stream", "an object stream has been through ec-chop already; ec-sub --ts or ec-dump --ts gives TS"},
	{0, "\x28\xb5\x2f\xfd", "zstd", "decompress it first: zstd -dc FILE | …"},
	{0, "\x1f\x8b", "gzip", "decompress it first: zcat FILE | …"},
	{4, "ftyp", "MP4", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "\x1a\x45\xdf\xa3", "Matroska or WebM", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "FLV", "Flash video", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "\x00\x00\x01\xba", "an MPEG program stream", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "\x00\x00\x01\xb3", "a bare MPEG-2 video stream", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "\x00\x00\x00\x01", "a bare H.264 or HEVC stream", "remux it: ffmpeg -i FILE -c copy -f mpegts -"},
	{0, "#EXTM3U", "an HLS playlist", "give the URL of the stream, not of the playlist"},
	{0, "<!DOCTYPE", "an HTML page", "the server answered with a page; check the URL"},
	{0, "<html", "an HTML page", "the server answered with a page; check the URL"},
	{0, "{", "JSON", "the server answered with a document; check the URL"},
}

// notTS says what head looks like if not a transport stream.
func notTS(head []byte) error {
	if len(head) == 0 {
		return &FormatError{Err: ErrEmpty, hint: "nothing arrived; check the command before the pipe"}
	}
	for _, l := range lookalikes {
		if len(head) >= l.at && bytes.HasPrefix(head[l.at:], []byte(l.magic)) {
			return &FormatError{Err: ErrNotTS, What: l.what, hint: l.hint}
		}
	}
	if len(head) < PacketSize {
		return &FormatError{Err: ErrNotTS, What: "less than one packet", hint: "a packet has 188 bytes; the input was cut"}
	}
	return &FormatError{Err: ErrNotTS, hint: "no sync byte 0x47 repeats every 188, 192 or 204 bytes"}
}
