// A video element fed by the worker's segments through Media Source Extensions.
import type { Kind } from "../media/chunk.ts"
import type { ToPage } from "../protocol.ts"

type Init = Extract<ToPage, { type: "init" }>
type Media = Extract<ToPage, { type: "media" }>

/** Seconds kept behind what is shown. */
const keep = 60
/** Seconds buffered before it starts, and before it goes on after it ran dry. */
const begin = 3
const refill = 2.5
/** Seconds behind the newest that are aimed at, and those from which on it plays a little faster to get there. */
const distance = 4.5
const late = 7.5

interface Track {
	buffer: SourceBuffer | undefined
	mime: string
	queue: ({ mime: string; data: ArrayBuffer } | { mime: undefined; data: ArrayBuffer })[]
}

export interface PlayerEvents {
	/** shown in words where playing is not possible */
	problem(text: string): void
	/** nothing to show at the moment */
	loading(is: boolean): void
}

type MediaSourceClass = typeof MediaSource
const Source: MediaSourceClass | undefined = globalThis.MediaSource ?? (globalThis as { ManagedMediaSource?: MediaSourceClass }).ManagedMediaSource

export class Player {
	feed = 0
	/** the newest there is, in media time */
	edge: number | undefined

	private source: MediaSource | undefined
	private url = ""
	private kinds: Kind[] | undefined
	private tracks = new Map<Kind, Track>()
	private target: number | undefined
	/** something of this feed is shown */
	started = false
	private since = 0
	private stuck = 0 // ticks in which nothing was ahead
	private waits = 0 // ticks in which the decoder waited although something was
	private before = 0 // currentTime at the last tick
	private filling = false
	private live = false
	private chase = false // it fell behind by itself, not because somebody wanted that
	/** no more is to come: an empty buffer is no reason to wait */
	nothingMore = false
	private wants = true
	private readonly timer: ReturnType<typeof setInterval>

	constructor(
		readonly video: HTMLVideoElement,
		private readonly events: PlayerEvents,
	) {
		this.timer = setInterval(() => this.tick(), 200)
		video.addEventListener("error", () => {
			if (this.source && video.error) events.problem(`The browser cannot decode this: ${video.error.message || `error ${video.error.code}`}.`)
		})
	}

	/** A new run of segments begins, to be shown from target on, if that is among them. */
	begin(feed: number, target: number | undefined, live: boolean): void {
		this.feed = feed
		this.live = this.chase = live
		this.target = target
		this.started = false
		this.filling = false
		this.nothingMore = false
		this.wants = true
		this.kinds = undefined
		this.tracks = new Map()
		this.edge = undefined
		this.since = 0
		this.video.pause()
		if (this.url) URL.revokeObjectURL(this.url)
		if (!Source) return this.events.problem("This browser has no Media Source Extensions, so this page cannot play anything in it.")
		const source = (this.source = new Source())
		this.url = URL.createObjectURL(source)
		this.video.disableRemotePlayback = true
		this.video.src = this.url
		source.addEventListener("sourceopen", () => this.pump())
		this.events.loading(true)
	}

	stop(): void {
		clearInterval(this.timer)
		this.end()
	}

	end(): void {
		this.source = undefined
		this.feed = 0
		this.video.removeAttribute("src")
		this.video.load()
		if (this.url) URL.revokeObjectURL(this.url)
		this.url = ""
		this.events.loading(false)
	}

	expect(kinds: Kind[]): void {
		this.kinds = kinds
		for (const k of kinds) this.track(k)
		this.pump()
	}

	private track(k: Kind): Track {
		let t = this.tracks.get(k)
		if (!t) this.tracks.set(k, (t = { buffer: undefined, mime: "", queue: [] }))
		return t
	}

	init(m: Init): void {
		this.track(m.kind).queue.push({ mime: m.mime, data: m.data })
		this.pump()
	}

	media(m: Media): void {
		this.nothingMore = false
		this.since ||= Date.now()
		this.track(m.kind).queue.push({ mime: undefined, data: m.data })
		this.pump()
	}

	/** Appends what can be. All buffers are added before the first append: some browsers allow none later. */
	private pump(): void {
		const source = this.source
		if (!source || source.readyState !== "open" || !this.kinds) return
		const tracks = this.kinds.map((k) => this.track(k))
		if (tracks.some((t) => !t.buffer)) {
			if (tracks.some((t) => !t.queue[0])) return
			for (const t of tracks) {
				const mime = t.queue[0]!.mime!
				if (!Source!.isTypeSupported(mime)) return this.events.problem(`This browser does not play ${mime}.`)
				t.buffer = source.addSourceBuffer(mime)
				t.mime = mime
				t.buffer.addEventListener("updateend", () => this.pump())
			}
		}
		for (const t of tracks) {
			const b = t.buffer!
			const first = t.queue[0]
			if (!first || b.updating) continue
			try {
				if (first.mime && first.mime !== t.mime) {
					b.changeType(first.mime)
					t.mime = first.mime
				}
				b.appendBuffer(first.data)
				t.queue.shift()
			} catch (err) {
				if ((err as DOMException).name === "QuotaExceededError") {
					this.evict(b, 10) // then again, after updateend
				} else if (this.source === source) {
					this.source = undefined
					this.events.problem(`The browser takes no more: ${(err as Error).message}`)
					return
				}
			}
		}
	}

	private evict(b: SourceBuffer, behind: number): void {
		const to = this.video.currentTime - behind
		if (b.updating || b.buffered.length === 0 || b.buffered.start(0) >= to - 5) return
		b.remove(0, to)
	}

	/** Seconds buffered ahead of what is shown, without a hole: at a hole, however small, nothing is ahead. */
	get ahead(): number {
		const v = this.video
		const at = this.started ? v.currentTime : (this.target ?? (v.buffered.length > 0 ? v.buffered.start(0) : 0))
		const near = this.started ? 0 : 0.1 // it does not begin before what there is
		for (let i = 0; i < v.buffered.length; i++) {
			if (v.buffered.start(i) <= at + near && at < v.buffered.end(i)) return v.buffered.end(i) - at
		}
		return 0
	}

	has(time: number): boolean {
		const b = this.video.buffered
		for (let i = 0; i < b.length; i++) if (b.start(i) <= time && time < b.end(i) - 0.2) return true
		return false
	}

	play(): void {
		this.wants = true
		this.video.play().catch((err: unknown) => {
			if ((err as DOMException).name === "NotAllowedError") {
				this.wants = false
				this.events.problem("Your browser wants a click before there is sound: press Play.")
			}
		})
	}

	pause(): void {
		this.wants = false
		this.chase = false
		this.video.pause()
	}

	get paused(): boolean {
		return !this.wants
	}

	/** Goes to a time that is buffered. */
	jump(time: number): void {
		this.video.currentTime = time
		this.chase = false
	}

	/** Goes to the newest that can be shown without running dry, if it is buffered. */
	jumpLive(): boolean {
		if (!this.live || this.edge === undefined || !this.has(this.edge - distance)) return false
		this.jump(this.edge - distance)
		this.chase = true
		return true
	}

	private tick(): void {
		const v = this.video
		if (!this.feed || this.source?.readyState !== "open") return
		for (const t of this.tracks.values()) if (t.buffer) this.evict(t.buffer, keep)
		if (!this.started) {
			if (v.buffered.length === 0) return
			const last = v.buffered.length - 1
			const [from, to] = [v.buffered.start(0), v.buffered.end(last)]
			const there = this.target === undefined ? to - from >= begin : this.target < from || this.has(this.target)
			if (!there && Date.now() - this.since < 2500) return
			this.started = true
			v.currentTime = this.target !== undefined && this.has(this.target) ? this.target : from + 0.01
			this.target = undefined
			this.events.loading(false)
			if (this.wants) this.play()
			return
		}
		const ahead = this.ahead
		const behind = this.edge === undefined ? 0 : this.edge - v.currentTime
		if (!this.chase || behind < distance || ahead < distance / 2) v.playbackRate = 1
		else if (behind > late) v.playbackRate = 1.06
		if (this.filling) {
			// Not after every drop: a stall is followed by another where it goes on with an empty buffer.
			if (ahead < refill && !(ahead > 0.3 && Date.now() - this.since > 4000)) return this.goOn()
			this.filling = false
			this.events.loading(false)
			if (this.wants) this.play()
		} else if (ahead < 0.1 && !v.paused && v.readyState < 3) {
			this.filling = true
			this.since = Date.now()
			v.pause()
			this.events.loading(!this.nothingMore)
		}
		this.goOn()
	}

	/** Goes on where it stands although more has come. */
	private goOn(): void {
		const v = this.video
		const at = v.currentTime
		this.stuck = this.ahead < 0.1 ? this.stuck + 1 : 0
		this.waits = this.stuck === 0 && at === this.before && !v.paused && !v.seeking && v.readyState < 3 ? this.waits + 1 : 0
		this.before = at
		if (this.stuck >= 3) this.overHole()
		if (this.waits < 10) return
		// A decoder may wait for what is missing behind it. A jump lets it begin anew.
		v.currentTime = at + 0.01
		this.waits = 0
	}

	/** Goes to what begins behind a hole. */
	private overHole(): void {
		const v = this.video
		for (let i = 0; i < v.buffered.length; i++) {
			const start = v.buffered.start(i)
			if (start > v.currentTime && v.buffered.end(i) - start > 0.5) {
				v.currentTime = start + 0.01
				this.stuck = 0
				return
			}
		}
	}
}
