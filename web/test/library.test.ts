// List and catalogs against a relay that is made up.
import assert from "node:assert/strict"
import { test } from "node:test"
import { judge, Library } from "../src/library.ts"
import { encodeText, Malformed } from "../src/moqt/bytes.ts"
import { catalogOf, parseCatalog, parseEntry, partsOf } from "../src/moqt/catalog.ts"
import { type MoqObject, noProperties } from "../src/moqt/data.ts"
import { writeTrack } from "../src/moqt/names.ts"
import type { Session, Subgroup } from "../src/moqt/session.ts"
import { Queue } from "../src/moqt/stream.ts"
import type { Broadcast } from "../src/protocol.ts"
import { Relay, type Store, subgroup, text, until } from "./relay.ts"

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

test("a catalog that is not there yet when its namespace is announced is asked for again soon, then less often", async (t) => {
	t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
	const pass = async (ms: number): Promise<void> => {
		for (let at = 0; at <= ms; at += 50) {
			if (at > 0) t.mock.timers.tick(50)
			for (let n = 0; n < 10; n++) await new Promise((done) => setImmediate(done))
		}
	}
	const own = catalog("ec-source-home-4--catalog", { ...media("ts", "h264", "aac"), ec: { track: "ts", duration: 180_000, broadcast: "ec-atsc-2065-4", broadcastTrack: "ts_t13" } })
	const relay = new Relay(Object.fromEntries([own]))
	const asked: number[] = []
	const join = relay.join.bind(relay)
	relay.join = (track, from, signal) => {
		if (writeTrack(track) === "ec-atsc-2065-4--catalog") asked.push(Date.now())
		return join(track, from, signal)
	}
	let list: Broadcast[] = []
	const stop = new AbortController()
	const library = new Library(relay as unknown as Session, (l) => (list = l), stop.signal)
	void library.run()
	for (const ns of [["source", "home", "4"], ["atsc", "2065", "4"]]) relay.told[0]!.tell(ns, true)
	await pass(10_000)
	assert.deepEqual(asked, [0, 100, 300, 700, 1500, 3100, 6100, 9100])
	// Meanwhile a viewer of the receiver stays where it is: the receiver's other track is not where this goes on.
	assert.equal(library.onward("ec-source-home-4", { namespace: ["ec", "source", "home", "4"], name: "ts_unsynced" }), undefined)
	Object.assign(relay.tracks, Object.fromEntries([catalog("ec-atsc-2065-4--catalog", media("ts_t13", "h264", "aac"))]))
	await pass(3000)
	assert.deepEqual(list.map((b) => [b.id, b.playable]), [["ec-atsc-2065-4", true]])
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
