// Transport stream packets to PES packets (H.222.0). What comes in is a chunk of docs/format/chunk.md: whole packets of 188 bytes, without
// loss, PAT and PMT first, so there is no resync, and a chunk decodes without those around it.
import { Malformed } from "../moqt/bytes.ts"

export interface StreamInfo {
	pid: number
	type: number
	/** of its descriptors: AC-3, E-AC-3 and others hide in private types */
	codec: Codec
}

/** Codecs that this page tells apart; the rest is "other". */
export type Codec = "h264" | "hevc" | "mpeg2video" | "aac" | "aac-latm" | "mp2" | "ac3" | "eac3" | "other"

export interface Pes {
	pid: number
	pts: number | undefined
	dts: number | undefined
	data: Uint8Array
}

const size = 188
const codecs: Record<number, Codec> = { 0x01: "mpeg2video", 0x02: "mpeg2video", 0x03: "mp2", 0x04: "mp2", 0x0f: "aac", 0x11: "aac-latm", 0x1b: "h264", 0x24: "hevc", 0x80: "mpeg2video", 0x81: "ac3", 0x87: "eac3" }

export const isVideo = (c: Codec): boolean => c === "h264" || c === "hevc" || c === "mpeg2video"

export class Demuxer {
	streams: StreamInfo[] = []
	private pmt = -1
	private open = new Map<number, Uint8Array[]>()

	/** Takes whole packets and gives the PES packets that ended in them. */
	push(b: Uint8Array): Pes[] {
		if (b.length % size !== 0) throw new Malformed(`a part of ${b.length} bytes is not made of transport stream packets`)
		const out: Pes[] = []
		for (let at = 0; at < b.length; at += size) this.packet(b.subarray(at, at + size), out)
		return out
	}

	/** The PES packets that end with the chunk. */
	flush(): Pes[] {
		const out: Pes[] = []
		for (const pid of [...this.open.keys()]) this.end(pid, out)
		return out
	}

	private packet(p: Uint8Array, out: Pes[]): void {
		if (p[0] !== 0x47) throw new Malformed("a transport stream packet does not begin with 0x47")
		const pid = ((p[1]! & 0x1f) << 8) | p[2]!
		const start = (p[1]! & 0x40) !== 0
		const control = (p[3]! >> 4) & 3
		if ((control & 1) === 0) return // no payload
		let at = 4
		if ((control & 2) !== 0) at += 1 + p[4]!
		if (at >= size) return
		const payload = p.subarray(at)
		if (pid === 0) {
			if (start) this.pat(payload.subarray(1 + payload[0]!))
		} else if (pid === this.pmt) {
			this.table(payload, start)
		} else if (this.streams.some((s) => s.pid === pid && s.codec !== "other")) {
			if (start) {
				this.end(pid, out)
				this.open.set(pid, [payload])
			} else {
				this.open.get(pid)?.push(payload)
			}
		}
	}

	private pat(s: Uint8Array): void {
		const end = 3 + (((s[1]! & 0x0f) << 8) | s[2]!) - 4
		for (let at = 8; at + 4 <= end; at += 4) {
			const program = (s[at]! << 8) | s[at + 1]!
			if (program !== 0) this.pmt = ((s[at + 2]! & 0x1f) << 8) | s[at + 3]!
		}
	}

	// A PMT may be longer than one packet.
	private section: number[] = []

	private table(payload: Uint8Array, start: boolean): void {
		if (start) this.section = [...payload.subarray(1 + payload[0]!)]
		else this.section.push(...payload)
		const s = this.section
		if (s.length < 3) return
		const length = 3 + (((s[1]! & 0x0f) << 8) | s[2]!)
		if (s.length < length || s[0] !== 2) return
		const streams: StreamInfo[] = []
		let at = 12 + (((s[10]! & 0x0f) << 8) | s[11]!)
		for (; at + 5 <= length - 4; ) {
			const type = s[at]!
			const pid = ((s[at + 1]! & 0x1f) << 8) | s[at + 2]!
			const info = ((s[at + 3]! & 0x0f) << 8) | s[at + 4]!
			const descriptors = s.slice(at + 5, at + 5 + info)
			streams.push({ pid, type, codec: codecs[type] ?? hidden(type, descriptors) })
			at += 5 + info
		}
		this.streams = streams
		this.section = []
	}

	private end(pid: number, out: Pes[]): void {
		const pieces = this.open.get(pid)
		this.open.delete(pid)
		if (!pieces) return
		let n = 0
		for (const p of pieces) n += p.length
		const b = new Uint8Array(n)
		n = 0
		for (const p of pieces) {
			b.set(p, n)
			n += p.length
		}
		if (b.length < 9 || b[0] !== 0 || b[1] !== 0 || b[2] !== 1) return
		const flags = b[7]! >> 6
		const pts = flags >= 2 && b.length >= 14 ? stamp(b, 9) : undefined
		const dts = flags === 3 && b.length >= 19 ? stamp(b, 14) : pts
		const length = (b[4]! << 8) | b[5]!
		const from = 9 + b[8]!
		out.push({ pid, pts, dts, data: b.subarray(from, length === 0 ? b.length : Math.min(b.length, 6 + length)) })
	}
}

/** A codec in a private stream_type, by its descriptors (docs/format/codecs.md). */
function hidden(type: number, d: number[]): Codec {
	if (type !== 0x06) return "other"
	for (let at = 0; at + 2 <= d.length; at += 2 + d[at + 1]!) {
		if (d[at] === 0x6a || d[at] === 0x81) return "ac3"
		if (d[at] === 0x7a) return "eac3"
		if (d[at] === 0x7c) return "aac"
		if (d[at] === 0x05 && String.fromCharCode(...d.slice(at + 2, at + 6)) === "AC-3") return "ac3"
	}
	return "other"
}

/** PTS or DTS, 33 bits (§2.4.3.7). */
function stamp(b: Uint8Array, at: number): number {
	return (b[at]! & 0x0e) * 2 ** 29 + (((b[at + 1]! << 8) | b[at + 2]!) >> 1) * 2 ** 15 + (((b[at + 3]! << 8) | b[at + 4]!) >> 1)
}
