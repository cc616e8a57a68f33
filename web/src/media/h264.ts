// H.264 in Annex B to access units with lengths, as an MP4 has them (ISO/IEC 14496-10, 14496-15).
import { Bits, rbsp } from "./bits.ts"

export interface Sps {
	profile: number
	compatibility: number
	level: number
	width: number
	height: number
	/** of a sample, width to height */
	aspect: [number, number]
	frameNumBits: number
	framesOnly: boolean
	/** ticks of 90 kHz of a frame, if the stream says so */
	frame: number | undefined
}

const aspects: [number, number][] = [
	[1, 1], [1, 1], [12, 11], [10, 11], [16, 11], [40, 33], [24, 11], [20, 11], [32, 11],
	[80, 33], [18, 11], [15, 11], [64, 33], [160, 99], [4, 3], [3, 2], [2, 1],
]

/** A sequence parameter set (§7.3.2.1.1). */
export function parseSps(nal: Uint8Array): Sps {
	const b = rbsp(nal)
	const r = new Bits(b.subarray(4))
	const profile = b[1] ?? 0
	r.ue() // seq_parameter_set_id
	let chroma = 1
	if ([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].includes(profile)) {
		chroma = r.ue()
		if (chroma === 3) r.bit()
		r.ue()
		r.ue()
		r.bit()
		if (r.bit() === 1) {
			for (let i = 0; i < (chroma === 3 ? 12 : 8); i++) {
				if (r.bit() === 0) continue
				let next = 8
				for (let j = 0; j < (i < 6 ? 16 : 64) && next !== 0; j++) next = (next + r.se() + 256) % 256
			}
		}
	}
	const frameNumBits = r.ue() + 4
	const poc = r.ue()
	if (poc === 0) {
		r.ue()
	} else if (poc === 1) {
		r.bit()
		r.se()
		r.se()
		for (let n = Math.min(r.ue(), 255); n > 0; n--) r.se()
	}
	r.ue() // max_num_ref_frames
	r.bit()
	const columns = r.ue() + 1
	const rows = r.ue() + 1
	const framesOnly = r.bit() === 1
	if (!framesOnly) r.bit()
	r.bit()
	const crop = r.bit() === 1 ? [r.ue(), r.ue(), r.ue(), r.ue()] : [0, 0, 0, 0]
	const unitX = chroma === 1 || chroma === 2 ? 2 : 1
	const unitY = (chroma === 1 ? 2 : 1) * (framesOnly ? 1 : 2)
	let aspect: [number, number] = [1, 1]
	let frame: number | undefined
	if (r.bit() === 1) {
		if (r.bit() === 1) {
			const idc = r.read(8)
			aspect = idc === 255 ? [r.read(16), r.read(16)] : (aspects[idc] ?? [1, 1])
			if (aspect[0] === 0 || aspect[1] === 0) aspect = [1, 1]
		}
		if (r.bit() === 1) r.bit()
		if (r.bit() === 1) {
			r.read(4)
			if (r.bit() === 1) r.read(24)
		}
		if (r.bit() === 1) {
			r.ue()
			r.ue()
		}
		if (r.bit() === 1) {
			const unit = r.read(32)
			const scale = r.read(32)
			if (unit > 0 && scale > 0) frame = Math.round((2 * unit * 90_000) / scale)
		}
	}
	return {
		profile,
		compatibility: b[2] ?? 0,
		level: b[3] ?? 0,
		width: columns * 16 - unitX * (crop[0]! + crop[1]!),
		height: rows * 16 * (framesOnly ? 1 : 2) - unitY * (crop[2]! + crop[3]!),
		aspect,
		frameNumBits,
		framesOnly,
		frame,
	}
}

/** Where the start code of the next NAL unit is (annex B), or -1. */
function startCode(b: Uint8Array, from: number): number {
	for (let i = from; i + 2 < b.length; i++) {
		if (b[i + 2]! > 1) i += 2 // no start code in these three
		else if (b[i] === 0 && b[i + 1] === 0 && b[i + 2] === 1) return i
	}
	return -1
}

/** Zero bytes behind a NAL unit are no part of it. */
function trim(n: Uint8Array): Uint8Array {
	let end = n.length
	while (end > 0 && n[end - 1] === 0) end--
	return n.subarray(0, end)
}

export interface Stamps {
	pts: number | undefined
	dts: number | undefined
}

export interface Picture extends Stamps {
	/** NAL units with four bytes of length before each */
	data: Uint8Array
	/** decoding may start here */
	key: boolean
}

/**
 * Takes the payloads of PES packets, which need not begin or end with an access unit, and gives pictures: a frame, or the two fields of one. A
 * stamp is that of the first access unit that commences in its packet (H.222.0 §2.4.3.7).
 */
export class Assembler {
	sps: Uint8Array | undefined
	/** by id: a stream may use several */
	readonly pps = new Map<number, Uint8Array>()
	info: Sps | undefined

	// of the chunk
	private rest = new Uint8Array() // from the last start code on
	private at = 0 // of rest, in bytes of the stream
	private marks: (Stamps & { at: number })[] = []
	private out: Picture[] = []
	// of the picture that is being put together
	private units: Uint8Array[] = []
	private before: Uint8Array[] = [] // what stands before the next slice
	private beforeAt = -1 // where it begins
	private stamps: Stamps | undefined
	private key = false
	private field: { number: number; bottom: boolean } | undefined // the first field of a frame that may have a second

	/** Begins a chunk. */
	begin(): void {
		this.rest = new Uint8Array()
		this.at = 0
		this.marks = []
		this.out = []
		this.units = []
		this.before = []
		this.beforeAt = -1
		this.stamps = undefined
		this.field = undefined
	}

	/** Gives the pictures that have ended. */
	push(data: Uint8Array, stamps: Stamps): Picture[] {
		this.marks.push({ pts: stamps.pts, dts: stamps.dts, at: this.at + this.rest.length })
		const b = new Uint8Array(this.rest.length + data.length)
		b.set(this.rest)
		b.set(data, this.rest.length)
		let from = startCode(b, 0)
		if (from < 0) {
			from = Math.max(0, b.length - 2) // half a start code may be there
		} else {
			for (let next = startCode(b, Math.max(from + 3, this.rest.length - 2)); next >= 0; next = startCode(b, from + 3)) {
				this.unit(trim(b.subarray(from + 3, next)), this.at + from)
				from = next
			}
		}
		this.rest = b.slice(from)
		this.at += from
		return this.out.splice(0)
	}

	/** The chunk is whole: what is left. */
	flush(): Picture[] {
		if (startCode(this.rest, 0) === 0) this.unit(trim(this.rest.subarray(3)), this.at)
		this.end()
		const out = this.out
		this.begin()
		return out
	}

	/** A NAL unit whose start code is at a place of the stream. */
	private unit(n: Uint8Array, at: number): void {
		if (n.length === 0) return
		const type = n[0]! & 0x1f
		switch (type) {
			case 1:
			case 2:
			case 5: {
				if (type !== 2 && n.length > 1 && (n[1]! & 0x80) !== 0) {
					// first_mb_in_slice is 0: a picture begins.
					const now = this.fieldOf(n)
					const second = this.units.length > 0 && this.field && now && this.field.number === now.number && this.field.bottom !== now.bottom
					if (second) {
						this.field = undefined
					} else {
						this.end()
						this.stamps = this.stampsAt(this.beforeAt >= 0 ? this.beforeAt : at)
						this.key = type === 5 || isIntra(n)
						this.field = now
					}
				}
				this.units.push(...this.before, n)
				this.before = []
				this.beforeAt = -1
				return
			}
			case 6:
				this.before.push(n)
				break
			case 7:
				this.sps = n.slice()
				this.info = parseSps(n)
				break
			case 8:
				this.pps.set(new Bits(rbsp(n.subarray(1), 8)).ue(), n.slice())
				break
			case 9:
				break // an MP4 needs no delimiters; but the access unit begins here
			default:
				return // filler, ends of sequence, what is not understood
		}
		if (this.beforeAt < 0) this.beforeAt = at
	}

	private end(): void {
		if (this.units.length > 0) this.out.push({ data: lengths(this.units), key: this.key, pts: this.stamps?.pts, dts: this.stamps?.dts })
		this.units = []
	}

	/** The stamps of an access unit that commences at a place: the last that came before it and are not another's. */
	private stampsAt(at: number): Stamps | undefined {
		let found: Stamps | undefined
		while (this.marks[0] && this.marks[0].at <= at) {
			const m = this.marks.shift()!
			if (m.pts !== undefined) found = m
		}
		return found
	}

	/** Which field a slice is of; undefined for a frame. */
	private fieldOf(n: Uint8Array): { number: number; bottom: boolean } | undefined {
		if (!this.info || this.info.framesOnly) return undefined
		const r = new Bits(rbsp(n.subarray(1), 16))
		r.ue()
		r.ue()
		r.ue()
		const number = r.read(this.info.frameNumBits)
		if (r.bit() === 0) return undefined
		return { number, bottom: r.bit() === 1 }
	}

	/** The decoder configuration record (14496-15 §5.3.3.1). */
	config(): Uint8Array | undefined {
		if (!this.sps || this.pps.size === 0 || !this.info) return undefined
		const { profile, compatibility, level } = this.info
		const out = [1, profile, compatibility, level, 0xff, 0xe1, this.sps.length >> 8, this.sps.length & 0xff, ...this.sps, Math.min(this.pps.size, 255)]
		for (const p of [...this.pps.values()].slice(0, 255)) out.push(p.length >> 8, p.length & 0xff, ...p)
		if ([100, 110, 122, 144].includes(profile)) out.push(0xfc | 1, 0xf8, 0xf8, 0)
		return new Uint8Array(out)
	}

	/** RFC 6381 */
	codec(): string {
		const i = this.info
		return "avc1." + [i?.profile ?? 0, i?.compatibility ?? 0, i?.level ?? 0].map((x) => x.toString(16).padStart(2, "0")).join("")
	}
}

/** slice_type is I for all slices of the picture, or for this one (§7.4.3). */
function isIntra(n: Uint8Array): boolean {
	const r = new Bits(rbsp(n.subarray(1), 16))
	r.ue()
	const type = r.ue() % 5
	return type === 2 || type === 4
}

function lengths(units: Uint8Array[]): Uint8Array {
	const b = new Uint8Array(units.reduce((n, u) => n + 4 + u.length, 0))
	let at = 0
	for (const u of units) {
		new DataView(b.buffer).setUint32(at, u.length)
		b.set(u, at + 4)
		at += 4 + u.length
	}
	return b
}
