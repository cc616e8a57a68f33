package chop_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"every.channel/ec/lib/chop"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/sim"
)

// names prints the first object of each chunk of the broadcast.
type names struct{}

func (names) WriteObject(track object.TrackName, o *object.Object) error {
	if strings.HasPrefix(track.Name, "ts") && track.Namespace[1] != "source" && o.ID == 0 && o.Status == object.Normal {
		fmt.Println(track, o.Group)
	}
	return nil
}

// A receiver makes of a broadcast what every other one makes of it.
func ExampleRun() {
	var b sim.Broadcast
	m, s, err := b.Channel("5.1")
	if err != nil {
		panic(err)
	}
	begin := time.Date(2026, 7, 4, 20, 15, 0, 0, time.UTC)
	received := m.Reader(begin, begin.Add(9*time.Second), s.Program)
	if _, err := chop.Run(context.Background(), chop.Config{}, received, names{}); err != nil {
		panic(err)
	}
	// Output:
	// ec-atsc-2065-3--ts_t13 58431942740611
	// ec-atsc-2065-3--ts_t13 58431942781029
	// ec-atsc-2065-3--ts_t13 58431942868695
	// ec-atsc-2065-3--ts_t13 58431942943437
}
