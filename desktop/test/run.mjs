// The desktop shell as a user has it: the installed package, in WebKitGTK, with a real relay and broadcast. node --test desktop/test/run.mjs;
// EC_BIN names a folder with the tools, EC_DEB the package, EC_SHELL the program that is installed already, EC_SHOTS a folder for screenshots.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from "node:fs"
import { join as path } from "node:path"
import { after, before, test } from "node:test"
import * as h from "./harness.mjs"

const seconds = Number(process.env.EC_SECONDS ?? 30)
let relay, shell, deb, display

before(async () => {
	relay = await h.broadcast(h.tools());
	({ shell, deb } = h.installed())
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
	await join(w, "moqt://127.0.0.1:99999")
	await h.until("what ec-relay does not take is refused", 10_000, async () => /port "99999": want 1 to 65535/.test(await w.text("#problem")) && (await w.text("#ask label")))
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
	const u = h.user(display, `50%20, one #1? ${"long ".repeat(20)}name`)
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
	const sidecar = u.processes().find((p) => p.name === "ec-relay")
	assert.equal(sidecar.program, h.beside(shell, "ec-relay"), "the local relay is the one that came with the shell")
	process.kill(sidecar.pid, "SIGKILL")
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
	t.after(() => relay.p.ended && relay.restart())
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

const page = (u) => h.until("the page is shown", 30_000, () => {
	const names = u.processes().map((x) => x.name)
	return names.includes("ec-relay") && names.includes("WebKitWebProcess") && watching(u).length > 0
})
const close = () => spawnSync("wmctrl", ["-c", "every.channel"], { env: { ...process.env, DISPLAY: display } })

for (const [how, end] of [
	["the window is closed", close],
	["SIGTERM", (p) => process.kill(p.child.pid, "SIGTERM")],
	["SIGKILL", (p) => process.kill(p.child.pid, "SIGKILL")],
]) {
	test(`nothing is left: ${how}`, async (t) => {
		const u = h.user(display)
		u.remember({ relay: { to: relay.ticket() } }) // for a ticket ec-iroh runs, too
		const p = h.start(shell, [], { ...u.env, ...h.deadProxy })
		t.after(() => p.end())
		await page(u)
		const ran = u.processes()
		assert.ok(ran.some((x) => x.program === h.beside(shell, "ec-iroh")), JSON.stringify(ran))
		assert.ok(ran.length >= 5, JSON.stringify(ran))
		const begun = Date.now()
		end(p)
		await nothingLeft(u)
		t.diagnostic(`${ran.length} processes gone after ${Date.now() - begun} ms`)
	})
}

test("the web view's process is killed: the page is there again", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	const p = h.start(shell, [], u.env)
	t.after(() => p.end())
	await page(u)
	const first = u.processes().find((x) => x.name === "WebKitWebProcess").pid
	const killed = new Date()
	process.kill(first, "SIGKILL")
	await h.until("the page is loaded anew", 20_000, () => watching(u).some((x) => new Date(x.since) > killed))
	assert.ok(u.processes().every((x) => x.pid !== first))
	assert.match(p.log, /the web view's process ended/)
})

test("a second window says so, and goes on when the first is closed", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	const first = h.start(shell, [], u.env)
	t.after(() => first.end())
	await page(u)
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await h.until("it is said", 20_000, async () => /Another window of every.channel is open/.test(await w.text("#problem")))
	await first.end()
	await onPage(w)
})

test("the local relay is missing: words, and by itself when it is there", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	const dir = h.folder("ec-bare-")
	for (const d of ["bin", "lib"]) mkdirSync(path(dir, d))
	copyFileSync(shell, path(dir, "bin/every-channel"))
	const w = await h.drive(path(dir, "bin/every-channel"), u)
	t.after(() => w.end())
	await h.until("it is said", 20_000, async () => /The local relay is missing: there is no .*Install every.channel again/.test(await w.text("#problem")))
	symlinkSync(h.beside(shell, ""), path(dir, "lib/every-channel"))
	await onPage(w)
})

test("what was remembered is broken: words, and it asks", async (t) => {
	const u = h.user(display)
	u.remember({ relay: { to: "@/etc/passwd,moqt://a:4443" } })
	const w = await h.drive(shell, u)
	t.after(() => w.end())
	await h.until("it is said", 20_000, async () => /The relay that was remembered in .* is none/.test(await w.text("#notice")) && (await w.text("#ask label")))
})

test("the command line", () => {
	const said = (...args) => spawnSync(shell, args, { encoding: "utf8", env: { PATH: process.env.PATH, HOME: "/nowhere" } })
	assert.match(said("--version").stdout, /^every-channel \d+\.\d+\.\d+/)
	assert.match(said("--help").stdout, /^every-channel: [^]*--version/)
	const wrong = said("moqt://relay:4443")
	assert.deepEqual([wrong.status, wrong.stdout], [64, ""])
	assert.match(wrong.stderr, /is not understood/)
})

/** What dpkg knows of the program's package; nothing, if the program is from none. */
const known = (field) => spawnSync("dpkg-query", ["-W", "-f", `\${${field}}`, "every-channel"], { encoding: "utf8" }).stdout
const isPackaged = () => shell === "/usr/bin/every-channel" && known("db:Status-Status") === "installed"

test("the package has what a user expects", (t) => {
	if (!isPackaged()) return t.skip("the program was not installed by dpkg")
	const files = h.run("dpkg", ["-L", "every-channel"]).split("\n")
	for (const f of [
		"bin/every-channel", "lib/every-channel/ec-relay", "lib/every-channel/ec-iroh", "share/applications/every-channel.desktop",
		"share/icons/hicolor/scalable/apps/every-channel.svg", "share/icons/hicolor/128x128/apps/every-channel.png",
		"share/doc/every-channel/copyright", "share/doc/every-channel/changelog.gz", "share/man/man1/every-channel.1.gz",
	]) assert.ok(files.includes("/usr/" + f), f)
	for (const f of files.filter((f) => f && statSync(f).isFile())) {
		const { mode, uid } = statSync(f)
		assert.deepEqual([f, mode & 0o7777, uid], [f, /^.usr.(bin|lib)/.test(f) ? 0o755 : 0o644, 0])
	}
	assert.equal(h.run("dpkg", ["--verify", "every-channel"]), "", "as it was made")
	const version = known("Version")
	for (const program of [shell, h.beside(shell, "ec-relay")]) assert.ok(h.run(program, ["--version"]).split(/\s/).includes(version), `${program} is of ${version}`)
	for (const field of ["Maintainer", "Description", "Installed-Size"]) assert.ok(known(field), field)
	for (const of of ["libwebkit2gtk-4.1-0", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad", "gstreamer1.0-libav"]) {
		assert.match(known("Depends"), new RegExp(`(^|, )${of.replaceAll(".", "\\.")}\\b`))
	}
	h.run("desktop-file-validate", ["/usr/share/applications/every-channel.desktop"])
})

test("installed anew and purged: what is the user's stays, and it plays on", async (t) => {
	if (!deb) return t.skip("EC_SHELL names the program, or this user may not install one")
	const u = h.user(display)
	u.remember({ relay: { to: relay.address, fingerprint: relay.fingerprint } })
	const p = h.start(shell, [], u.env)
	t.after(() => p.end())
	await page(u)
	const sidecar = () => u.processes().find((x) => x.name === "ec-relay")
	const { pid } = sidecar()
	h.install(deb) // under the window
	assert.equal(sidecar().pid, pid, "what runs goes on")
	process.kill(pid, "SIGKILL")
	await h.until("the new one is started", 20_000, () => sidecar() && sidecar().pid !== pid && sidecar().program === h.beside(shell, "ec-relay"))
	await page(u)
	h.purge()
	assert.ok(!existsSync(shell) && !existsSync("/usr/lib/every-channel"))
	assert.ok(sidecar(), "what runs goes on")
	close()
	await nothingLeft(u)
	const key = readFileSync(path(u.store, "fingerprint"), "utf8")
	assert.equal(u.remembered().relay.to, relay.address)
	h.install(deb)
	const again = h.start(shell, [], u.env)
	t.after(() => again.end())
	await page(u)
	assert.equal(readFileSync(path(u.store, "fingerprint"), "utf8"), key, "the local relay's store is the same")
})

/** The sessions of pages, as the local relay tells them; it throws while no relay runs. */
function watching(u) {
	const status = spawnSync(`${relay.bin}/ec-relay`, ["--store", u.store, "--json", "status"], { encoding: "utf8" }).stdout
	return JSON.parse(status).sessions.filter((x) => x.path === "websocket")
}
