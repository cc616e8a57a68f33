package object

import (
	"math/rand/v2"
	"testing"

	"github.com/zeebo/blake3"
)

// TestSum holds the sums of every way there is to make one against the library's, at the lengths where chunks, lanes and subtrees begin and end.
func TestSum(t *testing.T) {
	if !haveWide {
		t.Log("this processor has no AVX-512: Sum is the library's")
	}
	data := make([]byte, 4<<20+3)
	rng := rand.NewChaCha8([32]byte{7})
	rng.Read(data)
	var lengths []int
	for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 33, 63, 255, 256, 257, 271, 272, 273, 511, 512, 513, 767, 1024, 1025, 1041, 4096} {
		for _, more := range []int{-1025, -1024, -1, 0, 1, 63, 64, 65, 188, 960, 961, 1023} {
			if l := n<<10 + more; l >= 0 && l <= len(data) {
				lengths = append(lengths, l)
			}
		}
	}
	r := rand.New(rng)
	for range 200 {
		lengths = append(lengths, r.IntN(600<<10))
	}
	for _, l := range lengths {
		b := data[len(data)-l:]
		want := Hash(blake3.Sum256(b))
		if Sum(b) != want || haveWide && l > chunkLen && sumWide(b) != want {
			t.Fatalf("%d bytes: another sum than the library's", l)
		}
	}
}

func BenchmarkSumOf(b *testing.B) {
	payload := make([]byte, 225_000)
	for _, c := range []struct {
		name string
		sum  func([]byte) Hash
	}{{"Sum", Sum}, {"library", func(b []byte) Hash { return blake3.Sum256(b) }}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				c.sum(payload)
			}
		})
	}
}
