// One chunk after the other (docs/format/chunk.md) to segments for Media Source Extensions. A chunk decodes without the others, so
// whatever is lost of one, the next begins afresh.
import { type AacConfig, frames, samplesPerFrame } from "./aac.ts"
import { Assembler, type Picture } from "./h264.ts"
import { initSegment, mediaSegment, type Sample } from "./mp4.ts"
import { type Codec, Demuxer, isVideo, type Pes } from "./ts.ts"

export type Kind = "video" | "audio"

export type Output =
	| { type: "init"; kind: Kind; mime: string; data: Uint8Array<ArrayBuffer> }
	| { type: "media"; kind: Kind; data: Uint8Array<ArrayBuffer>; start: number; end: number }

const wrap = 2 ** 33
const hz = 90_000

/** a − b of two 33-bit stamps, the short way round */
export const stampDistance = (a: number, b: number): number => ((((a - b) % wrap) + wrap + wrap / 2) % wrap) - wrap / 2

interface Timed {
	data: Uint8Array
	key: boolean
	pts: number
	dts: number
}

/** State that outlasts a chunk: what the decoders were told. */
export class Muxer {
	/** what the newest chunk has, of each kind the first stream */
	codecs: Partial<Record<Kind, Codec>> = {}

	private told: Record<Kind, string> = { video: "", audio: "" }
	private sequence = 0
	private frame = 3003
	private delay = 3003 // of the newest picture with stamps

	// of the chunk
	private ts = new Demuxer()
	private base = 0
	private first = 0
	private pictures = new Assembler()
	private held: Timed[] = []
	private began = false
	private aac: AacConfig | undefined
	private audio: { data: Uint8Array; at: number }[] = []
	private rest = new Uint8Array()
	private next: number | undefined // of audio, 90 kHz
	private expected: number | undefined // of audio, in samples; outlasts the chunk

	/**
	 * Begins a chunk whose first access unit has this PTS, and is to be shown at media time base, both in 90 kHz.
	 * Which streams it has is known once its first part was pushed.
	 */
	begin(pts: number, base: number): void {
		this.ts = new Demuxer()
		this.first = pts
		this.base = base
		this.pictures.begin()
		this.held = []
		this.began = false
		this.audio = []
		this.rest = new Uint8Array()
		this.next = undefined
	}

	/** Forgets what decoders were told: they are new. */
	restart(): void {
		this.told = { video: "", audio: "" }
		this.expected = undefined
	}

	push(part: Uint8Array): Output[] {
		return this.take(this.ts.push(part), false)
	}

	/** The chunk is whole. */
	end(): Output[] {
		return this.take(this.ts.flush(), true)
	}

	private at(stamp: number): number {
		return this.base + stampDistance(stamp, this.first)
	}

	private take(list: Pes[], last: boolean): Output[] {
		const of = (kind: Kind) => this.ts.streams.find((s) => (kind === "video" ? isVideo(s.codec) : ["aac", "aac-latm", "mp2", "ac3", "eac3"].includes(s.codec)))
		const [video, audio] = [of("video"), of("audio")]
		this.codecs = { ...(video ? { video: video.codec } : {}), ...(audio ? { audio: audio.codec } : {}) }
		for (const p of list) {
			if (p.pid === video?.pid && video.codec === "h264") this.video(this.pictures.push(p.data, p))
			if (p.pid === audio?.pid && audio.codec === "aac") this.sound(p)
		}
		if (last) this.video(this.pictures.flush())
		return [...this.videoOut(last), ...this.audioOut()]
	}

	private video(list: Picture[]): void {
		for (const p of list) {
			const before = this.held.at(-1)
			let dts = p.dts === undefined ? undefined : this.at(p.dts)
			let pts = p.pts === undefined ? undefined : this.at(p.pts)
			if (dts === undefined || pts === undefined) {
				// Its packet's stamp is another's: the next in decoding order, and taken to be the next to be shown.
				if (!before) continue
				dts = before.dts + this.frame
				pts = dts + this.delay
			} else {
				this.delay = pts - dts
			}
			if (before && dts <= before.dts) dts = before.dts + 1
			this.held.push({ data: p.data, key: p.key, pts, dts })
		}
	}

	private videoOut(last: boolean): Output[] {
		const out: Output[] = []
		const n = last ? this.held.length : this.held.length - 1
		if (n <= 0) return out
		const config = this.pictures.config()
		const info = this.pictures.info
		if (!config || !info) return out
		const codec = this.pictures.codec()
		const told = config.join()
		if (told !== this.told.video) {
			this.told.video = told
			out.push({ type: "init", kind: "video", mime: `video/mp4; codecs="${codec}"`, data: initSegment({ kind: "video", timescale: hz, width: info.width, height: info.height, aspect: info.aspect, config }) })
		}
		const samples: Sample[] = []
		for (let i = 0; i < n; i++) {
			const s = this.held[i]!
			const after = this.held[i + 1]
			const duration = after ? after.dts - s.dts : this.frame
			if (after && duration < hz) this.frame = duration
			samples.push({ data: s.data, duration, offset: s.pts - s.dts, key: s.key || !this.began })
			this.began = true
		}
		const start = this.held[0]!.dts
		const end = start + samples.reduce((x, s) => x + s.duration, 0)
		out.push({ type: "media", kind: "video", data: mediaSegment(this.sequence++, start, samples), start: start / hz, end: end / hz })
		this.held = this.held.slice(n)
		return out
	}

	private sound(p: Pes): void {
		const leftover = this.rest.length > 0
		const data = leftover ? new Uint8Array([...this.rest, ...p.data]) : p.data
		const got = frames(data)
		this.rest = got.rest.slice()
		if (got.config) this.aac = got.config
		if (!this.aac) return
		const length = (samplesPerFrame * hz) / this.aac.rate
		// A stamp is that of the first frame that begins in the packet.
		for (const [i, f] of got.frames.entries()) {
			if (p.pts !== undefined && i === (leftover ? 1 : 0)) this.next = this.at(p.pts)
			if (this.next === undefined) continue
			this.audio.push({ data: f, at: this.next })
			this.next += length
		}
	}

	private audioOut(): Output[] {
		const out: Output[] = []
		const c = this.aac
		if (this.audio.length === 0 || !c) return out
		const told = c.config.join()
		if (told !== this.told.audio) {
			this.told.audio = told
			this.expected = undefined
			out.push({ type: "init", kind: "audio", mime: `audio/mp4; codecs="mp4a.40.${c.object}"`, data: initSegment({ kind: "audio", timescale: c.rate, channels: c.channels, config: c.config }) })
		}
		// A run goes on as long as stamps say so, within their rounding.
		let run: Sample[] = []
		let start = 0
		const flush = (): void => {
			if (run.length === 0) return
			const end = start + run.length * samplesPerFrame
			out.push({ type: "media", kind: "audio", data: mediaSegment(this.sequence++, start, run), start: start / c.rate, end: end / c.rate })
			this.expected = end
			run = []
		}
		for (const f of this.audio) {
			const exact = Math.round((f.at * c.rate) / hz)
			const want = run.length > 0 ? start + run.length * samplesPerFrame : this.expected
			if (want === undefined || Math.abs(exact - want) > 16 || run.length === 0) {
				flush()
				start = want !== undefined && Math.abs(exact - want) <= 16 ? want : Math.max(0, exact)
			}
			run.push({ data: f.data, duration: samplesPerFrame, offset: 0, key: true })
		}
		flush()
		this.audio = []
		return out
	}
}
