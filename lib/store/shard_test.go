package store

import "testing"

// A thousand groups share a folder, also where ids have a bucket and a tag (docs/format/names.md).
func TestShard(t *testing.T) {
	for _, c := range []struct {
		group uint64
		want  string
	}{{0, "0"}, {999, "0"}, {1000, "1"}, {980000123, "980000"}, {1<<32 - 1, "4294967"}, {890000001<<16 | 0x352f, "890000"}, {890000999 << 16, "890000"}, {890001000 << 16, "890001"}} {
		if got := shard(c.group); got != c.want {
			t.Errorf("group %d is in %s, want %s", c.group, got, c.want)
		}
	}
}
