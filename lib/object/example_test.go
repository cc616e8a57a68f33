package object_test

import (
	"bytes"
	"fmt"
	"io"

	"every.channel/ec/lib/object"
)

// What is written to a pipe or a file is read back record by record.
func Example() {
	track := object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	payload := []byte("half a second of a broadcast")
	properties := object.Properties{Hash: object.Sum(payload), HasHash: true}

	var stream bytes.Buffer
	w := object.NewWriter(&stream)
	if err := w.WriteObject(track, &object.Object{Group: 7, Properties: properties.Append(nil), Payload: payload}); err != nil {
		panic(err)
	}

	r := object.NewReader(&stream)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			panic(err)
		}
		if !rec.IsTrack {
			fmt.Println(rec.Track.Name, rec.Object.Group, rec.Object.ID, len(rec.Object.Payload), object.VerifyHash(&rec.Object))
		}
	}
	// Output: ec-atsc-2065-3--ts_t07 7 0 28 <nil>
}
