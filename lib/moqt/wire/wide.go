package wire

import (
	"fmt"
	"slices"
)

// PropertyWide is the type of a pair that holds other pairs: those of draft 18 whose type or value is 2^62-1 or more has no form
// in PropertyForm. They lie in it in the form of draft 18, and come out again where a session of such a draft sends the block; one
// of draft 16 sends the pair as it is (docs/format/properties.md).
const PropertyWide uint64 = 1<<62 - 1

// wideForm is the draft in whose form pairs lie in a PropertyWide.
const wideForm = Draft18

// wideProperties turns a block into PropertyForm, of which some pairs do not fit it. Pairs with the type of one that does not
// fit stay behind it, so that their order is kept.
func wideProperties(b []byte, v Version) ([]byte, error) {
	kvs, err := ParseKeyValues(b, v)
	if err != nil {
		return nil, err
	}
	var narrow, wide []KeyValue
	for _, kv := range kvs {
		if n := len(wide); kv.Type >= PropertyWide || kv.Value > MaxVarint || n > 0 && wide[n-1].Type == kv.Type {
			wide = append(wide, kv)
		} else {
			narrow = append(narrow, kv)
		}
	}
	in, err := AppendKeyValues(nil, wideForm, wide)
	if err == nil && len(in) > MaxValueLength {
		err = fmt.Errorf("integers of 2^62 and more in %d bytes: %w", len(in), ErrLimit)
	}
	if err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	return AppendKeyValues(nil, PropertyForm, append(narrow, KeyValue{Type: PropertyWide, Bytes: in}))
}

// heldPairs reads a block in PropertyForm, those in a PropertyWide included.
func heldPairs(b []byte) ([]KeyValue, error) {
	kvs, err := ParseKeyValues(b, PropertyForm)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(kvs, func(kv KeyValue) bool { return kv.Type == PropertyWide })
	if i < 0 {
		return kvs, nil
	}
	wide, err := ParseKeyValues(kvs[i].Bytes, wideForm)
	if err != nil || len(wide) == 0 {
		return kvs, nil // somebody else's
	}
	kvs = slices.Concat(kvs[:i], wide, kvs[i+1:])
	slices.SortStableFunc(kvs, byType)
	return kvs, nil
}

// unfold appends a block in PropertyForm that may have a PropertyWide.
func (w *writer) unfold(b []byte) {
	kvs, err := heldPairs(b)
	if err != nil {
		w.fail(fmt.Errorf("properties: %w: %w", ErrValue, err))
		return
	}
	w.keyValues(kvs)
}
