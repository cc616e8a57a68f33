// The desktop shell as a user has it: the installed package, in WebKitGTK, with a real relay and broadcast. node --test desktop/test/run.mjs;
// EC_BIN names a folder with the tools, EC_DEB the package, EC_SHOTS a folder for screenshots.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { statSync } from "node:fs"
import { after, before, test } from "node:test"
import * as h from "./harness.mjs"

const seconds = Number(process.env.EC_SECONDS ?? 30)
let relay, shell, display

before(async () => {
	relay = await h.broadcast(h.tools())
	shell = h.installed()
	display = await h.screen()
})
after(() => h.endAll())

const shot = async (w, name) => process.env.EC_SHOTS && w.shot(`${process.env.EC_SHOTS}/desktop-${name}.png`)

/** What the player shows. */
const state = (w) => w.eval(`
	const v = document.getElementById("video"), q = v && v.getVideoPlaybackQuality()
	return v && { time: v.currentTime, frames: q.totalVideoFrames, dropped: q.droppedVideoFrames, paused: v.paused, width: v.videoWidth, volume: v.volume,
		checks: { ...document.getElementById("checks").dataset }, transport: document.getElementById("relay").dataset.transport,
		notices: [...document.getElementById("notices").children].map((p) => p.textContent) }`)

const onPage = (w) => h.until("the page is shown", 30_000, async () => (await w.url()).startsWith("http://127.0.0.1:"))
const playing = (w) => h.until("the picture moves", 30_000, async () => {
	const s = await state(w)
	return s.frames > 5 && s.time > 0 && !s.paused
})

/** The relay is joined by what is typed into the start view. */
async function join(w, to, fingerprint) {
	await h.until("the start view asks", 20_000, () => w.text("#ask label"))
	if (fingerprint) {
		await w.click("summary")
		await w.type("#fingerprint", fingerprint)
	}
	await w.type("#to", to)
	await w.click("#ask button")
}

test("asks, joins, lists, plays, remembers", async (t) => {
	const u = h.user(display)
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await h.until("the start view asks", 20_000, () => w.text("#ask label"))
	await shot(w, "ask")
	await w.type("#to", "two words")
	await w.click("#ask button")
	await h.until("nonsense is refused", 5000, async () => /neither a ticket nor/.test(await w.text("#problem")))
	await w.eval("document.getElementById('to').value = ''")
	await join(w, relay.address, relay.fingerprint)
	await onPage(w)
	await h.until("the channel is listed, on air", 30_000, async () => /EC-H264.*on air/.test(await w.text("#list")))
	await w.click("#list button")
	await playing(w)
	const first = await state(w)
	const begun = Date.now()
	await h.sleep(seconds * 500)
	await shot(w, "plays")
	await h.sleep(seconds * 500)
	const s = await state(w)
	const lasted = (Date.now() - begun) / 1000
	t.diagnostic(`${(s.time - first.time).toFixed(1)} s and ${s.frames - first.frames} frames in ${lasted.toFixed(1)} s, ${s.dropped - first.dropped} dropped`)
	assert.equal(s.transport, "WebSocket")
	assert.equal(s.width, 640)
	assert.ok(s.time - first.time > lasted * 0.9, `currentTime advanced ${s.time - first.time} s in ${lasted} s`)
	assert.ok(s.frames - first.frames > lasted * 20, `${s.frames - first.frames} frames decoded in ${lasted} s`)
	assert.ok(Number(s.checks.right) > lasted && s.checks.wrong === "0", JSON.stringify(s.checks))
	assert.deepEqual(s.notices, [])

	// What the relay serves may ask the program for nothing, and lead the window nowhere else.
	const asked = await w.evalAsync(`
		const done = arguments[0]
		Promise.race([globalThis.__TAURI_INTERNALS__.invoke("state"), new Promise((_, no) => setTimeout(no, 3000, "no answer"))]).then(() => done("answered"), (err) => done("refused: " + err))`)
	assert.match(asked, /^refused: .*not allowed/)
	await w.eval("location.href = 'http://127.0.0.1:9/'; window.open('http://127.0.0.1:9/')")
	await h.sleep(1000)
	const later = await state(w)
	await h.until("the page is still there and plays", 10_000, async () => (await state(w)).time > later.time)

	// The volume and the broadcast are there again.
	await w.eval("const s = document.getElementById('volume'); s.value = 0.4; s.dispatchEvent(new Event('input'))")
	await h.until("it is remembered", 5000, () => u.remembered().volume === 0.4 && u.remembered().broadcast !== "")
	assert.equal(statSync(u.memory).mode & 0o777, 0o600)
	const m = u.remembered()
	assert.deepEqual([m.v, m.relay.to, m.relay.fingerprint], [1, relay.address, relay.fingerprint])
	await w.end()
	await nothingLeft(u)
	const again = await h.drive(shell, u)
	t.after(() => again.end())
	await onPage(again)
	await playing(again)
	await h.until("the volume is as it was", 10_000, async () => Math.abs((await state(again)).volume - 0.4) < 0.001)
})

test("the local relay dies: words, and it plays again", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await onPage(w)
	await h.until("the channel is listed", 30_000, async () => /EC-H264.*on air/.test(await w.text("#list")))
	await w.click("#list button")
	await playing(w)
	const before = await w.url()
	await h.until("it is remembered", 5000, () => u.remembered().broadcast)
	const said = h.until("it is said", 10_000, async () => /ended by signal 9/.test(await w.text("#problem")))
	process.kill(u.processes().find((p) => p.name === "ec-relay").pid, "SIGKILL")
	const killed = Date.now()
	await said
	await onPage(w)
	await playing(w)
	t.diagnostic(`plays again after ${Date.now() - killed} ms`)
	assert.notEqual(await w.url(), before)
})

test("the relay is away: words, and by itself when it is back", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	await relay.p.end()
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await h.until("it is said", 20_000, async () => /is not reached/.test(await w.text("#words")) && /does not answer|Nothing listens/.test(await w.text("#problem")))
	await shot(w, "away")
	await w.click("#anyway")
	await onPage(w)
	await h.until("the page says so", 10_000, async () => /not reached/.test(await w.text("#shell-away")))
	relay.restart()
	await h.until("it is there", 30_000, async () => !(await w.text("#shell-away")) && /on air/.test(await w.text("#list")))
	await relay.p.end()
	await h.until("the loss is said", 30_000, async () => /not reached/.test(await w.text("#shell-away")))
	await shot(w, "lost")
	relay.restart()
})

test("another relay than the one that was named", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: "0".repeat(64) } })
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await h.until("it is said", 20_000, async () => /Another relay than the one you named/.test(await w.text("#problem")))
	await w.click("#leave")
	await h.until("the address is there to be corrected", 5000, () => w.eval("return document.getElementById('to').value === arguments[0]", relay.address))
})

test("joins by ticket", async (t) => {
	const u = h.user(display)
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await join(w, relay.ticket())
	await onPage(w)
	await h.until("the channel is listed", 30_000, async () => /EC-H264/.test(await w.text("#list")))
	const secret = u.remembered().relay.to
	for (const { pid } of u.processes()) {
		assert.ok(!spawnSync("cat", [`/proc/${pid}/cmdline`], { encoding: "latin1" }).stdout.includes(secret), "no command line has the ticket")
	}
})

// mDNS goes to whoever is on the network, so there is one with nobody else on it.
const alone = `ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0; ip link set v0 up; ip link set v1 up
	ip route add default dev v0; exec "$0" "$1"`

test("a relay on the local network is found and joined", { skip: process.getuid() !== 0 && "needs root, for a network of its own" }, () => {
	const env = { ...process.env, EC_BIN: relay.bin, EC_SHELL: shell }
	const r = spawnSync("unshare", ["-n", "sh", "-ec", alone, process.execPath, `${h.root}desktop/test/mdns.mjs`], { env, encoding: "utf8" })
	assert.equal(r.status, 0, r.stdout + r.stderr)
})

async function nothingLeft(u) {
	await h.until("nothing of the user's runs any more", 8000, () => u.processes().length === 0).catch((err) => {
		throw new Error(`${err.message}: ${JSON.stringify(u.processes())}`)
	})
}

for (const [how, end] of [
	["the window is closed", () => spawnSync("wmctrl", ["-c", "every.channel"], { env: { ...process.env, DISPLAY: display } })],
	["SIGTERM", (p) => process.kill(p.child.pid, "SIGTERM")],
	["SIGKILL", (p) => process.kill(p.child.pid, "SIGKILL")],
]) {
	test(`nothing is left: ${how}`, async (t) => {
		const u = h.user(display)
		u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
		const p = h.start(shell, [], u.env)
		t.after(() => p.end())
		await h.until("the page is shown", 30_000, () => {
			const names = u.processes().map((x) => x.name)
			return names.includes("ec-relay") && names.includes("WebKitWebProcess") && /"peer":"127|websocket/.test(status(u))
		})
		const ran = u.processes().length
		assert.ok(ran >= 4, JSON.stringify(u.processes()))
		const begun = Date.now()
		end(p)
		await nothingLeft(u)
		t.diagnostic(`${ran} processes gone after ${Date.now() - begun} ms`)
	})
}

/** What the local relay says of itself. */
function status(u) {
	return spawnSync(`${relay.bin}/ec-relay`, ["--store", u.store, "--json", "status"], { encoding: "utf8" }).stdout
}
