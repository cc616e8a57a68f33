package wire

// Limits of the draft.
const (
	// MaxMessageLength is the largest control message payload: its length field has 16 bits (§9).
	MaxMessageLength = 1<<16 - 1
	// MaxValueLength is the longest value of a key-value-pair (§1.4.2).
	MaxValueLength = 1<<16 - 1
	// MaxNamespaceFields is the largest number of fields of a namespace (§2.4.1).
	MaxNamespaceFields = 32
	// MaxFullTrackName is the largest sum of the lengths of all namespace fields and the track name (§2.4.1).
	MaxFullTrackName = 4096
	// MaxReasonLength is the longest reason phrase (§1.4.3).
	MaxReasonLength = 1024
	// MaxURILength is the longest New Session URI (§9.4).
	MaxURILength = 8192
)
