// The client's bytes against those of lib/moqt/wire, which wrote testdata/wire18.json.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Malformed, Reader, viSize, Writer } from "../src/moqt/bytes.ts"
import { fetchStream, isSubgroup, type MoqObject, readFetch, readSubgroup, readSubgroupHeader } from "../src/moqt/data.ts"
import * as messages from "../src/moqt/messages.ts"
import { readTrack, writeTrack } from "../src/moqt/names.ts"
import { StreamReader } from "../src/moqt/stream.ts"
import { hex, incoming, testdata, unhex } from "./bytes.ts"

interface Stream {
	hex: string
	alias: number
	objects: { group: number; object: number; status: string; payload?: string; pts?: number; blake3?: string; random?: boolean }[]
}
interface Location {
	group: number
	object: number
}
interface Request {
	hex: string
	what: string
	id: number
	namespace?: string[]
	name?: string
	parameters?: messages.Parameters
	start?: Location
	end?: Location
	joins?: number
	groups?: number
}
const vectors = JSON.parse(testdata("wire18.json").toString()) as {
	integers: { hex: string; value: string }[]
	requests: Request[]
	messages: { hex: string; want: Record<string, unknown> }[]
	subgroups: Stream[]
	fetches: Stream[]
	names: { namespace: string[]; name: string; written: string }[]
	refused: { hex: string; why: string }[]
}

test("integers", () => {
	for (const v of vectors.integers) {
		const b = unhex(v.hex)
		assert.equal(viSize(b[0]!), b.length, v.value)
		const x = new Reader(b).vi()
		assert.equal(x, Number(v.value), v.hex)
		if (Number.isSafeInteger(x)) assert.equal(hex(new Writer().vi(x).done()), v.hex)
		else assert.throws(() => new Writer().vi(x), Malformed)
		for (let n = 0; n < b.length; n++) assert.throws(() => new Reader(b.subarray(0, n)).vi(), Malformed)
	}
})

test("requests are the bytes that lib/moqt writes", () => {
	for (const r of vectors.requests) {
		const track = { namespace: r.namespace ?? [], name: r.name ?? "" }
		const made: Record<string, () => Uint8Array> = {
			setup: () => messages.setup(track.name),
			subscribe: () => messages.subscribe(r.id, track, r.parameters),
			"track status": () => messages.trackStatus(r.id, track),
			fetch: () => messages.fetch(r.id, track, r.start!, r.end!, r.parameters),
			"joining fetch": () => messages.joiningFetch(r.id, r.joins!, r.groups!),
			"subscribe namespace": () => messages.subscribeNamespace(r.id, track.namespace),
			"request error": () => messages.requestError(r.id, track.name),
		}
		assert.equal(hex(made[r.what]!()), r.hex, r.what)
	}
	assert.equal(vectors.requests.length, 11)
})

function parse(b: Uint8Array): messages.Message {
	const r = new Reader(b)
	const type = r.vi()
	const length = r.uint16()
	assert.equal(r.left, length)
	return messages.parse(type, r.rest())
}

test("messages are read as lib/moqt means them", () => {
	for (const v of vectors.messages) {
		const got = JSON.parse(JSON.stringify(parse(unhex(v.hex)), (k, x: unknown) => (k === "properties" ? undefined : x))) as unknown
		assert.deepEqual(got, v.want, v.hex)
	}
})

test("messages that break the draft are refused", () => {
	for (const v of vectors.refused) assert.throws(() => parse(unhex(v.hex)), Malformed, v.why)
})

test("a message cut anywhere is refused or another message, never a crash", () => {
	for (const v of vectors.messages) {
		const r = new Reader(unhex(v.hex))
		const type = r.vi()
		r.uint16()
		const payload = r.rest()
		for (let n = 0; n < payload.length; n++) {
			try {
				messages.parse(type, payload.subarray(0, n))
			} catch (err) {
				assert.ok(err instanceof Malformed, String(err))
			}
		}
	}
})

async function subgroup(b: Uint8Array, piece: number): Promise<{ alias: number; objects: MoqObject[] }> {
	const r = new StreamReader(incoming(b, piece))
	const type = await r.vi()
	assert.ok(isSubgroup(type))
	const h = await readSubgroupHeader(r, type)
	const objects: MoqObject[] = []
	for await (const o of readSubgroup(r, h)) objects.push(o)
	return { alias: h.alias, objects }
}

async function fetched(b: Uint8Array, piece: number): Promise<{ alias: number; objects: MoqObject[] }> {
	const r = new StreamReader(incoming(b, piece))
	assert.equal(await r.vi(), fetchStream)
	const alias = await r.vi()
	const objects: MoqObject[] = []
	for await (const o of readFetch(r)) objects.push(o)
	return { alias, objects }
}

function same(got: { alias: number; objects: MoqObject[] }, want: Stream): void {
	assert.equal(got.alias, want.alias)
	assert.equal(got.objects.length, want.objects.length)
	for (const [i, o] of got.objects.entries()) {
		const w = want.objects[i]!
		assert.equal(o.status, w.status)
		assert.equal(o.group, w.group)
		if (w.status === "normal" || w.status === "none") assert.equal(o.object, w.object)
		assert.equal(hex(o.payload), w.payload ?? "")
		assert.equal(o.properties.pts, w.pts)
		assert.equal(o.properties.blake3 && hex(o.properties.blake3), w.blake3)
		assert.equal(o.properties.randomAccess, w.random ?? false)
	}
}

test("subgroups, however their bytes arrive", async () => {
	for (const v of vectors.subgroups) for (const piece of [1, 7, 1e6]) same(await subgroup(unhex(v.hex), piece), v)
})

test("answers to FETCH, however their bytes arrive", async () => {
	for (const v of vectors.fetches) for (const piece of [1, 7, 1e6]) same(await fetched(unhex(v.hex), piece), v)
})

test("a stream cut anywhere gives whole objects and then an error, or ends at an object's end", async () => {
	for (const [list, read] of [[vectors.subgroups, subgroup], [vectors.fetches, fetched]] as const) {
		const b = unhex(list[0]!.hex)
		for (let n = 1; n < b.length; n++) {
			try {
				await read(b.subarray(0, n), 1e6)
			} catch (err) {
				assert.ok(err instanceof Malformed, String(err))
			}
		}
	}
})

test("names and their written form", () => {
	for (const v of vectors.names) {
		assert.equal(writeTrack(v), v.written)
		assert.deepEqual(readTrack(v.written), { namespace: v.namespace, name: v.name })
	}
	for (const bad of ["a", "a--.4", "a--.C3", "a--.61", "a-é--b", "--b", "a---b"]) assert.throws(() => readTrack(bad), Malformed, bad)
})
