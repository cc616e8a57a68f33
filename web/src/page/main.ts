// The page: list, player, and what happens, in words.
import type { Broadcast, Checks, ToPage, ToWorker } from "../protocol.ts"
import { Player } from "./player.ts"

const byID = <T extends HTMLElement>(id: string): T => {
	const e = document.getElementById(id)
	if (!e) throw new Error(`no element ${id}`)
	return e as T
}

const video = byID<HTMLVideoElement>("video")
const list = byID<HTMLUListElement>("list")
const seek = byID<HTMLInputElement>("seek")
const volume = byID<HTMLInputElement>("volume")
const parameters = new URLSearchParams(location.search)
const only = parameters.get("only")

const worker = new Worker(new URL("worker.js", location.href), { type: "module" })
const tell = (m: ToWorker): void => worker.postMessage(m)

let broadcasts: Broadcast[] = []
let playing: string | undefined
let wanted = decodeURIComponent(location.hash.slice(1)) // to be played when it is there
let target: number | undefined // media time to begin the next feed with
let dragging = false
const times: { start: number; end: number; utc: number }[] = []

const player = new Player(video, {
	problem(text) {
		notice(text, "error")
		showPlaying()
	},
	loading(is) {
		byID("spinner").hidden = !is
	},
})

/** How far behind what is newest a viewer counts as live: a chunk is whole before it comes. */
const liveWithin = 10

function notice(text: string, level: "info" | "warning" | "error"): void {
	const box = byID("notices")
	if ([...box.children].some((p) => p.textContent === text)) return
	const p = document.createElement("p")
	p.textContent = text
	p.className = level
	box.append(p)
	while (box.childElementCount > 3) box.firstElementChild!.remove()
	setTimeout(() => p.remove(), level === "error" ? 20_000 : 6000)
}

function span(name: string, text: string): HTMLSpanElement {
	const s = document.createElement("span")
	s.className = name
	s.textContent = text
	return s
}

function showList(): void {
	byID("empty").hidden = broadcasts.length > 0
	const there = new Map([...list.children].map((li) => [(li as HTMLElement).dataset["id"], li as HTMLLIElement]))
	let before: Element | null = null
	for (const b of broadcasts) {
		let li = there.get(b.id)
		if (!li) {
			li = document.createElement("li")
			li.dataset["id"] = b.id
			const button = document.createElement("button")
			button.type = "button"
			button.addEventListener("click", () => play(b.id))
			li.append(button)
		}
		there.delete(b.id)
		const button = li.firstElementChild as HTMLButtonElement
		const more = [b.service !== b.callsign ? b.service : "", b.codecs, b.short].filter(Boolean).join(" · ")
		const state = span(b.live ? "state live" : "state", b.live ? "● on air" : "stored")
		button.replaceChildren(span("channel", b.channel), span("callsign", b.callsign), state, span("more", more))
		button.setAttribute("aria-current", String(b.id === playing))
		// Only what moved is moved, so that focus stays.
		const place: Element | null = before ? before.nextElementSibling : list.firstElementChild
		if (place !== li) list.insertBefore(li, place)
		before = li
	}
	for (const gone of there.values()) gone.remove()
	const now = broadcasts.find((b) => b.id === playing)
	if (now) showTitle(now)
	if (wanted && broadcasts.some((b) => b.id === wanted && b.playable)) play(wanted)
}

function showTitle(b: Broadcast): void {
	byID("title").textContent = [b.channel, b.callsign].filter(Boolean).join(" ")
	const heard = b.live ? (b.receivers > 1 ? `heard by ${b.receivers} receivers` : "") : "not on air any more; this is what was stored"
	byID("details").textContent = [b.service !== b.callsign ? b.service : "", b.codecs, heard, b.hint].filter(Boolean).join(" · ")
	document.title = `${b.callsign} · every.channel`
}

function play(id: string): void {
	const b = broadcasts.find((x) => x.id === id)
	if (!b) return
	wanted = b.playable || b.codecs ? "" : id // its catalog is on the way
	if (wanted) return
	if (!b.playable) {
		notice(`${b.callsign}: ${b.hint}`, "error")
		return
	}
	playing = id
	history.replaceState(null, "", "#" + encodeURIComponent(id))
	byID("stage").hidden = false
	byID("over").hidden = true
	byID("wrong").hidden = true
	byID("checks").textContent = ""
	byID("spinner").hidden = false
	times.length = 0
	target = undefined
	showList()
	// Within the click: some browsers let nothing play with sound that did not begin here.
	video.play().catch(() => {})
	tell({ type: "play", id })
}

function showChecks(c: Checks): void {
	const p = byID("checks")
	const all = c.right + c.wrong + c.without
	if (all === 0) {
		p.className = "none"
		p.textContent = ""
		return
	}
	const wrong = c.wrong + c.contradicted
	p.className = wrong > 0 ? "wrong" : c.right > 0 ? "right" : "none"
	const count = (n: number, one: string, many: string): string => `${n.toLocaleString("en")} ${n === 1 ? one : many}`
	const parts = [
		wrong > 0 ? `${count(c.wrong, "object was", "objects were")} changed on the way, ${count(c.right, "is", "are")} right` : c.right > 0 ? `${count(c.right, "object", "objects")} checked, every hash is right` : "",
		c.without > 0 ? `${count(c.without, "came", "came")} without a hash` : "",
		c.confirmed > 0 ? `${count(c.confirmed, "chunk", "chunks")} as a receiver's manifest has ${c.confirmed === 1 ? "it" : "them"}` : "",
		c.contradicted > 0 ? `${count(c.contradicted, "chunk", "chunks")} other than a receiver's manifest says` : "",
		`${(c.bytes / 1e6).toFixed(1)} MB`,
	]
	p.textContent = parts.filter(Boolean).join(" · ")
	p.dataset["right"] = String(c.right)
	p.dataset["wrong"] = String(c.wrong)
	p.dataset["confirmed"] = String(c.confirmed)
	p.dataset["contradicted"] = String(c.contradicted)
	byID("wrong").hidden = c.first === ""
	byID("wrong").textContent = c.first
}

function goTo(time: number | undefined): void {
	if (!playing) return
	byID("over").hidden = true
	if (time !== undefined && player.edge !== undefined && time > player.edge - liveWithin / 2) time = undefined
	if (time !== undefined && player.has(time)) {
		player.jump(time)
	} else if (time === undefined && player.jumpLive()) {
		// it was buffered
	} else {
		target = time
		byID("spinner").hidden = false
		tell({ type: "seek", time })
	}
	if (player.paused) player.play()
	showPlaying()
}

const behind = (): number => (player.edge === undefined ? 0 : Math.max(0, player.edge - video.currentTime))

function showPlaying(): void {
	byID("play").textContent = player.paused ? "Play" : "Pause"
	byID("mute").setAttribute("aria-pressed", String(video.muted))
	byID("mute").textContent = video.muted ? "Unmute" : "Mute"
	volume.value = String(video.muted ? 0 : video.volume)
}

function showTime(): void {
	if (!playing) return
	if (player.feed) tell({ type: "ahead", seconds: player.ahead, feed: player.feed })
	if (!player.started) return
	const at = video.currentTime
	const late = behind()
	byID("live").classList.toggle("on", player.edge !== undefined && late < liveWithin)
	byID("live").setAttribute("aria-pressed", String(late < liveWithin))
	if (!dragging) seek.value = String(-Math.min(300, Math.round(late < liveWithin ? 0 : late)))
	const t = times.findLast((t) => t.start <= at && at < t.end + 0.5)
	const utc = t ? new Date(t.utc + (at - t.start) * 1000).toLocaleTimeString() : ""
	const minutes = late < liveWithin ? "" : late < 90 ? `${Math.round(late)} s behind live` : `${Math.floor(late / 60)} min ${Math.round(late % 60)} s behind live`
	seek.setAttribute("aria-valuetext", minutes || "live")
	byID("clock").textContent = [utc, minutes].filter(Boolean).join(" · ")
}

worker.onmessage = ({ data: m }: MessageEvent<ToPage>) => {
	if ("feed" in m && m.type !== "feed" && m.feed !== player.feed) return // of before a jump
	switch (m.type) {
		case "state":
			byID("light").className = m.state
			byID("state").textContent = m.state === "connected" ? `${m.relay} · ${m.transport}` : m.text
			byID("state").title = m.address
			byID("relay").dataset["transport"] = m.transport
			byID("without").textContent = m.without
			byID("without").hidden = m.without === ""
			break
		case "list":
			broadcasts = m.list
			showList()
			break
		case "feed":
			player.begin(m.feed, target, m.live)
			target = undefined
			showPlaying()
			break
		case "moved":
			playing = m.id
			history.replaceState(null, "", "#" + encodeURIComponent(m.id))
			showList()
			break
		case "kinds":
			player.expect(m.kinds)
			break
		case "init":
			player.init(m)
			break
		case "media":
			byID("over").hidden = true
			player.media(m)
			break
		case "chunk":
			if (m.utc !== undefined && m.end > m.start) times.push({ start: m.start, end: m.end, utc: m.utc })
			if (times.length > 2000) times.shift()
			break
		case "edge":
			player.edge = Math.max(player.edge ?? 0, m.time)
			break
		case "checks":
			showChecks(m.checks)
			break
		case "notice":
			notice(m.text, m.level)
			if (m.level === "error") byID("spinner").hidden = true
			break
		case "over":
			player.nothingMore = true
			byID("over").textContent = m.text
			byID("over").hidden = false
			byID("spinner").hidden = true
	}
}
worker.onerror = (e) => notice(`The page's worker failed: ${e.message || "it could not be loaded"}`, "error")

byID("play").addEventListener("click", () => {
	if (player.paused) player.play()
	else player.pause()
	showPlaying()
})
byID("back300").addEventListener("click", () => goTo((player.edge ?? video.currentTime) - 300))
byID("back30").addEventListener("click", () => goTo(video.currentTime - 30))
byID("forward30").addEventListener("click", () => goTo(video.currentTime + 30))
byID("live").addEventListener("click", () => goTo(undefined))
byID("mute").addEventListener("click", () => {
	video.muted = !video.muted
	showPlaying()
})
volume.addEventListener("input", () => {
	video.volume = Number(volume.value)
	video.muted = video.volume === 0
	showPlaying()
})
byID("full").addEventListener("click", fullScreen)
video.addEventListener("dblclick", fullScreen)
video.addEventListener("click", () => byID("play").click())
video.addEventListener("playing", showPlaying)
seek.addEventListener("input", () => (dragging = true))
seek.addEventListener("change", () => {
	dragging = false
	const s = Number(seek.value)
	goTo(s === 0 || player.edge === undefined ? undefined : player.edge + s)
})

function fullScreen(): void {
	if (document.fullscreenElement) void document.exitFullscreen()
	else if (byID("stage").requestFullscreen) void byID("stage").requestFullscreen().catch(() => notice("The browser allows no full screen here.", "warning"))
	else (video as unknown as { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.()
}

document.addEventListener("keydown", (e) => {
	if (!playing || e.ctrlKey || e.metaKey || e.altKey) return
	const on = e.target as HTMLElement
	const own = on instanceof HTMLInputElement || (on instanceof HTMLButtonElement && (e.key === " " || e.key === "Enter"))
	if (own) return
	const keys: Record<string, () => void> = {
		" ": () => byID("play").click(),
		k: () => byID("play").click(),
		m: () => byID("mute").click(),
		f: fullScreen,
		l: () => goTo(undefined),
		ArrowLeft: () => goTo(video.currentTime - 30),
		ArrowRight: () => goTo(video.currentTime + 30),
		ArrowUp: () => {
			video.volume = Math.min(1, video.volume + 0.05)
			showPlaying()
		},
		ArrowDown: () => {
			video.volume = Math.max(0, video.volume - 0.05)
			showPlaying()
		},
	}
	const act = keys[e.key]
	if (!act) return
	e.preventDefault()
	act()
})

setInterval(showTime, 250)

let base = parameters.get("relay") ?? new URL(".", location.href).href
if (!/^[a-z]+:\/\//.test(base)) base = "https://" + base
if (!base.endsWith("/") && !base.includes("?")) base += "/"
if (/^(https?|wss?):$/.test(URL.canParse(base) ? new URL(base).protocol : "")) {
	const token = parameters.get("token")
	tell({ type: "connect", base, ...(token ? { token } : {}), ...(only === "webtransport" || only === "websocket" ? { only } : {}) })
} else {
	byID("state").textContent = `?relay=${parameters.get("relay")} is not the address of a relay; it begins with https://, http://, wss:// or ws://.`
	byID("light").className = "waiting"
}
