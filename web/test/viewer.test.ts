// List and viewer against a session that is made up; objects are those of testdata/chunks.*.
import assert from "node:assert/strict"
import { test } from "node:test"
import { blake3 } from "@noble/hashes/blake3.js"
import { judge, Library } from "../src/library.ts"
import { catalogOf, parseCatalog, parseEntry, partsOf } from "../src/moqt/catalog.ts"
import { encodeText, Malformed } from "../src/moqt/bytes.ts"
import { type MoqObject, noProperties } from "../src/moqt/data.ts"
import { type Location, type Namespace, type Track, writeTrack } from "../src/moqt/names.ts"
import { Refused, type Session, type Subgroup, type Subscription } from "../src/moqt/session.ts"
import { Queue, Reset } from "../src/moqt/stream.ts"
import type { Broadcast, ToPage } from "../src/protocol.ts"
import { bucketOf, timeOf, Viewer } from "../src/viewer.ts"
import { hex, testdata, unhex } from "./bytes.ts"

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

const track: Track = { namespace: ["ec", "atsc", "2065", "4"], name: "ts_t13" }
const text = (o: object): Uint8Array => encodeText(JSON.stringify(o))

/** Waits for something to be so, up to 10 s. */
async function until(what: string, is: () => boolean): Promise<void> {
	for (const end = Date.now() + 10_000; !is(); await new Promise((done) => setTimeout(done, 5))) if (Date.now() > end) assert.fail(what)
}

async function* all(list: MoqObject[], error?: Error): AsyncGenerator<MoqObject> {
	for (const o of list) yield o
	if (error) throw error
}
const subgroup = (list: MoqObject[], error?: Error): Subgroup => ({ group: list[0]!.group, objects: all(list, error), stop() {} })

/** What a made-up relay has of a track. */
interface Store {
	past?: MoqObject[]
	live?: Queue<Subgroup>
}

class Relay {
	asked: string[] = []
	implementation = "every.channel"
	readonly told: { prefix: Namespace; tell: (suffix: Namespace, there: boolean) => void }[] = []
	constructor(public tracks: Record<string, Store>) {}

	private store(t: Track): Store {
		const s = this.tracks[writeTrack(t)]
		if (!s) throw new Refused(0x10, "", writeTrack(t))
		return s
	}

	namespaces(prefix: Namespace, signal: AbortSignal, tell: (suffix: Namespace, there: boolean) => void): Promise<void> {
		this.told.push({ prefix, tell })
		return new Promise((done) => signal.addEventListener("abort", () => done()))
	}

	async largest(t: Track): Promise<Location | undefined> {
		const o = this.store(t).past?.at(-1)
		return o && { group: o.group, object: o.object }
	}

	async *fetch(t: Track, start: Location, end: Location): AsyncGenerator<MoqObject> {
		if (t.name === track.name) this.asked.push(`fetch ${start.group}/${start.object}`)
		const before = (a: Location, b: Location): boolean => a.group < b.group || (a.group === b.group && a.object < b.object)
		const to = end.object === 0 ? { group: end.group + 1, object: 0 } : end
		for (const o of this.store(t).past ?? []) if (!before(o, start) && before(o, to)) yield o
	}

	async join(t: Track, from: (l: Location) => Location, signal: AbortSignal): Promise<{ past: AsyncGenerator<MoqObject> | undefined; live: Subscription }> {
		const s = this.store(t)
		const largest = await this.largest(t)
		const subgroups = s.live ?? new Queue()
		delete s.live // the next who joins has a queue of its own
		const live: Subscription = { largest, subgroups, done: new Promise(() => {}), cancel: () => subgroups.end() }
		signal.addEventListener("abort", live.cancel)
		if (!largest) return { past: undefined, live }
		const start = from(largest)
		if (t.name === track.name) this.asked.push(`join ${start.group}/${start.object}`)
		return { past: this.fetch(t, start, { group: largest.group, object: largest.object + 1 }), live }
	}
}

function viewer(relays: Relay[], live = true): { v: Viewer; said: ToPage[]; of: <T extends ToPage["type"]>(type: T) => Extract<ToPage, { type: T }>[] } {
	const said: ToPage[] = []
	const catalog = parseCatalog(text({ version: "draft-01", tracks: [], ec: { duration: 180_000 } }))
	const v = new Viewer({ id: "x", track, catalog, streams: [], receivers: [["ec", "source", "home", "4"]], live }, (m) => said.push(structuredClone(m)), async () => (relays.length > 1 ? relays.shift()! : relays[0]!) as unknown as Session, 1)
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

const source = (id: string, ec: object): [string, Store] => [`ec-source-${id}--catalog`, { past: [{ group: 1, object: 0, status: "normal", properties: noProperties(), payload: text({ version: "draft-01", tracks: [], ec }) }], live: new Queue() }]
const media = (name: string, ...codecs: string[]): object => ({ version: "draft-01", tracks: [{ name, packaging: "m2ts", isLive: true, ec: { streams: codecs.map((codec, i) => ({ pid: i, type: 0, codec })) } }], ec: { track: name, duration: 180_000 } })
const catalog = (name: string, payload: object): [string, Store] => [name, { past: [{ group: 1, object: 0, status: "normal", properties: noProperties(), payload: text(payload) }], live: new Queue() }]

test("the list: callsigns from receivers, renditions, live and stored, and what goes", async () => {
	const relay = new Relay(
		Object.fromEntries([
			catalog("ec-atsc-2065-4--catalog", media("ts_t13", "h264", "aac")),
			catalog("ec-atsc-2065-3--catalog", media("ts_t13", "mpeg2video", "ac3")),
			catalog("ec-atsc-2065-3--catalog_ref1", media("ts_ref1_t13", "h264", "aac")),
			source("home-4", { broadcast: "ec-atsc-2065-4", broadcastTrack: "ts_t13", labels: { callsign: "EC-H264", channel: "5.2" } }),
			source("home-3", { broadcast: "ec-atsc-2065-3", broadcastTrack: "ts_t13", labels: { callsign: "EC-MPEG", channel: "5.1" } }),
		]),
	)
	let list: Broadcast[] = []
	const stop = new AbortController()
	const library = new Library(relay as unknown as Session, (l) => (list = l), stop.signal)
	void library.run()
	await until("both lists are asked for", () => relay.told.length === 2)
	const [all, routes] = relay.told as [(typeof relay.told)[0], (typeof relay.told)[0]]
	assert.deepEqual([all.prefix, routes.prefix], [["ec"], [".ec-routes"]])
	routes.tell(["relay", "0123"], true)
	for (const ns of [["atsc", "2065", "4"], ["atsc", "2065", "3"], ["source", "home", "4"], ["source", "home", "3"]]) {
		all.tell(ns, true)
		routes.tell(["live", "0123", "ec", ...ns], true)
	}
	await until("both are there", () => list.length === 2 && list.every((b) => b.codecs !== "" && b.receivers === 1))
	assert.deepEqual(list.map((b) => [b.callsign, b.channel, b.live, b.playable, b.codecs, b.receivers]), [
		["EC-MPEG", "5.1", true, false, "MPEG-2, AC-3", 1],
		["EC-H264", "5.2", true, true, "H.264, AAC", 1],
	])
	assert.match(list[0]!.hint, /Browsers do not play MPEG-2 and AC-3/)

	relay.tracks["ec-source-trans-3--catalog"] = source("trans-3", { broadcast: "ec-atsc-2065-3", broadcastTrack: "ts_ref1_t13", labels: { callsign: "EC-MPEG" } })[1]
	all.tell(["source", "trans", "3"], true)
	await until("the rendition", () => list[0]!.playable)
	assert.deepEqual(list.map((b) => [b.callsign, b.playable, b.codecs]), [["EC-MPEG", true, "H.264, AAC"], ["EC-H264", true, "H.264, AAC"]])
	assert.equal(writeTrack(library.choose("ec-atsc-2065-3")!.track), "ec-atsc-2065-3--ts_ref1_t13")

	routes.tell(["live", "0123", "ec", "atsc", "2065", "4"], false)
	await until("one is stored", () => list.some((b) => !b.live))
	assert.deepEqual(list.map((b) => [b.callsign, b.live]), [["EC-MPEG", true], ["EC-H264", false]])
	all.tell(["atsc", "2065", "4"], false)
	await until("one is gone", () => list.length === 1)
	assert.deepEqual(list.map((b) => b.callsign), ["EC-MPEG"])
	stop.abort()
})

test("a live viewer of a receiver goes on under the broadcast's name once that plays, and not in the receiver's own track", async () => {
	const at = (group: number, payload: object): MoqObject => ({ group, object: 0, status: "normal", properties: noProperties(), payload: text(payload) })
	const mine = (name: string, ec: object): object => ({ ...media(name, "h264", "aac"), ec: { track: name, duration: 180_000, labels: { callsign: "EC-H264" }, ...ec } })
	const live = new Queue<Subgroup>()
	const relay = new Relay({
		"ec-source-home-4--catalog": { past: [at(1, mine("ts_unsynced", {}))], live },
		...Object.fromEntries([catalog("ec-atsc-2065-4--catalog", media("ts_t13", "h264", "aac"))]),
	})
	let list: Broadcast[] = []
	const stop = new AbortController()
	const library = new Library(relay as unknown as Session, (l) => (list = l), stop.signal)
	void library.run()
	await until("both lists are asked for", () => relay.told.length === 2)
	const [all, routes] = relay.told as [(typeof relay.told)[0], (typeof relay.told)[0]]
	routes.tell(["relay", "0123"], true)
	const come = (...ns: string[]): void => {
		all.tell(ns, true)
		routes.tell(["live", "0123", "ec", ...ns], true)
	}
	come("source", "home", "4")
	await until("the receiver is listed", () => list[0]?.playable === true)
	const id = list[0]!.id
	assert.equal(id, "ec-source-home-4")
	const own = library.choose(id)!.track
	assert.equal(library.onward(id, own), undefined)
	come("atsc", "2065", "4")
	await until("the broadcast is listed", () => list.some((b) => b.id === "ec-atsc-2065-4" && b.playable))
	assert.equal(library.onward(id, own), undefined, "whose broadcast it is is not known yet")
	live.push(subgroup([at(2, mine("ts", { broadcast: "ec-atsc-2065-4", broadcastTrack: "ts_t13" }))]))
	await until("it is known", () => list.length === 1)
	const to = library.onward(id, own)!
	assert.deepEqual([to.id, writeTrack(to.choice.track)], ["ec-atsc-2065-4", "ec-atsc-2065-4--ts_t13"])
	assert.equal(library.onward(to.id, to.choice.track), undefined)
	// As long as nothing of the broadcast is on air, what the receiver cannot promote is all there is.
	routes.tell(["live", "0123", "ec", "atsc", "2065", "4"], false)
	assert.equal(library.onward(id, own)!.choice.track.name, "ts")
	stop.abort()
})

test("what plays and what is said of what does not", () => {
	const streams = (...codecs: string[]) => codecs.map((codec) => ({ pid: 0, type: 0, codec }))
	assert.deepEqual(judge(streams("h264", "aac", "ac3")), { playable: true, hint: "", short: "" })
	assert.equal(judge(streams("aac")).playable, true)
	assert.equal(judge(streams("h264", "ac3")).short, "without sound")
	assert.match(judge(streams("hevc", "aac")).hint, /do not play HEVC,/)
	assert.equal(judge(streams("scte35")).playable, false)
})

test("names of tracks and catalogs", () => {
	assert.deepEqual(partsOf("ts_t13"), { variant: "", hour: 0 })
	assert.deepEqual(partsOf("ts_ref1_ab_t00"), { variant: "ref1_ab", hour: -13 })
	assert.deepEqual(partsOf("ts"), { variant: "", hour: undefined })
	assert.equal(catalogOf({ namespace: [], name: "ts_ref1_t13" }).name, "catalog_ref1")
	assert.equal(catalogOf({ namespace: [], name: "ts_t13" }).name, "catalog")
})

test("catalogs and entries that are none are refused", () => {
	for (const bad of ["", "[]", "{}", "null", "7"]) assert.throws(() => parseCatalog(encodeText(bad)), Malformed, bad)
	for (const bad of ["{}", '{"v":2,"group":1,"track":"a--b"}', '{"v":1,"group":1,"track":"a"}', '{"v":1,"track":"a--b"}']) assert.throws(() => parseEntry(encodeText(bad)), Malformed, bad)
})
