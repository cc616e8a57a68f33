// Command ec-home publishes chosen channels for good: it finds tuners, and runs ec-tune, ec-chop and ec-pub for them.
package main

import (
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/home"
)

func main() { cmdutil.Main(app()) }

func app() *cli.App {
	a := cmdutil.App("ec-home", "publish chosen channels for good")
	a.UsageText = "ec-home [flags] --channel CHANNEL ... --relay ADDRESS ..."
	a.Description = "Finds the devices that have the channels, and runs ec-tune for each tuner that is needed, and ec-chop and ec-pub for\n" +
		"each channel. One tuner feeds all channels of its multiplex, where the device gives a whole one. What ends is\n" +
		"started again after a pause that grows to a minute; a channel whose device is gone moves to another device."
	a.Flags = flags()
	a.Action = run
	return a
}

func run(c *cli.Context) error {
	if err := cmdutil.Args(c, 0, 0); err != nil {
		return err
	}
	conf, err := configure(c)
	if err != nil {
		return err
	}
	if c.Bool("check") {
		return check(c, conf)
	}
	if status := cmdutil.StatusLine(c); status.Visible() {
		conf.Status = func(line string) { status.Set("%s", line) }
	}
	notify := func(state string) {
		if err := cmdutil.Notify(state); err != nil {
			conf.Log.Debug("service manager not told", "err", err)
		}
	}
	conf.Ready = func() {
		conf.Log.Info("ready", "channels", len(conf.Channels), "relays", len(conf.Relays))
		notify("READY=1")
	}
	conf.Alive = alive(notify)
	dir, err := os.MkdirTemp(os.Getenv("RUNTIME_DIRECTORY"), "ec-home-")
	if err != nil {
		conf.Log.Warn("health tracks will not know how tuners receive", "err", err)
	} else {
		defer os.RemoveAll(dir)
		conf.State = dir
	}
	return home.Run(c.Context, conf)
}

// alive returns what tells the service manager how it goes, whenever that changes, and that nothing is stuck, as often as it wants to hear that.
func alive(notify func(string)) func(line string) {
	var told string
	var last time.Time
	every := cmdutil.Watchdog() / 3
	return func(line string) {
		if line != told {
			told = line
			notify("STATUS=" + strings.ReplaceAll(line, "\n", " "))
		}
		if now := time.Now(); every > 0 && now.Sub(last) >= every {
			last = now
			notify("WATCHDOG=1")
		}
	}
}
