// Chunks to segments: testdata/chunks.* is what ec-chop makes of the simulated H.264 channel.
import assert from "node:assert/strict"
import { test } from "node:test"
import { blake3 } from "@noble/hashes/blake3.js"
import { frames } from "../src/media/aac.ts"
import { type Kind, Muxer, type Output, stampDistance } from "../src/media/chunk.ts"
import { Assembler, parseSps, type Picture } from "../src/media/h264.ts"
import { Demuxer } from "../src/media/ts.ts"
import { Malformed } from "../src/moqt/bytes.ts"
import { timeOf } from "../src/viewer.ts"
import { hex, testdata, unhex } from "./bytes.ts"

interface Part {
	group: number
	object: number
	pts: number
	size: number
	blake3: string
	payload: Uint8Array
}
const { parts } = JSON.parse(testdata("chunks.json").toString()) as { parts: Part[] }
const bytes = testdata("chunks.m2ts")
let at = 0
for (const p of parts) {
	p.payload = bytes.subarray(at, at + p.size)
	at += p.size
}

/** The boxes of an MP4, by path. */
function boxes(b: Uint8Array, path = "", out: { path: string; body: Uint8Array }[] = []): { path: string; body: Uint8Array }[] {
	const v = new DataView(b.buffer, b.byteOffset, b.length)
	for (let i = 0; i < b.length; ) {
		const size = v.getUint32(i)
		assert.ok(size >= 8 && i + size <= b.length, `${path}: a box of ${size} bytes in ${b.length - i}`)
		const name = path + "/" + Buffer.from(b.subarray(i + 4, i + 8)).toString()
		const body = b.subarray(i + 8, i + size)
		out.push({ path: name, body })
		if (/\/(moov|trak|mdia|minf|dinf|stbl|mvex|moof|traf)$/.test(name)) boxes(body, name, out)
		i += size
	}
	return out
}

interface Decoded {
	time: number
	duration: number
	offset: number
	key: boolean
	data: Uint8Array
}

/** The samples of a media segment. */
function samples(b: Uint8Array): Decoded[] {
	const all = new Map(boxes(b).map((x) => [x.path, x.body]))
	const view = (name: string): DataView => {
		const x = all.get(name)!
		return new DataView(x.buffer, x.byteOffset, x.length)
	}
	let time = Number(view("/moof/traf/tfdt").getBigUint64(4))
	const run = view("/moof/traf/trun")
	const n = run.getUint32(4)
	let data = run.getInt32(8)
	const out: Decoded[] = []
	for (let i = 0; i < n; i++) {
		const p = 12 + 16 * i
		const [duration, size] = [run.getUint32(p), run.getUint32(p + 4)]
		out.push({ time, duration, offset: run.getInt32(p + 12), key: (run.getUint32(p + 8) & 0x10000) === 0, data: b.subarray(data, data + size) })
		time += duration
		data += size
	}
	assert.equal(data, b.length, "the samples fill the segment")
	return out
}

function mux(list: Part[], muxer = new Muxer(), base?: (p: Part) => number): Output[] {
	const out: Output[] = []
	for (const [i, p] of list.entries()) {
		if (p.object === 0) {
			if (i > 0) out.push(...muxer.end())
			muxer.begin(p.pts, base ? base(p) : timeOf(p.group, p.pts, 180_000) - timeOf(list[0]!.group, list[0]!.pts, 180_000) + 90_000)
		}
		out.push(...muxer.push(p.payload))
	}
	return [...out, ...muxer.end()]
}

/** How many slices with first_mb_in_slice 0 there are in a byte stream. */
function firsts(list: Uint8Array[]): number {
	const b = Buffer.concat(list)
	let n = 0
	for (let i = b.indexOf("000001", 0, "hex"); i >= 0; i = b.indexOf("000001", i + 3, "hex")) if ([1, 5].includes(b[i + 3]! & 0x1f) && (b[i + 4]! & 0x80) !== 0) n++
	return n
}

const short = (s: { data: Uint8Array; key: boolean }): string => `${hex(blake3(s.data)).slice(0, 12)} ${s.key}`

const media = (out: Output[], kind: Kind): Decoded[] => out.flatMap((o) => (o.type === "media" && o.kind === kind ? samples(o.data) : []))

test("payloads have the hashes that object.Sum gives", () => {
	for (const p of parts) assert.equal(hex(blake3(p.payload)), p.blake3)
})

test("the first access unit has the PTS that the properties say", () => {
	const d = new Demuxer()
	const pes = [...d.push(parts[0]!.payload), ...d.flush()]
	assert.deepEqual(d.streams.map((s) => s.codec), ["h264", "aac"])
	assert.equal(pes.find((p) => p.pid === d.streams[0]!.pid)!.pts, parts[0]!.pts)
})

test("two chunks become one run of picture and sound, nothing lost and nothing twice", () => {
	const out = mux(parts)
	const init = out.filter((o) => o.type === "init")
	assert.deepEqual(init.map((o) => [o.kind, o.mime]), [["video", 'video/mp4; codecs="avc1.64001f"'], ["audio", 'audio/mp4; codecs="mp4a.40.2"']])
	const video = media(out, "video")
	const audio = media(out, "audio")

	// As many pictures as the elementary stream has access units: one slice of each begins with first_mb_in_slice 0.
	const d = new Demuxer()
	const pes = parts.flatMap((p, i) => [...(p.object === 0 && i > 0 ? d.flush() : []), ...d.push(p.payload)]).concat(d.flush())
	const [v, a] = d.streams.map((s) => s.pid)
	assert.equal(video.length, firsts(pes.filter((p) => p.pid === v).map((p) => p.data)))
	const sound = pes.filter((p) => p.pid === a).flatMap((p) => frames(p.data).frames)
	assert.equal(audio.length, sound.length)
	for (const [i, s] of audio.entries()) assert.equal(hex(s.data), hex(sound[i]!))

	for (const [list, scale] of [[video, 90_000], [audio, 48_000]] as const) {
		for (const [i, s] of list.entries()) {
			const next = list[i + 1]
			if (next) assert.ok(Math.abs(s.time + s.duration - next.time) <= scale / 2000, `sample ${i} ends at ${s.time + s.duration}, the next begins at ${next.time}`)
		}
	}
	// Lengths in front of NAL units, no start codes; a chunk begins where decoding can.
	for (const s of video) {
		const view = new DataView(s.data.buffer, s.data.byteOffset, s.data.length)
		let i = 0
		while (i < s.data.length) i += 4 + view.getUint32(i)
		assert.equal(i, s.data.length)
	}
	assert.ok(video[0]!.key)
	assert.ok(video.filter((s) => s.key).length >= 2)
	assert.ok(video.some((s) => s.offset > 0), "the channel has B pictures")
	assert.equal(video[0]!.time + video[0]!.offset, 90_000, "the first picture is shown at media time 1 s")
})

test("a chunk decodes alone, and the same whatever came before", () => {
	const second = parts.filter((p) => p.group !== parts[0]!.group)
	const alone = media(mux(second, new Muxer(), () => 500_000), "video")
	const muxer = new Muxer()
	mux(parts.slice(0, 3), muxer) // a chunk that breaks off
	const after = media(mux(second, muxer, () => 500_000), "video")
	assert.deepEqual(after.map((s) => [s.time, s.offset, short(s)]), alone.map((s) => [s.time, s.offset, short(s)]))
})

test("access units that do not begin with their PES packets are the same pictures, with the stamps that are theirs", () => {
	const d = new Demuxer()
	const group = parts[0]!.group
	const pes = [...parts.filter((p) => p.group === group).flatMap((p) => d.push(p.payload)), ...d.flush()].filter((p) => p.pid === d.streams[0]!.pid)
	const read = (list: { data: Uint8Array; pts: number | undefined; dts: number | undefined }[]): Picture[] => {
		const a = new Assembler()
		a.begin()
		return [...list.flatMap((p) => a.push(p.data, p)), ...a.flush()]
	}
	const want = read(pes)
	assert.equal(want.length, firsts(pes.map((p) => p.data)))
	for (const [i, p] of want.entries()) assert.equal(p.pts, pes[i]!.pts)
	const whole = Buffer.concat(pes.map((p) => p.data))
	const starts: number[] = []
	let n = 0
	for (const p of pes) {
		starts.push(n)
		n += p.data.length
	}
	for (const size of [1, 2, 3, 5, 100, 1000, 4000, 70_000]) {
		const cut = []
		for (let i = 0; i < whole.length; i += size) {
			const first = starts.findIndex((s) => s >= i)
			const has = first >= 0 && starts[first]! < i + size
			cut.push({ data: whole.subarray(i, i + size), pts: has ? pes[first]!.pts : undefined, dts: has ? pes[first]!.dts : undefined })
		}
		const got = read(cut)
		assert.deepEqual(got.map(short), want.map(short), `packets of ${size} bytes`)
		for (const [i, p] of got.entries()) if (p.pts !== undefined) assert.equal(p.pts, want[i]!.pts, `packets of ${size} bytes, picture ${i}`)
		if (size <= 1000) assert.ok(got.filter((p) => p.pts !== undefined).length > want.length / 2)
	}
})

test("the clock wraps inside of a chunk", () => {
	assert.equal(stampDistance(5, 2 ** 33 - 5), 10)
	assert.equal(stampDistance(2 ** 33 - 5, 5), -10)
	assert.equal(stampDistance(7, 7), 0)
})

test("a part that is no transport stream is an error in words", () => {
	const m = new Muxer()
	m.begin(0, 0)
	assert.throws(() => m.push(new Uint8Array(187)), Malformed)
	assert.throws(() => m.push(new Uint8Array(188)), /0x47/)
})

test("a damaged part never makes the muxer crash", () => {
	// What is wrong is not shown, as its hash is wrong; but the parser must hold for what a liar hashes anew.
	let seed = 1
	const random = (n: number): number => (seed = (seed * 48_271) % 2_147_483_647) % n
	for (let round = 0; round < 60; round++) {
		const m = new Muxer()
		m.begin(parts[0]!.pts, 0)
		for (const p of parts.slice(0, 4)) {
			const b = p.payload.slice()
			for (let i = 0; i < 40; i++) b[random(b.length)] = random(256)
			for (let i = 0; i < b.length; i += 188) b[i] = 0x47
			m.push(b)
		}
		m.end()
	}
})

test("sequence parameter sets", () => {
	const sd = parseSps(unhex("6764001eacd940b43dff0041003c1000003e90000ea60f183196".replaceAll(" ", "")))
	assert.equal(sd.profile, 100)
	const hd = parseSps(unhex("67640028acd940780227e5c044000003000400000300c83c60c658"))
	assert.deepEqual([hd.width, hd.height, hd.framesOnly], [1920, 1080, true])
})
