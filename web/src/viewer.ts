// Plays one broadcast: objects from the relay, past or live, checked against their hashes, to segments for the page.
import { type Catalog, type ElementaryStream, type Entry, parseEntry } from "./moqt/catalog.ts"
import { type MoqObject, noProperties } from "./moqt/data.ts"
import { compare, type Location, type Namespace, type Track, writeTrack } from "./moqt/names.ts"
import { Refused, RequestCode, type Session, type Subgroup } from "./moqt/session.ts"
import type { Queue } from "./moqt/stream.ts"
import { Checker } from "./checks.ts"
import { Muxer, type Output, stampDistance } from "./media/chunk.ts"
import type { ToPage } from "./protocol.ts"
import { within } from "./within.ts"
import { words } from "./words.ts"

const hz = 90_000
const tag = 65_536
const wrap = 2 ** 33
/** Media time at which a viewer begins: so much of the past can be gone back to. */
const origin = 7200
/** Seconds that are kept buffered ahead while the past is played, and those from which on a paused viewer is not live any more. */
const enough = 20
const tooMuch = 45
/** Chunks asked for at once. */
const stretch = 5
/** After so long without anything new it is said, ms. */
const quiet = 12_000
/** A group of which nothing came for so long is left if a newer one has begun, ms. */
const stalled = 2000
/** A chunk counts as late if it comes so much later than others did, ms. Late ones, and those that are given up, are troubles. */
const late = 4000
/** So many troubles within so long, in ms, and the connection does not carry what is played. */
const troubles = 3
const troubled = 20_000
/** Seconds in succession in which what should have come has not, after which it does not either. */
const patient = 6
/** A step of the clock, beyond which media time goes on as if nothing were missing. */
const step = 10 * hz

/** What a chunk's name says (docs/format/chunk.md, "Name"). */
export const bucketOf = (group: number): number => Math.floor(group / tag)
export function timeOf(group: number, pts: number, grid: number): number {
	return pts + Math.floor(bucketOf(group) / Math.ceil(wrap / grid)) * wrap
}

interface Chunk {
	group: number
	next: number
	/** clock of its first access unit, 90 kHz, unwrapped */
	x: number
	/** media time of it, 90 kHz */
	base: number
	end: number
	hashes: Uint8Array[] | undefined
	/** something was missing or wrong: the rest cannot be decoded */
	broken: boolean
}

export interface Options {
	id: string
	track: Track
	catalog: Catalog
	/** what the track is made of, as its catalog says */
	streams: ElementaryStream[]
	/** receivers whose timeline and manifest may speak of the track, the best first */
	receivers: Namespace[]
	live: boolean
}

/** Plays until stopped, over as many sessions as it takes. */
export class Viewer {
	feed = 0

	private readonly muxer = new Muxer()
	private readonly checker: Checker
	private grid: number
	private chunk: Chunk | undefined
	private zero: number | undefined // x at media time 0
	private shift = 0 // of media time, after steps of the clock
	private newest: { x: number; base: number } | undefined // of the chunks that were whole
	private shown: number | undefined // after a change of track: media time up to which the one before is buffered, until that is passed
	private lastEnd: number | undefined // media time, 90 kHz, where the newest chunk ended
	private at: Location | undefined // where to go on; undefined: live
	private told = false // which kinds there are
	private run: AbortController | undefined
	private ahead = 0
	private wake: (() => void) | undefined
	private readonly index: { group: number; x: number; base: number; end: number }[] = []
	private utc: { x: number; ms: number } | undefined
	private stopped = false

	constructor(
		public o: Options,
		private readonly send: (m: ToPage, transfer?: ArrayBuffer[]) => void,
		private readonly session: () => Promise<Session>,
		feed: number,
		/** told that a session does not carry what is played; whether there will be another one in its place */
		private readonly tooSlow: (s: Session) => boolean = () => false,
	) {
		this.checker = new Checker((checks) => send({ type: "checks", checks }))
		this.grid = o.catalog.duration
		this.feed = feed
	}

	stop(): void {
		this.stopped = true
		this.run?.abort()
		this.wake?.()
	}

	/** It shows what is live. */
	get following(): boolean {
		return this.mode === "live"
	}

	/** What the page has buffered. */
	position(seconds: number): void {
		this.ahead = seconds
		if (seconds < enough) this.wake?.()
		if (seconds > tooMuch && this.mode === "live") this.run?.abort() // goes on where it was, when there is room
	}

	private mode: "live" | "past" = "live"
	private heard = 0 // when an object came
	private punctual: number | undefined // the least that a live chunk's beginning came behind its clock, ms
	private latest: number | undefined // the clock of the newest live object, ms
	private trouble: number[] = [] // when chunks came late or were given up

	/** Goes to a media time; without one, to what is live. */
	seek(time: number | undefined, feed: number): void {
		this.feed = feed
		this.at = time === undefined ? undefined : this.placeAt(time)
		if (time === undefined) this.shift = 0
		this.chunk = undefined
		this.lastEnd = undefined
		this.shown = undefined
		this.ahead = 0
		this.again = true
		this.run?.abort()
		this.wake?.()
	}

	private again = false

	/** Goes on live in another track of what is shown, behind what is buffered of the one before. */
	change(o: Options): void {
		this.run?.abort()
		this.finishChunk()
		this.o = o
		this.grid = o.catalog.duration
		this.at = undefined
		this.shown = this.lastEnd
		this.zero = undefined
		this.shift = 0
		this.punctual = undefined
		this.latest = undefined
		this.utc = undefined
		this.index.length = 0
		this.checker.forget()
	}

	/** The first object of the chunk that is on at a media time. */
	private placeAt(time: number): Location {
		const base = time * hz
		const known = this.index.find((c) => c.base <= base && base < c.end)
		if (known) return { group: known.group, object: 0 }
		const near = this.index.reduce<(typeof this.index)[number] | undefined>((best, c) => (!best || Math.abs(c.base - base) < Math.abs(best.base - base) ? c : best), undefined)
		const x = near ? near.x + (base - near.base) : (this.zero ?? 0) + base
		// Chunks start behind their bucket's beginning, so the one of this bucket may begin later: the one before was still on.
		const bucket = Math.max(0, this.bucketAt(x) - 1)
		return { group: bucket * tag, object: 0 }
	}

	/** Bucket = k·N + floor(PTS/D). */
	private bucketAt(x: number): number {
		const n = Math.ceil(wrap / this.grid)
		return Math.floor(x / wrap) * n + Math.floor((((x % wrap) + wrap) % wrap) / this.grid)
	}

	/** Plays until stopped; errors of a session lead to the next one. */
	async play(): Promise<void> {
		this.begin()
		if (!this.o.live) this.at = undefined
		for (let tries = 0; !this.stopped; ) {
			const run = (this.run = new AbortController())
			if (this.again) {
				this.again = false
				this.begin()
			}
			if (this.chunk) {
				// It broke off, and decodes from its beginning alone.
				this.at = { group: this.chunk.group, object: 0 }
				this.chunk = undefined
			}
			try {
				const session = await this.session()
				if (this.stopped) return
				if (run.signal.aborted) continue
				this.describe(session, run.signal)
				await this.follow(session, run.signal)
				tries = 0
			} catch (err) {
				if (this.stopped) return
				if (run.signal.aborted) continue
				if (err instanceof Refused && err.code === RequestCode.doesNotExist && tries > 2) {
					this.send({ type: "over", feed: this.feed, text: words(err) })
					return
				}
				this.send({ type: "notice", level: "warning", text: words(err) })
				run.abort() // what else this run has under way
				tries++
				await new Promise((done) => setTimeout(done, Math.min(5000, 250 * 2 ** tries)))
			}
			run.abort()
		}
	}

	private begin(): void {
		this.muxer.restart()
		this.told = false
		this.send({ type: "feed", feed: this.feed, id: this.o.id, live: this.at === undefined && this.o.live })
	}

	private async follow(session: Session, signal: AbortSignal): Promise<void> {
		const t = this.o.track
		if (!this.o.live && this.at === undefined) {
			const largest = await session.largest(t)
			if (!largest) throw new Error("Nothing of this broadcast is stored.")
			this.at = { group: Math.max(0, bucketOf(largest.group) - Math.round((300 * hz) / this.grid)) * tag, object: 0 }
		}
		if (this.at !== undefined) {
			this.mode = "past"
			await this.past(session, signal)
			if (signal.aborted) return
			if (!this.o.live) this.send({ type: "over", feed: this.feed, text: "That is all that was stored. If it comes on air again, it goes on here." })
		}
		this.mode = "live"
		const from = this.at
		this.trouble = []
		this.punctual = undefined
		this.latest = undefined
		this.heard = Date.now()
		let behind = 0
		const silence = setInterval(() => {
			behind = this.isBehind() ? behind + 1 : 0
			if (behind >= patient && this.tooSlow(session)) return this.run?.abort()
			if (Date.now() - this.heard < quiet) return
			this.heard = Date.now()
			void this.missed(session, signal)
		}, 1000)
		signal.addEventListener("abort", () => clearInterval(silence))
		const { past, live } = await session.join(t, (l) => from ?? { group: Math.max(0, bucketOf(l.group) - 1) * tag, object: 0 }, signal)
		if (past) await this.takeAll(past, signal)
		live.done.then((d) => {
			if (d.code === 2 && !signal.aborted) this.send({ type: "over", feed: this.feed, text: "The broadcast has ended. Its past is still there." })
		})
		for await (const g of live.subgroups) {
			try {
				for await (const o of moving(g, live.subgroups, signal)) {
					if (o.properties.pts !== undefined) this.latest = timeOf(o.group, o.properties.pts, this.grid) / (hz / 1000)
					if (o.object === 0 && !this.inTime(o)) this.note(session)
					this.take(o, signal)
				}
				this.take({ group: g.group, object: -1, status: "end of group", properties: noProperties(), payload: new Uint8Array() }, signal)
			} catch {
				if (signal.aborted) return
				// The relay gave the group up, stalls in it, or is lost: it decodes from its beginning alone. What there is of it is fetched.
				this.note(session)
				this.chunk = undefined
				this.at = { group: g.group, object: 0 }
				await this.takeAll(session.fetch(t, this.at, { group: g.group, object: 0 }, signal), signal)
				this.finishChunk()
			}
			if (signal.aborted) return
		}
		if (signal.aborted) return
		const done = await live.done
		if (done.code === 2) {
			await new Promise<void>((resolve) => {
				this.wake = resolve
				signal.addEventListener("abort", () => resolve())
			})
			return
		}
		throw new Error(`The relay ended the broadcast${done.reason ? `: ${done.reason}` : ""}. Trying again.`)
	}

	/** Whether a live chunk's beginning came about as soon behind its clock as others did. */
	private inTime(o: MoqObject): boolean {
		if (o.properties.pts === undefined) return true
		const behind = Date.now() - timeOf(o.group, o.properties.pts, this.grid) / (hz / 1000)
		if (this.punctual === undefined || behind < this.punctual || behind > this.punctual + 1000 * enough) this.punctual = behind // at first, or after a step of the clock
		return behind <= this.punctual + late
	}

	/** Whether nothing live has come that should have. */
	private isBehind(): boolean {
		return this.punctual !== undefined && this.latest !== undefined && Date.now() - this.latest - this.punctual > late + this.grid / (hz / 1000)
	}

	/** Notes a trouble; a session with too many of them in a short time is too slow. */
	private note(session: Session): void {
		const now = Date.now()
		this.trouble = this.trouble.filter((t) => now - t < troubled)
		this.trouble.push(now)
		if (this.trouble.length < troubles) return
		this.trouble = []
		if (this.tooSlow(session)) this.run?.abort()
	}

	/** Nothing has come for long: if the relay has something newer all the same, it is joined anew. */
	private async missed(session: Session, signal: AbortSignal): Promise<void> {
		const newest = await session.largest(this.o.track).catch(() => undefined)
		if (signal.aborted || !this.o.live) return
		if (newest && this.at && newest.group > this.at.group) return this.run?.abort()
		this.send({ type: "notice", level: "warning", text: `Nothing new has come for ${quiet / 1000} s. The relay is there; whoever publishes this may not be.` })
	}

	/** Fetches from this.at on, as fast as the page wants it, up to what is newest. */
	private async past(session: Session, signal: AbortSignal): Promise<void> {
		const t = this.o.track
		while (!signal.aborted) {
			while (this.ahead > enough && !signal.aborted) await new Promise<void>((done) => (this.wake = done))
			if (signal.aborted) return
			const largest = await session.largest(t)
			if (!largest || !this.at) return
			const behind = { group: largest.group, object: largest.object + 1 }
			this.tellEdge(largest.group)
			if (compare(this.at, behind) >= 0) return
			const until = { group: (bucketOf(this.at.group) + stretch) * tag - 1, object: 0 }
			const end = compare(until, behind) < 0 ? until : behind
			const before = this.at
			const [asked, from] = [Date.now(), this.lastEnd]
			for await (const o of session.fetch(t, this.at, end, signal)) {
				this.take(o, signal)
				if (signal.aborted) return
			}
			this.finishChunk()
			if (from !== undefined && this.lastEnd !== undefined && this.lastEnd > from && Date.now() - asked > (1000 * (this.lastEnd - from)) / hz) this.note(session) // slower than it plays
			if (compare(this.at, before) === 0) {
				if (compare(end, behind) === 0) {
					// Nothing there up to the edge.
					this.at = behind
					return
				}
				this.at = await this.nextStored(session, end, behind, signal)
			}
			// The page has not told what that made of its buffer.
			await new Promise((done) => setTimeout(done, 100))
		}
	}

	/** The first object behind a hole. */
	private async nextStored(session: Session, from: Location, to: Location, signal: AbortSignal): Promise<Location> {
		for await (const o of session.fetch(this.o.track, { group: from.group + 1, object: 0 }, to, signal)) {
			if (o.status === "normal") return { group: o.group, object: o.object }
		}
		return to
	}

	private tellEdge(group: number): void {
		if (this.zero === undefined) return
		// Where the bucket begins, and a chunk's length.
		const n = Math.ceil(wrap / this.grid)
		const b = bucketOf(group)
		const x = Math.floor(b / n) * wrap + (b % n) * this.grid + this.grid
		this.send({ type: "edge", feed: this.feed, time: (x - this.zero + this.shift) / hz })
	}

	/** Takes what was fetched. A relay that refuses that is one without the past: what comes live is enough. */
	private async takeAll(past: AsyncGenerator<MoqObject>, signal: AbortSignal): Promise<void> {
		try {
			for await (const o of past) this.take(o, signal)
		} catch (err) {
			if (!(err instanceof Refused)) throw err
		}
	}

	/** Takes an object in the order of its track. */
	private take(o: MoqObject, signal: AbortSignal): void {
		if (signal.aborted || this.stopped) return
		if (o.status !== "normal") {
			if (o.status === "end of group" && this.chunk?.group === o.group) this.finishChunk()
			return
		}
		this.heard = Date.now()
		const next = { group: o.group, object: o.object + 1 }
		if (!this.at || this.mode === "past" || compare(next, this.at) > 0) this.at = next
		const right = this.checker.object(o, this.o.track)
		if (this.chunk?.group !== o.group) {
			this.finishChunk()
			this.startChunk(o)
		}
		const c = this.chunk!
		if (c.hashes) {
			if (o.object === c.hashes.length && o.properties.blake3) c.hashes.push(o.properties.blake3)
			else c.hashes = undefined
		}
		if (o.object !== c.next || !right) c.broken = true
		c.next = o.object + 1
		if (c.broken) return
		try {
			this.out(this.muxer.push(o.payload), c)
		} catch (err) {
			c.broken = true
			this.send({ type: "notice", level: "warning", text: `Part ${o.object} of chunk ${o.group}: ${words(err)}` })
		}
	}

	/** Media time at which a track begins: the first at the origin, another where the clock says, or else behind what there is. */
	private beginning(x: number): number {
		if (this.lastEnd === undefined || !this.newest) return origin * hz
		const on = stampDistance(x % wrap, this.newest.x % wrap)
		return Math.abs(on) <= step ? this.newest.base + on : this.lastEnd
	}

	private startChunk(o: MoqObject): void {
		const pts = o.properties.pts
		const x = pts === undefined ? undefined : timeOf(o.group, pts, this.grid)
		if (x !== undefined) this.zero ??= x - this.beginning(x)
		let base = x === undefined ? (this.lastEnd ?? origin * hz) : x - this.zero! + this.shift
		if (this.lastEnd !== undefined && x !== undefined && Math.abs(base - this.lastEnd) > step) {
			this.shift -= base - this.lastEnd
			base = this.lastEnd
		}
		const again = this.shown !== undefined && base + 0.75 * this.grid <= this.shown // the track before had it, too
		if (!again) this.shown = undefined
		this.chunk = { group: o.group, next: 0, x: x ?? 0, base, end: base, hashes: [], broken: pts === undefined || again }
		this.muxer.begin(pts ?? 0, base)
	}

	private finishChunk(): void {
		const c = this.chunk
		if (!c) return
		this.chunk = undefined
		if (!c.broken) {
			try {
				this.out(this.muxer.end(), c)
			} catch (err) {
				this.send({ type: "notice", level: "warning", text: words(err) })
			}
		}
		this.lastEnd = Math.max(c.end, c.base)
		if (c.end > c.base) {
			this.newest = { x: c.x, base: c.base }
			this.index.push({ group: c.group, x: c.x, base: c.base, end: c.end })
			if (this.index.length > 10_000) this.index.shift()
		}
		const utc = this.utc === undefined ? undefined : this.utc.ms + (c.x - this.utc.x) / 90
		this.send({ type: "chunk", feed: this.feed, group: c.group, start: c.base / hz, end: c.end / hz, utc })
		if (this.mode === "live") this.send({ type: "edge", feed: this.feed, time: c.end / hz })
		if (c.hashes && c.hashes.length > 0) this.checker.chunk(c.group, c.hashes)
	}

	private out(list: Output[], c: Chunk): void {
		if (!this.told && list.length > 0) {
			this.told = true
			const kinds = (["video", "audio"] as const).filter((k) => this.muxer.codecs[k] === (k === "video" ? "h264" : "aac"))
			this.send({ type: "kinds", feed: this.feed, kinds })
		}
		for (const o of list) {
			if (o.type === "init") {
				this.send({ type: "init", feed: this.feed, kind: o.kind, mime: o.mime, data: o.data.buffer }, [o.data.buffer])
			} else {
				c.end = Math.max(c.end, o.end * hz)
				this.send({ type: "media", feed: this.feed, kind: o.kind, data: o.data.buffer, start: o.start, end: o.end }, [o.data.buffer])
			}
		}
	}

	/** Reads what the first receiver that can says of the chunks: when they were on, and their hashes. */
	private describe(session: Session, signal: AbortSignal): void {
		const read = async (name: string, take: (e: Entry) => void): Promise<void> => {
			for (const namespace of this.o.receivers) {
				try {
					const { past, live } = await session.join({ namespace, name }, (l) => ({ group: Math.max(0, l.group - 30), object: 0 }), signal)
					const one = (o: MoqObject): void => {
						if (o.status !== "normal" || signal.aborted) return
						try {
							take(parseEntry(o.payload))
						} catch {
							// one entry that cannot be read
						}
					}
					if (past) for await (const o of past) one(o)
					for await (const g of live.subgroups) for await (const o of g.objects) one(o)
				} catch {
					continue // another receiver may do
				}
			}
		}
		const mine = writeTrack(this.o.track)
		void read("timeline", (e) => {
			if (e.utc !== undefined && writeTrack(e.track) === mine) this.utc = { x: timeOf(e.group, e.pts, this.grid), ms: e.utc }
		})
		void read("manifest", (e) => {
			if (writeTrack(e.track) === mine && e.hash !== undefined) this.checker.entry(e)
		})
	}
}

/** The objects of a group, as long as they come: it is left where nothing more comes and newer ones wait. */
async function* moving(g: Subgroup, newer: Queue<Subgroup>, signal: AbortSignal): AsyncGenerator<MoqObject> {
	for (;;) {
		const next = g.objects.next()
		let object: IteratorResult<MoqObject> | undefined
		do object = await within(next, stalled)
		while (!object && newer.length === 0 && !signal.aborted)
		if (!object) {
			g.stop()
			throw new Error("the group stalls")
		}
		if (object.done) return
		yield object.value
	}
}
