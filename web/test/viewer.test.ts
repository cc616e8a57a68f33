// The viewer against a relay that is made up; objects are those of testdata/chunks.*.
import assert from "node:assert/strict"
import { test } from "node:test"
import { blake3 } from "@noble/hashes/blake3.js"
import { parseCatalog } from "../src/moqt/catalog.ts"
import { type MoqObject, noProperties } from "../src/moqt/data.ts"
import { type Track, writeTrack } from "../src/moqt/names.ts"
import { Refused, type Session, type Subgroup } from "../src/moqt/session.ts"
import { Queue, Reset } from "../src/moqt/stream.ts"
import type { ToPage } from "../src/protocol.ts"
import { bucketOf, timeOf, Viewer } from "../src/viewer.ts"
import { hex, testdata, unhex } from "./bytes.ts"
import { Relay, subgroup, text, track, until } from "./relay.ts"

const { parts } = JSON.parse(testdata("chunks.json").toString()) as { parts: { group: number; object: number; pts: number; size: number; blake3: string }[] }
const bytes = testdata("chunks.m2ts")
let at = 0
const objects: MoqObject[] = parts.map((p) => {
	const payload = bytes.subarray(at, at + p.size)
	at += p.size
	return { group: p.group, object: p.object, status: "normal", payload, properties: { pts: p.pts, blake3: unhex(p.blake3), randomAccess: p.object === 0, discontinuity: false } }
})
const [first, second] = [...new Set(objects.map((o) => o.group))] as [number, number]
const of = (group: number): MoqObject[] => objects.filter((o) => o.group === group)

function viewer(relays: Relay[], live = true, tooSlow?: (s: Session) => boolean): { v: Viewer; said: ToPage[]; of: <T extends ToPage["type"]>(type: T) => Extract<ToPage, { type: T }>[] } {
	const said: ToPage[] = []
	const catalog = parseCatalog(text({ version: "draft-01", tracks: [], ec: { duration: 180_000 } }))
	const v = new Viewer({ id: "x", track, catalog, streams: [], receivers: [["ec", "source", "home", "4"]], live }, (m) => said.push(structuredClone(m)), async () => (relays.length > 1 ? relays.shift()! : relays[0]!) as unknown as Session, 1, tooSlow)
	return { v, said, of: (type) => said.filter((m) => m.type === type) as never }
}

test("joins a chunk before the newest, and goes on live without a gap", async () => {
	const live = new Queue<Subgroup>()
	const hashes = of(first).map((o) => o.properties.blake3!)
	const chunk = hex(blake3(Buffer.concat(hashes)))
	const entry = { v: 1, group: first, track: writeTrack(track), scope: "broadcast", objects: hashes.length, bytes: 1, hash: chunk, pts: parts[0]!.pts, utc: "2026-03-14T15:20:02.500Z" }
	const entries = [{ group: bucketOf(first), object: 0, status: "normal" as const, properties: noProperties(), payload: text(entry) }]
	const relay = new Relay({
		[writeTrack(track)]: { past: of(first), live },
		"ec-source-home-4--timeline": { past: entries, live: new Queue() },
		"ec-source-home-4--manifest": { past: entries, live: new Queue() },
	})
	const { v, of: said } = viewer([relay])
	void v.play()
	await until("the past", () => said("checks").length === of(first).length)
	live.push(subgroup(of(second)))
	await until("both chunks, and the manifest's word", () => said("chunk").length === 2 && said("checks").at(-1)!.checks.confirmed === 1)
	v.stop()
	assert.deepEqual(said("feed"), [{ type: "feed", feed: 1, id: "x", live: true }])
	assert.deepEqual(said("kinds").map((m) => m.kinds), [["video", "audio"]])
	assert.deepEqual(said("init").map((m) => m.kind), ["video", "audio"])
	const c = said("checks").at(-1)!.checks
	assert.deepEqual([c.right, c.wrong, c.without, c.confirmed, c.contradicted], [parts.length, 0, 0, 1, 0])
	const chunks = said("chunk")
	assert.deepEqual(chunks.map((m) => m.group), [first, second])
	assert.ok(Math.abs(chunks[1]!.start - chunks[0]!.start - 2) < 0.6)
	assert.equal(new Date(chunks[0]!.utc!).toISOString(), "2026-03-14T15:20:02.500Z")
	let end: number | undefined
	for (const m of said("media").filter((m) => m.kind === "video")) {
		if (end !== undefined) assert.ok(Math.abs(m.start - end) < 0.002, `from ${end} to ${m.start}`)
		end = m.end
	}
})

test("an object that is not what its hash says is not shown, nor is the rest of its chunk; the next chunk is", async () => {
	const lie = of(first).map((o) => ({ ...o }))
	lie[3]!.payload = new Uint8Array(lie[3]!.payload)
	lie[3]!.payload[1000]! ^= 1
	const live = new Queue<Subgroup>()
	const { v, of: said } = viewer([new Relay({ [writeTrack(track)]: { past: lie, live } })])
	void v.play()
	await until("the past", () => said("checks").length === of(first).length)
	const before = said("media").filter((m) => m.kind === "video").at(-1)!.end
	live.push(subgroup(of(second)))
	await until("the next chunk", () => said("chunk").length === 2)
	v.stop()
	const c = said("checks").at(-1)!.checks
	assert.deepEqual([c.right, c.wrong], [parts.length - 1, 1])
	assert.match(c.first, new RegExp(`Object 3 of group ${first} of ec-atsc-2065-4--ts_t13`))
	const after = said("media").filter((m) => m.kind === "video").find((m) => m.end > before)!
	assert.ok(after.start - before > 1, `shown up to ${before}, then from ${after.start}`)
})

test("an object without hash counts as such", async () => {
	const bare = of(first).map((o) => ({ ...o, properties: { ...o.properties } }))
	delete bare[2]!.properties.blake3
	const { v, of: said } = viewer([new Relay({ [writeTrack(track)]: { past: bare, live: new Queue() } })])
	void v.play()
	await until("all", () => said("checks").length === of(first).length)
	v.stop()
	assert.deepEqual([said("checks").at(-1)!.checks.without, said("checks").at(-1)!.checks.wrong], [1, 0])
})

test("a session that is lost in a chunk: the next one is asked for that chunk, and what is buffered stays", async () => {
	const live = new Queue<Subgroup>()
	const lost = new Relay({ [writeTrack(track)]: { past: of(first), live } })
	const next = new Relay({ [writeTrack(track)]: { past: objects, live: new Queue() } })
	const { v, of: said } = viewer([lost, next])
	void v.play()
	await until("the past", () => said("checks").length === of(first).length)
	lost.fetch = async function* () {
		throw new Error("lost")
	}
	live.push(subgroup(of(second).slice(0, 4), new Reset(1)))
	await until("the other session's", () => said("chunk").at(-1)?.group === second)
	v.stop()
	assert.equal(next.asked[0], `fetch ${second}/0`)
	assert.equal(said("feed").length, 1, "what is buffered stays")
	assert.ok(said("notice").length > 0)
	assert.equal(said("checks").at(-1)!.checks.wrong, 0)
	const video = said("media").filter((m) => m.kind === "video")
	const ends = video.at(-1)!.end - video[0]!.start
	assert.ok(ends > 3.5, `${ends} s are there`)
})

test("a group that the relay gives up is fetched", async () => {
	const live = new Queue<Subgroup>()
	const relay = new Relay({ [writeTrack(track)]: { past: of(first), live } })
	const { v, of: said } = viewer([relay])
	void v.play()
	await until("the past", () => said("checks").length === of(first).length)
	relay.tracks[writeTrack(track)]!.past = objects
	live.push(subgroup(of(second).slice(0, 4), new Reset(2)))
	await until("the second chunk", () => said("chunk").at(-1)?.group === second)
	v.stop()
	assert.equal(relay.asked.at(-1), `fetch ${second}/0`)
	assert.equal(said("notice").length, 0)
	assert.equal(said("chunk").at(-1)!.group, second)
	const video = said("media").filter((m) => m.kind === "video")
	assert.ok(video.at(-1)!.end - video[0]!.start > 3.5)
})

test("a session that gives up one group after the other is left for another one, and one such group alone changes nothing", async () => {
	const given = (n: number): Subgroup => subgroup(of(second).slice(0, 4).map((o) => ({ ...o, group: second + n * 65_536 })), new Reset(2))
	const live = new Queue<Subgroup>()
	const [slow, next] = [new Relay({ [writeTrack(track)]: { past: of(first), live } }), new Relay({ [writeTrack(track)]: { past: objects, live: new Queue() } })]
	const left: Session[] = []
	const { v, of: said } = viewer([slow, next], true, (s) => left.push(s) > 0)
	void v.play()
	await until("the past", () => said("checks").length === of(first).length)
	live.push(given(0))
	live.push(given(1))
	await until("two groups to be fetched", () => slow.asked.filter((a) => a.startsWith("fetch")).length >= 3)
	assert.equal(left.length, 0)
	live.push(given(2))
	await until("the other session", () => next.asked.length > 0)
	v.stop()
	assert.deepEqual(left, [slow])
	assert.equal(said("feed").length, 1, "what is buffered stays")
	assert.equal(said("notice").length, 0)
})

test("a group in which nothing comes any more is left when a newer one has begun, and fetched", async () => {
	const live = new Queue<Subgroup>()
	const relay = new Relay({ [writeTrack(track)]: { past: [], live } })
	const { v, of: said } = viewer([relay])
	void v.play()
	let stopped = false
	const stuck = async function* (): AsyncGenerator<MoqObject> {
		yield* of(first).slice(0, 4)
		await new Promise(() => {})
	}
	live.push({ group: first, objects: stuck(), stop: () => (stopped = true) })
	await until("what there is of the first chunk", () => said("checks").length === 4)
	relay.tracks[writeTrack(track)]!.past = of(first)
	live.push(subgroup(of(second)))
	await until("the second chunk", () => said("chunk").at(-1)?.group === second)
	v.stop()
	assert.ok(stopped, "the relay is told")
	assert.deepEqual(relay.asked, [`fetch ${first}/0`])
	assert.equal(said("chunk").filter((m) => m.group === first).at(-1)!.end > said("chunk")[0]!.start + 1.5, true)
})

test("a subscription that brings nothing though the relay has more is begun anew", async (t) => {
	const relay = new Relay({ [writeTrack(track)]: { past: of(first), live: new Queue() } })
	const { v, of: said } = viewer([relay])
	t.mock.timers.enable({ apis: ["setInterval", "Date"] })
	void v.play()
	for (let n = 0; n < 1000 && said("checks").length < of(first).length; n++) await new Promise((done) => setImmediate(done))
	relay.tracks[writeTrack(track)]!.past = objects
	t.mock.timers.tick(13_000)
	t.mock.timers.reset()
	await until("the second chunk", () => said("chunk").at(-1)?.group === second)
	v.stop()
	assert.equal(said("notice").length, 0)
})

test("a relay without FETCH: what comes live is played", async () => {
	const live = new Queue<Subgroup>()
	const relay = new Relay({ [writeTrack(track)]: { past: of(first), live } })
	relay.fetch = async function* () {
		throw new Refused(3, "", "the past")
	}
	const { v, of: said } = viewer([relay])
	void v.play()
	live.push(subgroup(of(second)))
	await until("a chunk", () => said("chunk").length > 0)
	v.stop()
	assert.deepEqual(said("chunk").map((m) => m.group), [second])
	assert.equal(said("notice").length, 0)
})

test("another track of what is shown: it goes on where its clock says, and what was shown is not shown again", async () => {
	const live = new Queue<Subgroup>()
	const own: Track = { namespace: ["ec", "source", "home", "4"], name: "ts_unsynced" }
	const unsynced = (o: MoqObject): MoqObject => ({ ...o, group: o.group - bucketOf(first) * 65_536 + Math.floor(parts[0]!.pts / 180_000) * 65_536 })
	const relay = new Relay({ [writeTrack(own)]: { past: of(first).map(unsynced), live: new Queue() }, [writeTrack(track)]: { past: of(first), live } })
	const { v, of: said } = viewer([relay])
	const broadcast = v.o
	v.o = { ...broadcast, id: "y", track: own }
	void v.play()
	await until("the receiver's chunk", () => said("checks").length === of(first).length)
	assert.notEqual(unsynced(of(first)[0]!).group, first)
	v.change(broadcast)
	const shown = said("media").length
	await until("the broadcast's past", () => said("checks").length === 2 * of(first).length)
	assert.equal(said("media").length, shown, "it was there already")
	live.push(subgroup(of(second)))
	await until("the second chunk", () => said("chunk").at(-1)?.group === second)
	v.stop()
	assert.equal(said("feed").length, 1, "what is buffered stays")
	let end: number | undefined
	for (const m of said("media").filter((m) => m.kind === "video")) {
		if (end !== undefined) assert.ok(Math.abs(m.start - end) < 0.002, `from ${end} to ${m.start}`)
		end = m.end
	}
	assert.ok(end! - said("media")[0]!.start > 3.5)
	assert.equal(said("notice").length, 0)
})

test("another track with another clock: it goes on behind what was shown", async () => {
	const own: Track = { namespace: track.namespace, name: "ts_t14" }
	const later = of(second).map((o) => ({ ...o, group: o.group + 1800 * 65_536, properties: { ...o.properties, pts: o.properties.pts! + 1800 * 180_000 } }))
	const live = new Queue<Subgroup>()
	const relay = new Relay({ [writeTrack(track)]: { past: of(first), live: new Queue() }, [writeTrack(own)]: { live } })
	const { v, of: said } = viewer([relay])
	void v.play()
	await until("the first track", () => said("checks").length === of(first).length)
	v.change({ ...v.o, track: own })
	const end = said("chunk").at(-1)!.end
	live.push(subgroup(later))
	await until("the other", () => said("chunk").length === 2)
	v.stop()
	const next = said("chunk")[1]!
	assert.equal(next.group, later[0]!.group)
	assert.ok(Math.abs(next.start - end) < 0.002, `from ${end} to ${next.start}`)
})

test("back to a time: fetched from the chunk before it, in a new feed; and live again", async () => {
	const relay = new Relay({ [writeTrack(track)]: { past: objects, live: new Queue() } })
	const { v, of: said } = viewer([relay])
	void v.play()
	await until("the past", () => said("checks").length === parts.length)
	relay.asked = []
	v.seek(7200 - 100, 2)
	await until("a fetch", () => relay.asked.length > 0)
	const asked = Number(/^fetch (\d+)\/0$/.exec(relay.asked[0]!)![1])
	assert.ok(Math.abs(bucketOf(first) - bucketOf(asked) - 51) <= 1, `${bucketOf(first) - bucketOf(asked)} chunks back`)
	await until("what is behind the hole up to what is stored", () => said("media").some((m) => m.feed === 2))
	assert.equal(said("feed").at(-1)!.live, false)
	v.seek(undefined, 3)
	await until("what is live", () => said("media").some((m) => m.feed === 3))
	v.stop()
	assert.equal(said("feed").at(-1)!.live, true)
})

test("what is stored only begins five minutes before its end, or with what there is, and ends in words", async () => {
	const { v, of: said } = viewer([new Relay({ [writeTrack(track)]: { past: objects, live: new Queue() } })], false)
	void v.play()
	await until("its end", () => said("over").length > 0)
	v.stop()
	assert.deepEqual(said("chunk").map((m) => m.group), [first, second])
	assert.match(said("over")[0]!.text, /all that was stored/)
})

test("names of chunks", () => {
	assert.equal(bucketOf(890_000_000 * 65_536 + 65_535), 890_000_000)
	assert.equal(timeOf(5 * 65_536 + 7, 900_123, 180_000), 900_123)
	const n = Math.ceil(2 ** 33 / 180_000)
	assert.equal(timeOf((3 * n + 5) * 65_536, 900_123, 180_000), 3 * 2 ** 33 + 900_123)
})
