// What the tests of the desktop shell stand on: a screen, a relay with a broadcast, the installed package, and WebKitWebDriver.
import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import net from "node:net"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

const endings = []
export async function endAll() {
	for (const end of endings.splice(0).reverse()) await end()
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

export async function until(what, ms, test) {
	const end = Date.now() + ms
	for (let last; ; ) {
		try {
			const x = await test()
			if (x) return x
		} catch (err) {
			last = err
		}
		if (Date.now() > end) throw new Error(`${what}: not within ${ms / 1000} s${last ? ` (${last.message})` : ""}`)
		await sleep(100)
	}
}

export function folder(name) {
	const dir = mkdtempSync(join(tmpdir(), name))
	endings.push(() => rmSync(dir, { recursive: true, force: true }))
	return dir
}

export function run(command, args, options = {}) {
	const r = spawnSync(command, args, { cwd: root, encoding: "utf8", ...options })
	if (r.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${r.error ?? r.stderr ?? r.status}`)
	return r.stdout
}

/** Starts a process group of its own; log collects what it says. */
export function start(command, args, env = process.env) {
	const child = spawn(command, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], env })
	const gone = new Promise((done) => child.once("exit", done))
	const p = {
		log: "",
		child,
		get ended() {
			return child.exitCode !== null || child.signalCode !== null
		},
		gone,
		async end(signal = "SIGTERM") {
			if (p.ended) return
			process.kill(-child.pid, signal)
			const late = setTimeout(() => process.kill(-child.pid, "SIGKILL"), 5000)
			await gone
			clearTimeout(late)
		},
	}
	child.stdout.on("data", (b) => (p.log += b))
	child.stderr.on("data", (b) => (p.log += b))
	child.on("error", (err) => (p.log += err))
	endings.push(() => p.end())
	return p
}

const freePort = () => new Promise((done) => {
	const s = net.createServer().listen(0, "127.0.0.1", () => {
		const { port } = s.address()
		s.close(() => done(port))
	})
})

/** The tools, built from this clone unless EC_BIN names a folder that has them. */
export function tools() {
	if (process.env.EC_BIN) return process.env.EC_BIN
	const bin = folder("ec-bin-")
	run("go", ["build", "-o", bin + "/", ...["chop", "pub", "relay", "sim", "tune"].map((t) => `./cmd/ec-${t}`)])
	return bin
}

const apt = (...args) => run("apt-get", [...args, "-y", "-qq"], { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } })
const there = () => spawnSync("dpkg-query", ["-W", "every-channel"]).status === 0

/** Installs, or installs anew, and purges the package as a user does. */
export const install = (deb) => void apt("install", "--reinstall", "--allow-downgrades", deb)
export const purge = () => void apt("purge", "every-channel")

/**
 * The shell's path, and the package it is from: installed, if EC_SHELL names it; else the package, built unless EC_DEB names one, is installed for
 * the time of the test. Who may not install it runs it unpacked.
 */
export function installed() {
	if (process.env.EC_SHELL) {
		run(process.env.EC_SHELL, ["--version"])
		return { shell: process.env.EC_SHELL }
	}
	const deb = process.env.EC_DEB ? resolve(process.env.EC_DEB) : run("scripts/desktop-deb", ["--debug", "-o", join(folder("ec-deb-"), "every-channel.deb")], { stdio: ["ignore", "pipe", "inherit"] }).trim()
	if (process.getuid() !== 0) {
		const dir = folder("ec-root-")
		run("dpkg-deb", ["-x", deb, dir])
		return { shell: join(dir, "usr/bin/every-channel") }
	}
	const before = there()
	install(deb)
	if (!before) endings.push(() => there() && purge())
	return { shell: "/usr/bin/every-channel", deb }
}

/** A program that comes with the shell. */
export const beside = (shell, name) => join(dirname(realpathSync(shell)), "../lib/every-channel", name)

/** A relay, and a home that publishes the simulated antenna's H.264 channel to it through every tool. */
export async function broadcast(bin, more = [], env = {}) {
	const port = await freePort()
	const store = folder("ec-far-")
	const args = ["--listen", `127.0.0.1:${port}`, "--store", store, ...more]
	const r = { address: `moqt://127.0.0.1:${port}`, bin }
	r.restart = () => (r.p = start(join(bin, "ec-relay"), args, { ...process.env, ...env }))
	r.restart()
	r.ask = (...words) => run(join(bin, "ec-relay"), ["--store", store, ...words])
	await until("the relay is ready", 10_000, () => existsSync(join(store, "fingerprint")) && r.p.log.includes("ready"))
	r.fingerprint = readFileSync(join(store, "fingerprint"), "utf8").trim()
	r.ticket = () => r.ask("--address", r.address, "ticket").trim()
	const sim = start(join(bin, "ec-sim"), ["--http", "0", "--stream-port", "0", "--control-port", "0", "serve"])
	const device = await until("the simulated tuner is there", 10_000, () => /http:\/\/([0-9.:]+)/.exec(sim.log)?.[1])
	const chain = `"$0/ec-tune" --retry 30s hdhr://${device}/5.2 | "$0/ec-chop" --source home | "$0/ec-pub" --retry 60s ${r.address}`
	r.home = start("/bin/sh", ["-c", chain, bin], { ...process.env, EC_FINGERPRINT: r.fingerprint })
	return r
}

/** A screen with a window manager. */
export async function screen() {
	const x = start("Xvfb", ["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"])
	const display = ":" + (await until("the screen is there", 10_000, () => /^(\d+)\n/m.exec(x.log)?.[1]))
	start("openbox", [], { ...process.env, DISPLAY: display })
	return display
}

/** A network's proxy, which answers nobody. Nothing that the window shows is behind it; WebKitWebDriver's own connection to the window would be. */
export const deadProxy = { http_proxy: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9" }

/** A user of the shell, with a home folder; everything that runs for that user is known by a mark in its environment. */
export function user(display, name = "user") {
	const dir = folder("ec-home-")
	const home = join(dir, name)
	const mark = `MARK_OF_TEST=${process.pid}.${Math.random()}`
	const env = {
		PATH: "/usr/bin:/bin", HOME: home, XDG_RUNTIME_DIR: join(dir, "run"), DISPLAY: display, GDK_BACKEND: "x11", LANG: "C.UTF-8", NO_AT_BRIDGE: "1",
		LIBGL_ALWAYS_SOFTWARE: "1", MARK_OF_TEST: mark.split("=")[1],
	}
	mkdirSync(home)
	mkdirSync(env.XDG_RUNTIME_DIR, { mode: 0o700 })
	const u = {
		home, env,
		memory: join(home, ".config/every.channel/desktop.json"),
		store: join(home, ".local/share/every.channel/relay"),
		/** those that run, as {pid, name, program}; zombies do not */
		processes() {
			return readdirSync("/proc").filter((d) => /^\d+$/.test(d)).flatMap((pid) => {
				try {
					if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(mark)) return []
					return [{ pid: Number(pid), program: readlinkSync(`/proc/${pid}/exe`), name: readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0")[0].split("/").at(-1) }]
				} catch {
					return []
				}
			})
		},
		remember(m) {
			mkdirSync(join(home, ".config/every.channel"), { recursive: true, mode: 0o700 })
			writeFileSync(u.memory, JSON.stringify({ v: 1, ...m }), { mode: 0o600 })
		},
		remembered: () => JSON.parse(readFileSync(u.memory, "utf8")),
	}
	endings.push(() => {
		for (const { pid } of u.processes()) process.kill(pid, "SIGKILL")
	})
	return u
}

/** A session of WebKitWebDriver with the shell, started for a user. */
export async function drive(shell, u, args = [], open) {
	const port = await freePort()
	const d = start("WebKitWebDriver", [`--port=${port}`], { ...u.env, TAURI_WEBVIEW_AUTOMATION: "true" })
	const call = async (method, path, body) => {
		const r = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body), signal: AbortSignal.timeout(60_000) })
		const { value } = await r.json()
		if (value?.error) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`)
		return value
	}
	await until("WebKitWebDriver answers", 10_000, () => call("GET", "/status"))
	const { sessionId } = await call("POST", "/session", { capabilities: { alwaysMatch: { "webkitgtk:browserOptions": { binary: shell, args } } } })
	const at = `/session/${sessionId}`
	if (open) await call("POST", at + "/url", { url: open })
	const w = {
		log: () => d.log,
		url: () => call("GET", at + "/url"),
		/** the value of a function's body in the page; async: it calls its last argument */
		eval: (script, ...args) => call("POST", at + "/execute/sync", { script, args }),
		evalAsync: (script, ...args) => call("POST", at + "/execute/async", { script, args }),
		async element(css) {
			return Object.values(await call("POST", at + "/element", { using: "css selector", value: css }))[0]
		},
		click: async (css) => call("POST", `${at}/element/${await w.element(css)}/click`, {}),
		type: async (css, text) => call("POST", `${at}/element/${await w.element(css)}/value`, { text }),
		text: (css) => w.eval("const e = document.querySelector(arguments[0]); return e && !e.closest('[hidden]') ? e.textContent : ''", css),
		async shot(path) {
			writeFileSync(path, Buffer.from(await call("GET", at + "/screenshot"), "base64"))
		},
		async end() {
			await call("DELETE", at).catch(() => {})
			await d.end()
		},
	}
	return w
}
