package moqt

import (
	"math"
	"testing"
)

func TestCredit(t *testing.T) {
	c := newCredit(1, 4) // the peer is a server: ids 1, 3, 5, 7
	if c.bound() != 9 {
		t.Errorf("bound %d", c.bound())
	}
	if c.give() {
		t.Error("tells of one request of a window of four")
	}
	if !c.give() {
		t.Error("does not tell of half the window")
	}
	if c.bound() != 9 {
		t.Error("counts what was not told")
	}
	if limit, more := c.grant(); limit != 13 || !more || c.bound() != 13 {
		t.Errorf("grants %d, %v", limit, more)
	}
	if _, more := c.grant(); more {
		t.Error("grants twice")
	}

	ok, wait := c.covers(0)
	if ok {
		t.Error("credit before the peer gave any")
	}
	if limit, first := c.short(); limit != 0 || !first {
		t.Errorf("short at %d, %v", limit, first)
	}
	if _, first := c.short(); first {
		t.Error("told twice of one limit")
	}
	if !c.raise(2) || c.raise(2) {
		t.Error("a limit must grow")
	}
	select {
	case <-wait:
	default:
		t.Error("who waits was not woken")
	}
	if ok, _ := c.covers(0); !ok {
		t.Error("no credit for id 0")
	}
	if ok, _ := c.covers(2); ok {
		t.Error("credit for id 2")
	}
	if _, first := c.short(); !first {
		t.Error("not told of the second limit")
	}
	if none := (*credit)(nil); none.bound() != math.MaxUint64 {
		t.Error("streams bound requests, not ids")
	}
}
