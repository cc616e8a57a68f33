package live

import "testing"

func TestMemoryClasses(t *testing.T) {
	last := -1
	for n := pooledFrom; n < 1<<22; n += n/100 + 1 {
		class, size := classOf(n)
		if size < n || float64(size) > 1.126*float64(n) || class < last {
			t.Fatalf("%d bytes: class %d of %d", n, class, size)
		}
		if c, s := classOf(size); c != class || s != size {
			t.Fatalf("class %d of %d bytes: itself it is in %d of %d", class, size, c, s)
		}
		last = class
	}
}
