// The page in Chromium against a real ec-relay, to which homes publish the simulated antenna. npm run e2e; EC_BIN names a folder with the
// tools, EC_SHOTS one for screenshots.
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { after, before, test } from "node:test"
import * as h from "./harness.mjs"
import { overHole } from "./hole.mjs"

const seconds = Number(process.env.EC_SECONDS ?? 30)
const far = process.env.EC_FAR // an address of this machine that is not loopback, set in a namespace of its own
let bin, relay, browser, context, begun
const homes = {}

before(async () => {
	bin = h.tools()
	relay = await h.relay(bin)
	homes.a = h.home(bin, relay, "home_a")
	begun = Date.now()
	homes.b = h.home(bin, relay, "home_b", { sim: ["--delay", "300ms"] })
	browser = await h.browser()
	context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
})
after(() => h.endAll())

/** Opens the page; errors of the page itself fail the test. */
async function open(t, url) {
	const page = await context.newPage()
	const errors = []
	page.on("pageerror", (err) => errors.push(String(err)))
	page.on("console", (m) => /Content Security Policy/.test(m.text()) && errors.push(m.text()))
	t.after(async () => {
		await page.close()
		assert.deepEqual(errors, [])
	})
	await page.goto(url)
	return page
}

const shot = async (page, name) => process.env.EC_SHOTS && page.screenshot({ path: `${process.env.EC_SHOTS}/${name}.png` })

async function click(page, callsign) {
	await page.locator("#list button", { hasText: callsign }).click({ timeout: 20_000 })
}

/** Plays, and waits until it does. Time tables come every 10 s, so a home that has just begun takes up to 20 s to its first chunk. */
async function play(page, callsign = "EC-H264") {
	await click(page, callsign)
	// What was shown before the click moves, too, but the page waits from the click on.
	await h.until("the picture moves", 40_000, async () => (await h.state(page)).frames > 5 && (await page.evaluate(() => document.getElementById("spinner").hidden)))
}

/** Watches until something is so, and for a time after that, and says how much moved, and for how many ms nothing was there to be shown. */
async function watch(page, duration, so = () => true) {
	const first = await h.state(page)
	const begun = Date.now()
	let [dry, before, since] = [0, begun, 0]
	while (!since || Date.now() - since < duration * 1000) {
		await h.sleep(100)
		const ahead = await page.evaluate(() => {
			const { buffered: b, currentTime: t } = document.querySelector("video")
			for (let i = 0; i < b.length; i++) if (b.start(i) <= t && t < b.end(i)) return b.end(i) - t
			return 0
		})
		const now = Date.now()
		if (ahead < 0.1) dry += now - before
		before = now
		if (!since && (now - begun > 60_000 || (await so()))) since = now
	}
	const s = await h.state(page)
	return { ...s, played: s.time - first.time, shown: s.frames - first.frames, lasted: (Date.now() - begun) / 1000, dry }
}

// A busy machine's browser shows less than there is: so much less is let pass. That nothing was missing is measured by what was buffered.
const share = 0.8

function good(w, transport) {
	assert.equal(w.transport, transport)
	assert.equal(w.dry, 0, `nothing to show for ${w.dry} ms`)
	assert.ok(w.played > w.lasted * share, `currentTime advanced ${w.played} s in ${w.lasted} s`)
	assert.ok(w.shown > w.lasted * 30 * share, `${w.shown} frames decoded in ${w.lasted} s`)
	assert.ok(w.right > w.lasted * 4, `${w.right} objects right`)
	assert.equal(w.wrong + w.contradicted, 0)
	assert.ok(w.confirmed > 2, `${w.confirmed} chunks confirmed`)
	assert.equal(w.checksClass, "right")
	assert.equal(w.alert, "")
	assert.ok(w.live, "live")
	assert.deepEqual([w.width, w.height], [640, 360])
}

/** From each kind of host, by each transport: 30 s of picture, sound, hashes. */
for (const [name, transport, from] of [
	["WebTransport, from the relay", "WebTransport", "relay"],
	["WebSocket, from a relay behind that one, which has no WebTransport", "WebSocket", "relay"],
	["WebTransport, from a static host", "WebTransport", "static"],
	["WebSocket, from a static host, where UDP does not get through", "WebSocket", "static"],
]) {
	test(name, async (t) => {
		let url = relay.page
		if (transport === "WebSocket" && from === "relay") {
			url = (await h.relay(bin, { quic: false, args: ["--upstream", relay.address, "--fingerprint", relay.fingerprint] })).page
		}
		if (from === "static") {
			const base = transport === "WebTransport" ? relay.page : await h.host({ ...(await relay.info()), webtransport: [await h.silence()] })
			url = (await h.host(undefined)) + "?relay=" + encodeURIComponent(base)
		}
		const page = await open(t, url)
		await play(page)
		await h.listen(page)
		await h.loudness(page)
		const w = await watch(page, seconds)
		good(w, transport)
		const loud = await h.loudness(page)
		assert.ok(loud > 0.01, `loudness ${loud}`)
		assert.equal(w.without === "", transport === "WebTransport", w.without)
		await shot(page, transport + "-" + from)
	})
}

test("a path that begins to lose packets: the page goes on over WebSocket and says why", async (t) => {
	let loss = 0
	const path = await h.lossy((await relay.info()).webtransport[0], () => loss)
	const page = await open(t, (await h.host(undefined)) + "?relay=" + encodeURIComponent(await h.host({ ...(await relay.info()), webtransport: [path] })))
	await play(page)
	const before = await watch(page, 12) // a path without loss is left alone
	assert.equal(before.transport, "WebTransport")
	loss = 0.6
	const lost = Date.now()
	await h.until("it changes to WebSocket", 60_000, async () => (await h.state(page)).transport === "WebSocket")
	t.diagnostic(`on WebSocket ${((Date.now() - lost) / 1000).toFixed(1)} s after the path began to lose 60 %`)
	await h.sleep(6000)
	const w = await watch(page, 10)
	assert.match(w.without, /did not bring the broadcast in time/)
	assert.equal(w.dry, 0, `nothing to show for ${w.dry} ms`)
	assert.ok(w.played > w.lasted * share, `currentTime advanced ${w.played} s in ${w.lasted} s`)
	assert.equal(w.wrong + w.contradicted, 0)
	await shot(page, "lossy")
})

test("a minute back, and live again", async (t) => {
	await h.sleep(Math.max(0, begun + 85_000 - Date.now())) // so much must be there
	const page = await open(t, relay.page)
	await play(page)
	const before = await h.state(page)
	const away = async (seconds) => page.evaluate((s) => {
		const e = document.getElementById("seek")
		e.value = String(s)
		e.dispatchEvent(new Event("input"))
		e.dispatchEvent(new Event("change"))
	}, -seconds)
	await away(60)
	await h.until("it plays the past", 15_000, async () => {
		const s = await h.state(page)
		return !s.live && s.time < before.time - 40 && s.frames > 5
	})
	const back = await watch(page, 8)
	assert.ok(back.played > 8 * share, `${back.played} s of the past in 8 s`)
	assert.match(back.clock, /(5\d|6\d) s behind live|1 min \d+ s behind live/)
	assert.equal(back.wrong, 0)
	await shot(page, "back")
	// Further back than anything is stored: from the first chunk on.
	await page.click("#back300")
	await h.until("it plays what is oldest", 15_000, async () => {
		const s = await h.state(page)
		return s.time < back.time - 10 && s.frames > 5 && !s.paused
	})
	assert.ok((await watch(page, 3)).played > 3 * share)
	await page.click("#live")
	await h.until("it is live again", 15_000, async () => {
		const s = await h.state(page)
		return s.live && s.time > before.time && s.frames > 5
	})
	const live = await watch(page, 5)
	assert.ok(live.played > 5 * share, `${live.played} s in 5 s`)
	assert.ok(live.live)
	assert.equal(live.wrong, 0)
})

test("by keyboard alone: choose, pause, volume, back", async (t) => {
	const page = await open(t, relay.page)
	await page.waitForSelector("#list button")
	await h.until("the channel can be played", 20_000, async () => (await h.state(page)).list.some((l) => /EC-H264.*on air/.test(l)))
	await page.keyboard.press("Tab")
	for (let i = 0; i < 20 && !(await page.evaluate(() => document.activeElement?.closest("#list") !== null)); i++) await page.keyboard.press("Tab")
	await page.keyboard.press("Enter")
	await h.until("the picture moves", 40_000, async () => (await h.state(page)).frames > 5)
	await page.keyboard.press("k")
	assert.ok(await page.evaluate(() => document.querySelector("video").paused))
	await page.keyboard.press("k")
	await h.until("it goes on", 5000, async () => !(await h.state(page)).paused)
	await page.keyboard.press("m")
	assert.ok(await page.evaluate(() => document.querySelector("video").muted))
	await page.keyboard.press("ArrowDown")
	assert.ok((await page.evaluate(() => document.querySelector("video").volume)) < 1)
	const { time } = await h.state(page)
	await page.keyboard.press("ArrowLeft")
	await h.until("it is half a minute back", 15_000, async () => {
		const s = await h.state(page)
		return s.frames > 5 && s.time < time - 20 && s.time > time - 40
	})
})

test("a relay that lies turns it red", async (t) => {
	let lies = false
	const websocket = await h.liar(relay.websocket, () => lies)
	const page = await open(t, await h.host({ ...(await relay.info()), webtransport: [], websocket }))
	await play(page)
	await h.until("hashes are right", 10_000, async () => (await h.state(page)).right > 10)
	assert.equal((await h.state(page)).wrong, 0)
	lies = true
	const s = await h.until("a lie is seen", 15_000, async () => {
		const s = await h.state(page)
		return s.wrong > 0 && s
	})
	assert.equal(s.checksClass, "wrong")
	assert.match(s.alert, /Object \d+ of group \d+ .*hash/)
	await shot(page, "lie")
	lies = false
	const w = await watch(page, 8)
	assert.ok(w.shown > 50, "what follows is shown again")
})

test("a home dies: no stall", async (t) => {
	const page = await open(t, relay.page)
	await play(page)
	await h.sleep(3000)
	await homes.a.end("SIGKILL")
	good(await watch(page, 15), "WebTransport")
})

test("a channel of MPEG-2 and AC-3 says so, and plays its rendition when there is one", async (t) => {
	const mpeg = h.home(bin, relay, "home_c", { channel: "5.1" })
	const page = await open(t, relay.page)
	await h.until("its catalog is there", 30_000, async () => (await h.state(page)).list.some((l) => /EC-MPEG.*not for browsers/.test(l)))
	await click(page, "EC-MPEG")
	const hint = /Browsers do not play MPEG-2 and AC-3/
	await h.until("it says why not", 10_000, async () => (await h.state(page)).notices.some((n) => hint.test(n)))
	await shot(page, "mpeg2")
	const rendition = h.home(bin, relay, "home_d", { channel: "5.2", chop: ["--broadcast", "ec-atsc-2065-3", "--rendition", "test"] })
	await h.until("the rendition is listed", 30_000, async () => (await h.state(page)).list.some((l) => /EC-MPEG.*H\.264, AAC/.test(l)))
	await play(page, "EC-MPEG")
	const w = await watch(page, 5)
	assert.ok(w.played > 5 * share)
	assert.equal(w.wrong, 0)
	await mpeg.end()
	await rendition.end()
	await h.until("it is off air, and still listed", 20_000, async () => (await h.state(page)).list.some((l) => /EC-MPEG.*stored/.test(l)))
	// What was stored plays, to its end.
	await play(page, "EC-MPEG")
	const old = await watch(page, 3)
	assert.ok(old.played > 3 * share, `${old.played} s of what was stored`)
	assert.ok(old.right > 10)
	await h.until("it says that this is all", 60_000, () => page.evaluate(() => /all that was stored/.test(document.getElementById("over").textContent)))
})

test("the relay restarts: it says so and goes on", async (t) => {
	const [own, again] = [await h.relay(bin), {}]
	const home = h.home(bin, own, "home_e")
	const page = await open(t, own.page)
	await play(page)
	await own.p.end("SIGKILL")
	await h.until("it says that the relay is away", 20_000, async () => /lost|cannot be reached|answers/.test((await h.state(page)).status))
	again.relay = await own.restart()
	await h.until("it is back", 30_000, async () => (await h.state(page)).transport === "WebTransport")
	const { frames, time } = await h.state(page)
	await h.until("it plays on", 30_000, async () => {
		const s = await h.state(page)
		return s.time > time + 5 && s.frames > frames + 30
	})
	assert.equal((await h.state(page)).wrong, 0)
	await home.end()
})

// So much of this antenna's time tables is lost that the receiver knows broadcast time only from its tenth chunk on.
test("a receiver learns whose broadcast it hears: the picture goes on under that name", async (t) => {
	const own = await h.relay(bin)
	const page = await open(t, own.page)
	await page.evaluate(() => {
		const replace = history.replaceState.bind(history)
		window.named = []
		history.replaceState = (...to) => {
			replace(...to)
			window.named.push({ name: location.hash, frames: document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames })
		}
	})
	const home = h.home(bin, own, "home_g", { sim: ["--at", "2026-07-04T20:10:01.05Z", "--time-loss", "90%", "--seed", "4"] })
	await play(page)
	// Parts of chunks come at once under the receiver's own name, whole chunks under the broadcast's: of the 3 s with which it began, 1 s
	// would be left, which is little on a busy machine.
	await page.click("#play")
	await h.sleep(2000)
	await page.click("#play")
	const named = () => page.evaluate(() => window.named)
	const w = await watch(page, 8, async () => (await named()).length > 1)
	const [before, then, ...more] = await named()
	assert.deepEqual([before.name, then?.name, more], ["#ec-source-home_g-4", "#ec-atsc-2065-4", []])
	assert.ok(then.frames > 100, `only ${then.frames} frames were shown under the receiver's own name`)
	assert.equal(w.dry, 0, `nothing to show for ${w.dry} ms`)
	assert.ok(w.played > w.lasted * share, `currentTime advanced ${w.played} s in ${w.lasted} s`)
	assert.equal(w.buffered.length, 1, "without a hole")
	assert.ok(w.live && w.confirmed > 2 && w.wrong + w.contradicted === 0, `live ${w.live}, ${w.confirmed} chunks confirmed`)
	assert.equal(w.list.length, 1)
	await home.end()
})

// Such a hole is what a publisher leaves that pauses and begins anew. Chromium plays over smaller ones by itself.
test("a hole of 80 ms, behind which the buffer ran dry: the picture goes on", async () => {
	const w = await overHole(context, 80)
	assert.deepEqual(w.problems, [])
	const next = w.buffered.find(([from]) => from > w.before)
	assert.ok(next && next[0] - w.before < 0.1, `a hole: ${JSON.stringify(w)}`)
	assert.ok(w.after > w.before + 2 && !w.waits, `it stands: ${JSON.stringify(w)}`)
})

test("a private relay plays for a page that shows a token, by each transport, and tells another why not", async (t) => {
	const own = await h.relay(bin, { args: ["--private"] })
	const home = h.home(bin, own, "home_p")
	const token = execFileSync(join(bin, "ec-relay"), ["token", "make", "--store", own.store, "--read", "*"]).toString().trim()
	for (const [only, transport] of [["", "WebTransport"], ["&only=websocket", "WebSocket"]]) {
		const page = await open(t, own.page + "?token=" + encodeURIComponent(token) + only)
		await play(page)
		assert.equal((await h.state(page)).transport, transport)
	}
	const stranger = await open(t, own.page)
	await h.until("it says why", 20_000, async () => /a token of this relay is needed/.test((await h.state(stranger)).status))
	await home.end()
})

// scripts/test runs this one by itself, in a namespace.
test("over plain HTTP from another machine it plays by WebSocket and says why", { skip: far ? false : "EC_FAR is not set" }, async (t) => {
	const own = await h.relay(bin, { address: far })
	const home = h.home(bin, own, "home_f")
	const page = await open(t, own.page)
	assert.equal(await page.evaluate(() => globalThis.isSecureContext), false)
	await play(page)
	const w = await watch(page, 10)
	good(w, "WebSocket")
	assert.match(w.without, /plain HTTP/)
	await shot(page, "far")
	await home.end()
})

test("words for a relay that is not there", async (t) => {
	const page = await open(t, (await h.host(undefined)) + "?relay=" + encodeURIComponent("http://127.0.0.1:9/"))
	await h.until("it says so", 15_000, async () => /No relay answers at http:\/\/127\.0\.0\.1:9\/relay\.json/.test((await h.state(page)).status))
	const closed = await h.relay(bin, { allow: [] })
	const foreign = await open(t, (await h.host(undefined)).replace("127.0.0.1", "localhost") + "?relay=" + encodeURIComponent(closed.page))
	await h.until("it says who must allow it", 20_000, async () => /ec-relay --allow-origin http:\/\/localhost/.test((await h.state(foreign)).status))
	const alone = await open(t, await h.host(undefined))
	await h.until("it says what to do", 15_000, async () => /\?relay=https/.test((await h.state(alone)).status))
	const wrong = await open(t, (await h.host(undefined)) + "?relay=ftp://x/")
	await h.until("it says what it takes", 5000, async () => /not the address of a relay/.test((await h.state(wrong)).status))
})
