package mesh

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

func issue(t *testing.T, ts *Tickets, terms Terms) *ticket.Ticket {
	t.Helper()
	tk := &ticket.Ticket{Addresses: []string{"moqt://relay:4443"}}
	if err := ts.Issue(tk, terms, time.Now()); err != nil {
		t.Fatal(err)
	}
	return tk
}

// A ticket for as many as there may be: the file stays readable, for the ticket behind too, and the one too many is refused.
func TestManyHolders(t *testing.T) {
	dir := t.TempDir()
	ts := NewTickets(dir)
	many, other := issue(t, ts, Terms{Uses: MaxUses}), issue(t, ts, Terms{})
	hash := sum(many.Secret)
	all, err := ts.file.Read()
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxUses - 1 { // as if they had come, without so many writes
		all[0].Holders = append(all[0].Holders, sum([]byte{byte(i), byte(i >> 8)}))
	}
	if err := ts.file.Write(all); err != nil {
		t.Fatal(err)
	}
	again := NewTickets(dir)
	if err := again.Redeem(many.Token([16]byte{1}), time.Now()); err != nil {
		t.Errorf("the last of %d: %v", MaxUses, err)
	}
	if err := again.Redeem(many.Token([16]byte{2}), time.Now()); !errors.Is(err, ErrSpentTicket) {
		t.Errorf("one too many: %v", err)
	}
	if err := NewTickets(dir).Redeem(other.Token([16]byte{3}), time.Now()); err != nil {
		t.Errorf("the ticket behind: %v", err)
	}
	list, err := NewTickets(dir).List(time.Now())
	if err != nil || len(list) != 2 || list[0].ID != hash[:16] || list[0].Uses != MaxUses || list[0].Left == nil || *list[0].Left != 0 || list[1].Left != nil {
		t.Errorf("%+v, %v", list, err)
	}
}

// What cannot be read is said, whatever is in the file's place; nothing in it is skipped.
func TestTicketsFileDamaged(t *testing.T) {
	whole := `{"v":1,"hash":"` + strings.Repeat("ab", 32) + `"}` + "\n"
	for name, content := range map[string]string{
		"no JSON": whole + "garbage\n", "another version": `{"v":2}` + "\n", "no hash": `{"v":1,"hash":"ab"}` + "\n",
		"cut": whole[:len(whole)-9], "too long": strings.Repeat(whole, maxTicketsFile/len(whole)+1),
	} {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, TicketsFile), []byte(content), 0o600)
		if list, err := NewTickets(dir).List(time.Now()); err == nil || !strings.Contains(err.Error(), TicketsFile) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, TicketsFile), []byte(whole+"\n"+strings.TrimSpace(whole)), 0o600)
	if list, err := NewTickets(dir).List(time.Now()); err != nil || len(list) != 2 {
		t.Errorf("an empty line, and no line feed at the end: %v, %v", list, err)
	}
	dir = t.TempDir()
	os.Mkdir(filepath.Join(dir, TicketsFile), 0o700)
	if _, err := NewTickets(dir).List(time.Now()); err == nil {
		t.Error("a folder is read")
	}
}

// A relay that cannot look at its tickets says why in its log, and not to who comes; one that is refused is named there.
func TestAdmitTells(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	ts := NewTickets(dir)
	g := &Gate{Tickets: ts, Log: slog.New(slog.NewTextHandler(&log, nil))}
	spent := issue(t, ts, Terms{Uses: 1})
	come := func(who byte) *moqt.SessionError {
		t.Helper()
		err := g.Admit(context.Background(), moqt.PeerInfo{RemoteAddr: "192.0.2.7:99", Tokens: []moqt.Token{{Type: ticket.TokenType, Value: spent.Token([16]byte{who})}}})
		refused, _ := errors.AsType[*moqt.SessionError](err)
		return refused
	}
	if err := come(1); err != nil || log.Len() > 0 {
		t.Fatalf("%v, %s", err, &log)
	}
	if err := come(2); err == nil || err.Code != wire.Unauthorized || !strings.Contains(err.Reason, "spent") {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"ticket refused", "192.0.2.7", ts.ID(spent), "spent", "--uses", "--list"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, &log)
		}
	}
	log.Reset()
	os.WriteFile(filepath.Join(dir, TicketsFile), []byte("garbage\n"), 0o600)
	if err := come(1); err == nil || err.Code != wire.InternalError || strings.Contains(err.Reason, dir) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "line 1 is no ticket") {
		t.Errorf("log: %s", &log)
	}
}

// No ticket is made that nobody could use, and what is refused is not remembered.
func TestTermsOfTickets(t *testing.T) {
	dir := t.TempDir()
	ts := NewTickets(dir)
	for name, c := range map[string]struct {
		terms     Terms
		addresses int
	}{
		"more uses than are counted": {Terms{Uses: MaxUses + 1}, 1}, "uses below none": {Terms{Uses: -1}, 1}, "life below none": {Terms{Life: -time.Hour}, 1},
		"life too short": {Terms{Life: time.Millisecond}, 1}, "life too long": {Terms{Life: MaxLife + 1}, 1},
		"note too long": {Terms{Note: strings.Repeat("x", MaxNote+1)}, 1}, "note of two lines": {Terms{Note: "a\nb"}, 1},
		"too many addresses": {Terms{}, 41}, "no address": {Terms{}, 0},
	} {
		tk := &ticket.Ticket{}
		for range c.addresses {
			tk.Addresses = append(tk.Addresses, "moqt://relay:4443")
		}
		if _, is := errors.AsType[*TermsError](ts.Issue(tk, c.terms, time.Now())); !is {
			t.Errorf("%s: taken", name)
		}
	}
	long := &ticket.Ticket{Addresses: []string{"moqt://" + strings.Repeat("r", 2048) + ":4443"}}
	if err := ts.Issue(long, Terms{}, time.Now()); err == nil || !strings.Contains(err.Error(), "longer than 2048 bytes") {
		t.Errorf("a long address: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, TicketsFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was remembered")
	}
	now := time.Now()
	tk := &ticket.Ticket{Addresses: []string{"moqt://relay:4443"}}
	if err := ts.Issue(tk, Terms{Life: MinLife}, now); err != nil || tk.Expires.Before(now.Add(MinLife)) {
		t.Errorf("good until %v, made at %v, %v", tk.Expires, now, err)
	}
}

// A ticket that was revoked is as one that never was; the others stay.
func TestRevoke(t *testing.T) {
	dir := t.TempDir()
	ts := NewTickets(dir)
	one, two := issue(t, ts, Terms{Note: "one"}), issue(t, ts, Terms{Uses: 3, Note: "two"})
	if err := ts.Revoke(strings.Repeat("0", idDigits)); !errors.Is(err, ErrUnknownTicket) {
		t.Errorf("another id: %v", err)
	}
	if err := ts.Revoke(""); !errors.Is(err, ErrUnknownTicket) {
		t.Errorf("no id: %v", err)
	}
	if err := ts.Revoke(ts.ID(one)); err != nil {
		t.Fatal(err)
	}
	if err := NewTickets(dir).Redeem(one.Token([16]byte{1}), time.Now()); !errors.Is(err, ErrUnknownTicket) {
		t.Errorf("revoked: %v", err)
	}
	if err := ts.Redeem(two.Token([16]byte{1}), time.Now()); err != nil {
		t.Error(err)
	}
	if list, err := ts.List(time.Now()); err != nil || len(list) != 1 || list[0].Note != "two" || *list[0].Left != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A file that was replaced by one of the same time and size is read again.
func TestTicketsFileReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, TicketsFile)
	ts := NewTickets(dir)
	tk := issue(t, ts, Terms{})
	at := time.Now().Add(-time.Hour)
	os.Chtimes(path, at, at)
	if err := ts.Redeem(tk.Token([16]byte{1}), time.Now()); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	other := bytes.Replace(b, []byte(sum(tk.Secret)), []byte(strings.Repeat("ab", 32)), 1)
	os.WriteFile(path+".new", other, 0o600)
	os.Chtimes(path+".new", at, at)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if err := ts.Redeem(tk.Token([16]byte{1}), time.Now()); !errors.Is(err, ErrUnknownTicket) {
		t.Errorf("%v", err)
	}
}
