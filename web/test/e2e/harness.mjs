// What the end-to-end tests stand on: a real relay, homes that publish to it, servers for the page, and Chromium.
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { readFile } from "node:fs/promises"
import dgram from "node:dgram"
import http from "node:http"
import net from "node:net"
import { tmpdir } from "node:os"
import { extname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { chromium } from "playwright-core"

export const root = fileURLToPath(new URL("../..", import.meta.url))
export const dist = join(root, "dist")

/** What was started and is to be ended, the last first. */
const endings = []
export async function endAll() {
	for (const end of endings.splice(0).reverse()) await end()
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

/** What the page was like when it was last looked at, for errors. */
let last

export async function until(what, ms, test) {
	const end = Date.now() + ms
	for (;;) {
		const x = await test()
		if (x) return x
		if (Date.now() > end) throw new Error(`${what}: not within ${ms / 1000} s${last ? "; " + JSON.stringify(last) : ""}`)
		await sleep(100)
	}
}

/** The tools, built from this clone unless EC_BIN names a folder that has them. */
export function tools() {
	if (process.env.EC_BIN) return process.env.EC_BIN
	const bin = mkdtempSync(join(tmpdir(), "ec-bin-"))
	endings.push(() => rmSync(bin, { recursive: true, force: true }))
	const built = spawnSync("go", ["build", "-o", bin + "/", ...["chop", "pub", "relay", "sim", "sub"].map((t) => `./cmd/ec-${t}`)], { cwd: join(root, ".."), stdio: "inherit" })
	if (built.status !== 0) throw new Error("the tools do not build")
	return bin
}

/** Starts a process group of its own; log collects its stderr. */
function start(command, args, env = {}) {
	const child = spawn(command, args, { detached: true, stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } })
	const p = { log: "", child, end: async (signal = "SIGTERM") => {
		if (child.exitCode !== null || child.signalCode !== null) return
		const gone = new Promise((done) => child.once("exit", done))
		process.kill(-child.pid, signal)
		const late = setTimeout(() => process.kill(-child.pid, "SIGKILL"), 5000)
		await gone
		clearTimeout(late)
	} }
	child.stderr.on("data", (b) => (p.log += b))
	endings.push(() => p.end())
	return p
}

const freePort = () => new Promise((done) => {
	const s = net.createServer().listen(0, "127.0.0.1", () => {
		const { port } = s.address()
		s.close(() => done(port))
	})
})

/** A relay that listens for QUIC with WebTransport, and serves the page and WebSockets at an address; pages of any origin may connect. Without QUIC there is no WebTransport. */
export async function relay(bin, { args = [], address = "127.0.0.1", quic = true, allow = ["--allow-origin", "*"] } = {}) {
	const store = mkdtempSync(join(tmpdir(), "ec-store-"))
	endings.push(() => rmSync(store, { recursive: true, force: true }))
	const [udp, web] = [await freePort(), await freePort()]
	const begin = async () => {
		const p = start(join(bin, "ec-relay"), ["--listen", quic ? `127.0.0.1:${udp}` : `unix://${store}.socket`, "--http", `${address}:${web}`, "--name", "test relay", ...allow, "--store", store, ...args])
		await until("the relay listens", 10_000, () => {
			if (p.child.exitCode !== null) throw new Error("ec-relay: " + p.log)
			return new Promise((done) => {
				const s = net.connect(web, address, () => (s.destroy(), done(true))).on("error", () => done(false))
			})
		})
		return p
	}
	const r = { store, address: `moqt://127.0.0.1:${udp}`, page: `http://${address}:${web}/`, websocket: `ws://${address}:${web}/moq` }
	r.p = await begin()
	r.restart = async () => (r.p = await begin())
	r.fingerprint = readFileSync(join(store, "fingerprint"), "utf8").trim()
	/** what the relay says of itself to pages, for hosts that tell something else */
	r.info = async () => ({ ...(await (await fetch(r.page + "relay.json")).json()), websocket: r.websocket })
	return r
}

/** A port of UDP at which nobody ever answers, as behind a firewall. */
export async function silence() {
	const s = dgram.createSocket("udp4")
	await new Promise((done) => s.bind(0, "127.0.0.1", done))
	endings.push(() => s.close())
	return `https://127.0.0.1:${s.address().port}/`
}

/** The address of a path to a relay for QUIC that takes 20 ms each way and loses such a part of the packets that the relay sends as loss() says. */
export async function lossy(address, loss) {
	const port = Number(new URL(address).port)
	const near = dgram.createSocket("udp4")
	const far = new Map() // a socket to the relay for each client
	let seed = 1
	const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
	near.on("message", (b, from) => {
		const client = `${from.address}:${from.port}`
		if (!far.has(client)) {
			const s = dgram.createSocket("udp4")
			s.on("message", (b) => random() < loss() || setTimeout(() => closed || near.send(b, from.port, from.address), 20))
			far.set(client, s)
		}
		setTimeout(() => closed || far.get(client).send(b, port, "127.0.0.1"), 20)
	})
	let closed = false
	await new Promise((done) => near.bind(0, "127.0.0.1", done))
	endings.push(() => {
		closed = true
		for (const s of [near, ...far.values()]) s.close()
	})
	return `https://127.0.0.1:${near.address().port}/`
}

/** A home that hears a channel of the simulated antenna and publishes it. */
export function home(bin, relay, name, { channel = "5.2", sim = [], chop = [] } = {}) {
	return start("/bin/sh", ["-c", `"$0/ec-sim" ${sim.join(" ")} --live write ${channel} | "$0/ec-chop" --source ${name} ${chop.join(" ")} | "$0/ec-pub" --retry 60s ${relay.address}`, bin], { EC_FINGERPRINT: relay.fingerprint })
}

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" }

/** A static host for the page. info, if there is one, is its relay.json, which any origin may read. */
export async function host(info, address = "127.0.0.1") {
	const server = http.createServer(async (req, res) => {
		const path = new URL(req.url, "http://x").pathname
		if (path === "/relay.json" && info) {
			res.writeHead(200, { "content-type": "application/json", "access-control-allow-origin": "*" })
			return res.end(JSON.stringify(typeof info === "function" ? info() : info))
		}
		const name = path === "/" ? "/index.html" : path
		const b = /^\/[a-z]+\.[a-z]+$/.test(name) ? await readFile(dist + name).catch(() => undefined) : undefined
		res.writeHead(b ? 200 : 404, { "content-type": types[extname(name)] ?? "text/plain" })
		res.end(b ?? "not here")
	})
	await new Promise((done) => server.listen(0, address, done))
	endings.push(() => new Promise((done) => (server.closeAllConnections(), server.close(done))))
	return `http://${address}:${server.address().port}/`
}

/**
 * A WebSocket relay's address behind which a liar stands: of each large record that comes from the relay one byte in the middle is changed,
 * while lie() says so.
 */
export async function liar(websocket, lie) {
	const to = new URL(websocket)
	const server = net.createServer((near) => {
		const far = net.connect(Number(to.port), to.hostname)
		near.on("error", () => far.destroy()).on("close", () => far.destroy())
		far.on("error", () => near.destroy()).on("close", () => near.destroy())
		near.pipe(far)
		let buffer = Buffer.alloc(0)
		let upgraded = false
		far.on("data", (b) => {
			buffer = Buffer.concat([buffer, b])
			if (!upgraded) {
				const end = buffer.indexOf("\r\n\r\n")
				if (end < 0) return
				near.write(buffer.subarray(0, end + 4))
				buffer = buffer.subarray(end + 4)
				upgraded = true
			}
			for (;;) {
				if (buffer.length < 2) return
				let [length, head] = [buffer[1] & 0x7f, 2]
				if (length === 126) [length, head] = buffer.length < 4 ? [Infinity, 4] : [buffer.readUInt16BE(2), 4]
				else if (length === 127) [length, head] = buffer.length < 10 ? [Infinity, 10] : [Number(buffer.readBigUInt64BE(2)), 10]
				if (buffer.length < head + length) return
				const frame = Buffer.from(buffer.subarray(0, head + length))
				if (length > 6000 && lie()) frame[head + (length >> 1)] ^= 0x01
				near.write(frame)
				buffer = buffer.subarray(head + length)
			}
		})
	})
	await new Promise((done) => server.listen(0, "127.0.0.1", done))
	endings.push(() => new Promise((done) => server.close(done)))
	return `ws://127.0.0.1:${server.address().port}${to.pathname}`
}

export async function browser(args = []) {
	const path = process.env.EC_CHROMIUM ?? "/usr/bin/chromium"
	if (!existsSync(path)) throw new Error(`${path} is missing`)
	const b = await chromium.launch({ executablePath: path, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking", "--disable-component-update", ...args] })
	endings.push(() => b.close())
	return b
}

/** What the page shows and plays at this moment. */
export const state = async (page) => (last = await page.evaluate(() => {
	const v = document.querySelector("video")
	const checks = document.getElementById("checks")
	const q = v.getVideoPlaybackQuality()
	return {
		time: v.currentTime, frames: q.totalVideoFrames, dropped: q.droppedVideoFrames, paused: v.paused, ready: v.readyState, width: v.videoWidth, height: v.videoHeight,
		buffered: Array.from({ length: v.buffered.length }, (_, i) => [v.buffered.start(i), v.buffered.end(i)]),
		right: Number(checks.dataset.right ?? 0), wrong: Number(checks.dataset.wrong ?? 0), confirmed: Number(checks.dataset.confirmed ?? 0), contradicted: Number(checks.dataset.contradicted ?? 0),
		checks: checks.textContent, checksClass: checks.className, alert: document.getElementById("wrong").hidden ? "" : document.getElementById("wrong").textContent,
		transport: document.getElementById("relay").dataset.transport, status: document.getElementById("state").textContent,
		without: document.getElementById("without").hidden ? "" : document.getElementById("without").textContent,
		clock: document.getElementById("clock").textContent, live: document.getElementById("live").classList.contains("on"),
		notices: [...document.querySelectorAll("#notices p")].map((p) => p.textContent),
		list: [...document.querySelectorAll("#list button")].map((b) => b.textContent),
	}
}))

/** Listens to what the video element plays; loudness is the greatest sample since the last call. */
export const listen = (page) => page.evaluate(async () => {
	const c = new AudioContext()
	await c.resume()
	const a = c.createAnalyser()
	a.fftSize = 2048
	c.createMediaElementSource(document.querySelector("video")).connect(a)
	a.connect(c.destination)
	const b = new Float32Array(a.fftSize)
	let most = 0
	setInterval(() => {
		a.getFloatTimeDomainData(b)
		for (const x of b) most = Math.max(most, Math.abs(x))
	}, 50)
	window.loudness = () => {
		const x = most
		most = 0
		return x
	}
})
export const loudness = (page) => page.evaluate(() => window.loudness())
