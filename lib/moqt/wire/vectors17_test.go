package wire

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notShared17 are the vectors of draft 17 whose bytes are something else in draft 18, and why. A prefix
// stands for all that begin with it.
var notShared17 = map[string]string{
	"varint.json/2b":            rfc9000,
	"varint.json/4b":            rfc9000,
	"varint.json/8b":            rfc9000,
	"varint.json/non-canonical": rfc9000,
	"varint.json/truncated":     rfc9000,

	"messages/subscribe-namespace.json/": "SUBSCRIBE_NAMESPACE has another number, and no options",
	"messages/fetch-ok.json/with-params": "EXPIRES may not be in FETCH_OK",
	"messages/fetch-ok.json/with-track":  rfc9000,

	"messages/subscribe.json/with-required-request-id": "draft 18 has no required request id",

	"messages/fetch-ok.json/truncated":                  "its first field, End Of Track, is 2",
	"messages/fetch.json/standalone-with-auth":          tokenLength,
	"messages/publish-namespace.json/with-auth":         tokenLength,
	"messages/publish.json/with-auth":                   tokenLength,
	"messages/setup.json/with-auth-token-register":      tokenLength,
	"messages/setup.json/with-path-auth":                tokenLength,
	"messages/subscribe.json/with-auth-token-register":  tokenLength,
	"messages/subscribe.json/with-auth-token-use-value": tokenLength,
	"messages/track-status.json/with-auth":              tokenLength,

	"messages/goaway.json/with-uri":               rfc9000,
	"messages/goaway.json/non-canonical":          rfc9000,
	"messages/setup.json/max-auth-token-cache":    rfc9000,
	"messages/publish-ok.json/with-params":        rfc9000,
	"messages/publish-ok.json/with-delivery":      rfc9000,
	"messages/publish-ok.json/with-expires":       rfc9000,
	"messages/publish-ok.json/with-largest":       "LARGEST_OBJECT may not be in PUBLISH_OK",
	"messages/publish-ok.json/with-new-group":     rfc9000,
	"messages/publish-ok.json/with-multiple":      rfc9000,
	"messages/publish.json/with-expires":          rfc9000,
	"messages/publish.json/with-track-properties": rfc9000,
	"messages/request-ok.json/with-expires":       rfc9000,
	"messages/request-update.json/with-delivery":  rfc9000,
	"messages/request-update.json/with-multiple":  rfc9000,
	"messages/subscribe-ok.json/with-track":       rfc9000,
	"messages/subscribe-ok.json/with-max-cache":   rfc9000,
	"messages/subscribe-ok.json/with-params-and":  rfc9000,
	"messages/subscribe.json/with-delivery":       rfc9000,
	"messages/subscribe.json/with-rendezvous":     rfc9000,
	"messages/subscribe.json/with-multiple":       rfc9000,

	"data-streams/datagram.json/datagram-no-object-id":         rfc9000,
	"data-streams/datagram.json/datagram-with-empty":           "properties of no bytes close the session in draft 18",
	"data-streams/fetch-header.json/fetch-end-of":              rfc9000,
	"data-streams/fetch-header.json/fetch-datagram":            rfc9000,
	"data-streams/subgroup.json/subgroup-explicit-subgroup-id": rfc9000,
	"data-streams/subgroup.json/subgroup-properties-status":    "properties on a status, which only sessions refuse",
}

// rfc9000: the vectors write integers in the form of RFC 9000, also where draft 17 has its own form already, which draft 18
// shares. It differs from 64 on.
const rfc9000 = "integers over 63 in the form of RFC 9000"

// tokenLength: the text gives the value of a token no length of its own, in no draft (draft-18 §10.2.2).
const tokenLength = "a length before the value of a token"

// to18 takes out of a request of draft 17 what draft 18 took out: the delta to the required request id, which follows the
// request id, and gives SETUP the number it has in integers of draft 17.
func to18(file string, b []byte) []byte {
	switch strings.TrimSuffix(filepath.Base(file), ".json") {
	case "subscribe", "fetch", "publish", "publish-namespace", "request-update", "track-status":
		if len(b) < 5 {
			return b
		}
		b = slices.Delete(slices.Clone(b), 4, 5)
		binary.BigEndian.PutUint16(b[1:], binary.BigEndian.Uint16(b[1:])-1)
	case "setup":
		b = append([]byte{0xaf, 0x00}, b[2:]...)
	}
	return b
}

// TestVectors17 decodes with draft 18 the vectors of draft 17 whose form both share.
func TestVectors17(t *testing.T) {
	dir := os.Getenv("EC_MOQT_VECTORS")
	if dir == "" {
		t.Skip("EC_MOQT_VECTORS is not set")
	}
	if _, err := os.Stat(filepath.Join(dir, "transport")); err == nil {
		dir = filepath.Join(dir, "transport")
	}
	root := filepath.Join(dir, "draft17", "codec")
	passed, differ := 0, 0
	used := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var f struct{ Vectors []vector }
		if err := json.Unmarshal(raw, &f); err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		decode := decodeMessageVector
		switch filepath.Base(path) {
		case "varint.json":
			decode = decodeVarintVector
		case "subgroup.json":
			decode = decodeSubgroupVector
		case "fetch-header.json":
			decode = decodeFetchVector
		case "datagram.json":
			decode = decodeDatagramVector
		}
		for _, v := range f.Vectors {
			why := ""
			for prefix, reason := range notShared17 {
				if strings.HasPrefix(name+"/"+v.ID, prefix) {
					why, used[prefix] = reason, true
				}
			}
			b, err := hex.DecodeString(v.Hex)
			if err != nil {
				return err
			}
			v.Hex = hex.EncodeToString(to18(name, b))
			if why != "" {
				differ++
				t.Logf("%s/%s: %s", name, v.ID, why)
				continue
			}
			names17(v.Decoded)
			if t.Run(name+"/"+v.ID, func(t *testing.T) { checkVector(t, Draft18, v, shared17(decode)) }) {
				passed++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for prefix := range notShared17 {
		if !used[prefix] {
			t.Errorf("no vector %s", prefix)
		}
	}
	t.Logf("%d vectors of draft 17 pass with draft 18, %d have another form there", passed, differ)
}

// names17 brings the fields of a draft-17 vector to the names the decoders of these tests give them.
func names17(f map[string]any) {
	delete(f, "required_request_id_delta")
	for from, to := range map[string]string{"track_properties": "track_extensions", "object_properties": "extension_headers"} {
		if p, ok := f[from]; ok {
			delete(f, from)
			if len(p.(map[string]any)) > 0 {
				f[to] = p
			}
		}
	}
	if p, ok := f["parameters"].(map[string]any); ok {
		// The end group is a delta from 17 on; the vectors still give the number on the wire as the group.
		if x, ok := p["subscription_filter"].(map[string]any); ok && x["end_group"] == "20" {
			x["end_group"] = map[string]any{"10": "30", "5": "25"}[x["start_group"].(string)]
		}
	}
	objects, _ := f["objects"].([]any)
	for _, o := range objects {
		o := o.(map[string]any)
		delete(o, "object_id_delta")
		names17(o)
	}
}

// shared17 leaves out the request id that answers of draft 18 do not have.
func shared17(decode vectorDecoder) vectorDecoder {
	return func(v Version, b []byte) (map[string]any, []byte, error) {
		f, again, err := decode(v, b)
		if t, ok := f["new_session_uri"]; ok && t == "" && f["timeout"] == nil {
			f["timeout"] = "0"
		}
		return f, again, err
	}
}
