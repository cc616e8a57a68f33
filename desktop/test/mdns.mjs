// A relay on the local network is found and joined by a click. run.mjs runs this in a network namespace of its own; EC_SHELL is the installed shell.
import assert from "node:assert/strict"
import * as h from "./harness.mjs"

try {
	const relay = await h.broadcast(h.tools(), ["--iroh", "--mdns"], { EC_IROH: h.beside(process.env.EC_SHELL, "ec-iroh") })
	const id = JSON.parse(relay.ask("--json", "status")).key.id
	const u = h.user(await h.screen())
	const w = await h.drive(process.env.EC_SHELL, u)
	await h.until("the start view asks", 20_000, () => w.text("#ask label"))
	await w.click("#look")
	await h.until("the relay is found", 30_000, async () => (await w.text("#found")).includes(id))
	if (process.env.EC_SHOTS) await w.shot(`${process.env.EC_SHOTS}/desktop-found.png`)
	assert.deepEqual(JSON.parse(relay.ask("--json", "status")).sessions.filter((s) => s.role !== "client"), [], "who only looks joins nobody")
	await w.click("#found button")
	await h.until("the channel is listed, on air", 60_000, async () => (await w.url()).startsWith("http://127.0.0.1:") && /EC-H264.*on air/.test(await w.text("#list")))
	await w.click("#list button")
	await h.until("the picture moves", 30_000, () => w.eval("const v = document.getElementById('video'); return v && v.currentTime > 1 && v.getVideoPlaybackQuality().totalVideoFrames > 5"))
	await h.until("it is remembered", 5000, () => u.remembered().relay.to === id)
	await w.end()
	await h.until("nothing of the user's runs any more", 8000, () => u.processes().length === 0)
} finally {
	await h.endAll()
}
