package ticket

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func full() *Ticket {
	t := &Ticket{
		Addresses: []string{"moqt://192.0.2.7:4443", "wss://relay.example/"}, IrohAddrs: []string{"192.0.2.7:4444", "[2001:db8::1]:4444"},
		IrohRelay: "https://relay.example", Secret: bytes.Repeat([]byte{7}, 16), Expires: time.Unix(1796000000, 0).UTC(),
	}
	for i := range t.Pin {
		t.Pin[i], t.Iroh[i] = byte(i), byte(0x80+i)
	}
	return t
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []*Ticket{full(), {Addresses: []string{"unix:///run/relay"}}, {Iroh: [32]byte{1}}} {
		text := want.String()
		for _, text := range []string{text, " " + text + "\n", strings.ToUpper(text)} {
			got, err := Parse(text)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Parse(%q) = %+v, %v, want %+v", text, got, err, want)
			}
		}
	}
}

// The text of a ticket is a format: what is handed out today must be read by every later version.
func TestGolden(t *testing.T) {
	small := &Ticket{Addresses: []string{"moqt://a:1"}}
	if got, want := small.String(), "ecaeaqu3lpof2dulzpme5dcowzhgja"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// One letter that is wrong, missing or too many is found.
func TestDamage(t *testing.T) {
	text := full().String()
	for i := range text {
		for _, bad := range []string{text[:i] + text[i+1:], text[:i] + "q" + text[i:], text[:i] + string('a'+('z'-text[i])%26) + text[i+1:]} {
			var e *Error
			if _, err := Parse(bad); !errors.As(err, &e) && bad != text {
				t.Fatalf("letter %d: %q gives %v", i, bad, err)
			}
		}
	}
}

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		full().String(): true, "moqt://relay:4443": false, "ec": false, "ec-atsc-2065-3": false, "ecrelay:4443": false, "": false,
		"unix:///ec": false, strings.ToUpper(full().String()): true,
	} {
		if Is(text) != want {
			t.Errorf("Is(%q) = %v", text, !want)
		}
	}
}

func TestExpired(t *testing.T) {
	ticket := full()
	if err := ticket.Expired(ticket.Expires.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := ticket.Expired(ticket.Expires); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	if err := new(Ticket).Expired(ticket.Expires); err != nil {
		t.Error("a ticket without an end expires:", err)
	}
}

func TestNameHoldsNoSecret(t *testing.T) {
	ticket := full()
	if ticket.Name() != "moqt://192.0.2.7:4443" {
		t.Error(ticket.Name())
	}
	ticket.Addresses = nil
	if !strings.HasPrefix(ticket.Name(), "iroh://8081") {
		t.Error(ticket.Name())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full().String())
	f.Add((&Ticket{Iroh: [32]byte{1}}).String())
	f.Add("ecaaaaaaaa")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%q: %+v, again %+v, %v", text, got, again, err)
		}
	})
}
