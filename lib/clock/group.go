package clock

// Grid is the length of chunks, in 90 kHz ticks. Buckets begin anew at each wrap of the PTS, so the bucket within a wrap does not
// depend on k.
type Grid Ticks

// Buckets returns how many buckets there are from wrap to wrap; the last one is shorter.
func (g Grid) Buckets() int64 { return (Wrap + int64(g) - 1) / int64(g) }

// Of is the bucket of x = PTS + k·2^33: k·Buckets + floor(PTS/D).
func (g Grid) Of(x Ticks) int64 {
	k, p := floorDiv(int64(x), Wrap)
	return k*g.Buckets() + p/int64(g)
}

// Start is the least x of a bucket.
func (g Grid) Start(bucket int64) Ticks {
	k, n := floorDiv(bucket, g.Buckets())
	return Ticks(k*Wrap + n*int64(g))
}

// Same reports whether two time stamps lie in one bucket, whatever their k.
func (g Grid) Same(a, b PTS) bool { return int64(a)/int64(g) == int64(b)/int64(g) }

// TagBits is how many low bits of a group id are the chunk's tag (docs/format/chunk.md, "Name").
const TagBits = 16

// GroupsPerBucket is how many group ids the chunks of a bucket may have.
const GroupsPerBucket = 1 << TagBits

// MayBeBucket tells a bucket from a group id where people may name either. The buckets of the shortest chunks, 200 ms, stay below
// 2^39 until the year 5454; the group ids of the longest, 1 min, are above it since 1986.
func MayBeBucket(n uint64) bool { return n < 1<<39 }

// GroupID is the group of the chunk with a tag in a bucket; a bucket before 1970 counts as 0.
func GroupID(bucket int64, tag uint16) uint64 { return uint64(max(bucket, 0))<<TagBits | uint64(tag) }

// GroupBucket is the bucket of a group.
func GroupBucket(group uint64) int64 { return int64(group >> TagBits) }

// BucketsBetween is how many buckets lie between those of two groups: 0 if one follows the other, -1 if they share one.
func BucketsBetween(from, to uint64) int64 { return GroupBucket(to) - GroupBucket(from) - 1 }
