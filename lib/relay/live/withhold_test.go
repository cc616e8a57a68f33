package live

import (
	"testing"
	"testing/synctest"
)

// What is taken down waits for what is read from the disk in that moment, and not for all that readers go on to ask for.
func TestWithholdWaitsForNoNewcomers(t *testing.T) {
	alone(t, func(h *home) {
		a := h.publisher("a")
		for g := range uint64(2) {
			for id := range uint64(3) {
				h.put(a, part(g, id))
			}
		}
		h.mu.Lock()
		last := h.groups[1]
		first, second := make(chan struct{}), make(chan struct{})
		last.loading = first
		h.mu.Unlock()
		done := make(chan struct{})
		go func() { h.Withhold(); close(done) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("it did not wait for what is being read")
		default:
		}
		h.mu.Lock()
		last.loading = second // somebody reads again
		h.mu.Unlock()
		close(first)
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("it waits for what began later")
		}
		h.mu.Lock()
		last.loading = nil
		h.mu.Unlock()
		close(second)
		<-done
	})
}
