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

/** The NAL units of a byte stream (annex B). */
export function nalUnits(b: Uint8Array): Uint8Array[] {
	const out: Uint8Array[] = []
	let from = -1
	for (let i = 0; i + 2 < b.length; i++) {
		if (b[i + 2]! > 1) {
			i += 2 // no start code in these three
			continue
		}
		if (b[i] !== 0 || b[i + 1] !== 0 || b[i + 2] !== 1) continue
		if (from >= 0) out.push(trim(b.subarray(from, i)))
		from = i + 3
		i += 2
	}
	if (from >= 0) out.push(trim(b.subarray(from)))
	return out.filter((n) => n.length > 0)
}

function trim(n: Uint8Array): Uint8Array {
	let end = n.length
	while (end > 0 && n[end - 1] === 0) end--
	return n.subarray(0, end)
}

export interface Picture {
	/** NAL units with four bytes of length before each */
	data: Uint8Array
	/** decoding may start here */
	key: boolean
}

/** Takes PES payloads and gives pictures: a frame, or the two fields of one. */
export class Assembler {
	sps: Uint8Array | undefined
	/** by id: a stream may use several */
	readonly pps = new Map<number, Uint8Array>()
	info: Sps | undefined

	/** The pictures of a PES packet; bytes before its first picture belong to that one. */
	pictures(pes: Uint8Array): Picture[] {
		const out: Picture[] = []
		let units: Uint8Array[] = []
		let slices = false
		let key = false
		let field: { number: number; bottom: boolean } | undefined // the first field of a frame that may have a second
		const end = (): void => {
			if (slices) out.push({ data: lengths(units), key })
			units = []
			slices = key = false
		}
		for (const n of nalUnits(pes)) {
			const type = n[0]! & 0x1f
			switch (type) {
				case 1:
				case 2:
				case 5: {
					if (type !== 2 && n.length > 1 && (n[1]! & 0x80) !== 0) {
						// first_mb_in_slice is 0: a picture begins.
						const now = this.fieldOf(n)
						const second = slices && field && now && field.number === now.number && field.bottom !== now.bottom
						if (slices && !second) {
							// What stands before its first slice is the new picture's.
							const own = units.splice(lastSlice(units) + 1)
							end()
							units = own
						}
						if (!slices) key = type === 5 || isIntra(n)
						field = second ? undefined : now
					}
					slices = true
					units.push(n)
					break
				}
				case 6:
					units.push(n)
					break
				case 7:
					this.sps = n.slice()
					this.info = parseSps(n)
					break
				case 8:
					this.pps.set(new Bits(rbsp(n.subarray(1), 8)).ue(), n.slice())
					break
				default: // delimiters, filler, ends of sequence: an MP4 needs none
					break
			}
		}
		end()
		return out
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

const isSlice = (n: Uint8Array): boolean => [1, 2, 3, 4, 5].includes(n[0]! & 0x1f)

function lastSlice(units: Uint8Array[]): number {
	for (let i = units.length - 1; i >= 0; i--) if (isSlice(units[i]!)) return i
	return -1
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
