// Fragmented MP4 for Media Source Extensions (ISO/IEC 14496-12, 14496-14, 14496-15).
import { concat, encodeText, Writer } from "../moqt/bytes.ts"

export interface Sample {
	data: Uint8Array
	duration: number
	/** PTS − DTS */
	offset: number
	key: boolean
}

export interface VideoTrack {
	kind: "video"
	timescale: number
	width: number
	height: number
	aspect: [number, number]
	/** avcC */
	config: Uint8Array
}

export interface AudioTrack {
	kind: "audio"
	timescale: number
	channels: number
	/** AudioSpecificConfig */
	config: Uint8Array
}

function box(type: string, ...parts: (Uint8Array | ((w: Writer) => void))[]): Uint8Array {
	const body = concat(parts.map((p) => (typeof p === "function" ? fill(p) : p)))
	return new Writer().uint32(8 + body.length).bytes(encodeText(type)).bytes(body).done()
}

function fill(f: (w: Writer) => void): Uint8Array {
	const w = new Writer()
	f(w)
	return w.done()
}

const zeros = (w: Writer, n: number): Writer => w.bytes(new Uint8Array(n))
/** version and flags */
const full = (w: Writer, version: number, flags: number): Writer => w.uint32(version * 2 ** 24 + flags)

const matrix = (w: Writer): void => {
	for (const x of [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]) w.uint32(x)
}

function sampleEntry(t: VideoTrack | AudioTrack): Uint8Array {
	if (t.kind === "video") {
		return box(
			"avc1",
			(w) => {
				zeros(w, 6).uint16(1)
				zeros(w, 16).uint16(t.width).uint16(t.height).uint32(0x480000).uint32(0x480000).uint32(0).uint16(1)
				zeros(w, 32).uint16(0x18).uint16(0xffff)
			},
			box("avcC", t.config),
			box("pasp", (w) => w.uint32(t.aspect[0]).uint32(t.aspect[1])),
		)
	}
	return box(
		"mp4a",
		(w) => {
			zeros(w, 6).uint16(1)
			zeros(w, 8).uint16(t.channels).uint16(16).uint32(0).uint16(t.timescale).uint16(0)
		},
		box("esds", (w) => {
			const config = t.config.length
			full(w, 0, 0)
			w.byte(0x03).byte(23 + config).uint16(1).byte(0)
			w.byte(0x04).byte(15 + config).byte(0x40).byte(0x15)
			zeros(w, 11)
			w.byte(0x05).byte(config).bytes(t.config)
			w.byte(0x06).byte(1).byte(2)
		}),
	)
}

/** The initialisation segment of one track. */
export function initSegment(t: VideoTrack | AudioTrack): Uint8Array<ArrayBuffer> {
	const video = t.kind === "video"
	const empty = (type: string, extra = 0): Uint8Array => box(type, (w) => zeros(full(w, 0, 0), 4 + extra))
	return concat([
		box("ftyp", encodeText("iso5"), (w) => w.uint32(0), encodeText("iso5iso6mp41")),
		box(
			"moov",
			box("mvhd", (w) => {
				full(w, 0, 0).uint32(0).uint32(0).uint32(1000).uint32(0).uint32(0x10000).uint16(0x100)
				zeros(w, 10)
				matrix(w)
				zeros(w, 24).uint32(2)
			}),
			box(
				"trak",
				box("tkhd", (w) => {
					full(w, 0, 7).uint32(0).uint32(0).uint32(1)
					zeros(w, 16).uint16(0).uint16(0).uint16(video ? 0 : 0x100).uint16(0)
					matrix(w)
					const width = video ? Math.round((t.width * t.aspect[0]) / t.aspect[1]) : 0
					w.uint32(width * 0x10000).uint32(video ? t.height * 0x10000 : 0)
				}),
				box(
					"mdia",
					box("mdhd", (w) => full(w, 0, 0).uint32(0).uint32(0).uint32(t.timescale).uint32(0).uint16(0x55c4).uint16(0)),
					box("hdlr", (w) => zeros(full(w, 0, 0).uint32(0).bytes(encodeText(video ? "vide" : "soun")), 13)),
					box(
						"minf",
						video ? box("vmhd", (w) => zeros(full(w, 0, 1), 8)) : box("smhd", (w) => zeros(full(w, 0, 0), 4)),
						box("dinf", box("dref", (w) => full(w, 0, 0).uint32(1), box("url ", (w) => full(w, 0, 1)))),
						box("stbl", box("stsd", (w) => full(w, 0, 0).uint32(1), sampleEntry(t)), empty("stts"), empty("stsc"), empty("stsz", 4), empty("stco")),
					),
				),
			),
			box("mvex", box("trex", (w) => full(w, 0, 0).uint32(1).uint32(1).uint32(0).uint32(0).uint32(0))),
		),
	])
}

/** A media segment; time is the DTS of its first sample, in the track's timescale. */
export function mediaSegment(sequence: number, time: number, samples: Sample[]): Uint8Array<ArrayBuffer> {
	const size = samples.reduce((n, s) => n + s.data.length, 0)
	const moof = (at: number): Uint8Array =>
		box(
			"moof",
			box("mfhd", (w) => full(w, 0, 0).uint32(sequence)),
			box(
				"traf",
				box("tfhd", (w) => full(w, 0, 0x020000).uint32(1)), // default-base-is-moof
				box("tfdt", (w) => full(w, 1, 0).uint64(time)),
				box("trun", (w) => {
					full(w, 1, 0x000f01).uint32(samples.length).uint32(at)
					for (const s of samples) {
						w.uint32(s.duration).uint32(s.data.length)
						w.uint32(s.key ? 0x02000000 : 0x01010000) // depends on no other; or does, and is no sync sample
						w.uint32(s.offset >>> 0)
					}
				}),
			),
		)
	const head = moof(moof(0).length + 8)
	return concat([head, new Writer().uint32(8 + size).bytes(encodeText("mdat")).done(), ...samples.map((s) => s.data)])
}
