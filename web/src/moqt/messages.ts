// Control messages of draft-ietf-moq-transport-18 (§10): those that a viewer sends and those that it may be sent.
import { compare, type Location, type Namespace, type Track } from "./names.ts"
import { exact, Malformed, Reader, Writer } from "./bytes.ts"

const maxValue = 0xffff
const maxName = 4096
const maxFields = 32
const maxReason = 1024
const maxURI = 8192

/** Message types (draft-18 §10). */
export const Type = {
	requestUpdate: 0x02,
	subscribe: 0x03,
	subscribeOk: 0x04,
	requestError: 0x05,
	publishNamespace: 0x06,
	requestOk: 0x07,
	namespace: 0x08,
	publishDone: 0x0b,
	trackStatus: 0x0d,
	namespaceDone: 0x0e,
	publishBlocked: 0x0f,
	goAway: 0x10,
	fetch: 0x16,
	fetchOk: 0x18,
	publish: 0x1d,
	subscribeNamespace: 0x50,
	setup: 0x2f00,
} as const

/** Where a subscription begins (draft-18 §5.1.2). Without a filter it begins with the next object. */
export type Filter =
	| { kind: "next group" }
	| { kind: "largest object" }
	| { kind: "from"; start: Location }
	| { kind: "range"; start: Location; endGroup: number }

export interface Parameters {
	filter?: Filter
	priority?: number
	/** 1: ascending, 2: descending */
	groupOrder?: number
	forward?: boolean
	expires?: number
	largest?: Location
}

export type Message =
	| { type: "setup"; implementation: string }
	| { type: "subscribe ok"; alias: number; parameters: Parameters; properties: Uint8Array }
	| { type: "fetch ok"; endOfTrack: boolean; end: Location; parameters: Parameters; properties: Uint8Array }
	| { type: "request ok"; parameters: Parameters; properties: Uint8Array }
	| { type: "request error"; code: number; retry: number; reason: string; redirect?: { uri: string; track: Track } }
	| { type: "publish done"; code: number; streams: number; reason: string }
	| { type: "namespace"; suffix: Namespace }
	| { type: "namespace done"; suffix: Namespace }
	| { type: "go away"; uri: string; timeout: number; requestID?: number }
	| { type: "other"; number: number }

function frame(type: number, body: (w: Writer) => void): Uint8Array {
	const w = new Writer()
	body(w)
	const payload = w.done()
	if (payload.length > 0xffff) throw new Error(`message of ${payload.length} bytes`)
	return new Writer().vi(type).uint16(payload.length).bytes(payload).done()
}

function writeNamespace(w: Writer, ns: Namespace): void {
	w.vi(ns.length)
	for (const f of ns) w.text(f)
}

function writeTrack(w: Writer, t: Track): void {
	writeNamespace(w, t.namespace)
	w.text(t.name)
}

const writeLocation = (w: Writer, l: Location): Writer => w.vi(l.group).vi(l.object)

function writeFilter(f: Filter): Uint8Array {
	const w = new Writer()
	switch (f.kind) {
		case "next group":
			w.vi(1)
			break
		case "largest object":
			w.vi(2)
			break
		case "from":
			writeLocation(w.vi(3), f.start)
			break
		case "range":
			writeLocation(w.vi(4), f.start).vi(f.endGroup - f.start.group)
	}
	return w.done()
}

/** Parameters in ascending order of type, types as differences, values by type (§10.2). */
function writeParameters(w: Writer, p: Parameters): void {
	const list: [number, (w: Writer) => void][] = []
	if (p.forward !== undefined) list.push([0x10, (w) => w.byte(p.forward ? 1 : 0)])
	if (p.priority !== undefined) list.push([0x20, (w) => w.byte(p.priority!)])
	if (p.filter) list.push([0x21, (w) => w.lengthBytes(writeFilter(p.filter!))])
	if (p.groupOrder) list.push([0x22, (w) => w.byte(p.groupOrder!)])
	w.vi(list.length)
	let before = 0
	for (const [type, value] of list) {
		w.vi(type - before)
		before = type
		value(w)
	}
}

/** SETUP (§10.3). Path and authority are those of the request for the transport. */
export function setup(implementation: string): Uint8Array {
	return frame(Type.setup, (w) => w.vi(0x07).text(implementation))
}

/** SUBSCRIBE (§10.7). */
export function subscribe(id: number, t: Track, p: Parameters = {}): Uint8Array {
	return frame(Type.subscribe, (w) => {
		w.vi(id)
		writeTrack(w, t)
		writeParameters(w, p)
	})
}

/** TRACK_STATUS, laid out like SUBSCRIBE. */
export function trackStatus(id: number, t: Track): Uint8Array {
	return frame(Type.trackStatus, (w) => {
		w.vi(id)
		writeTrack(w, t)
		writeParameters(w, {})
	})
}

/** FETCH of a range (§10.12). end is the last object plus one; object 0 means the whole group. */
export function fetch(id: number, t: Track, start: Location, end: Location, p: Parameters = {}): Uint8Array {
	if (compare(start, end) > 0) throw new RangeError("a range that ends before it starts")
	return frame(Type.fetch, (w) => {
		w.vi(id).vi(1)
		writeTrack(w, t)
		writeLocation(w, start)
		writeLocation(w, end)
		writeParameters(w, p)
	})
}

/** FETCH that joins a subscription made with the filter "largest object", from so many groups before; draft 20 has fills instead. */
export function joiningFetch(id: number, subscription: number, groups: number): Uint8Array {
	return frame(Type.fetch, (w) => {
		w.vi(id).vi(2).vi(subscription).vi(groups)
		writeParameters(w, {})
	})
}

/** SUBSCRIBE_NAMESPACE (§10.16). */
export function subscribeNamespace(id: number, prefix: Namespace): Uint8Array {
	return frame(Type.subscribeNamespace, (w) => {
		w.vi(id)
		writeNamespace(w, prefix)
		writeParameters(w, {})
	})
}

/** REQUEST_ERROR, the answer to what a viewer does not do. */
export function requestError(code: number, reason: string): Uint8Array {
	return frame(Type.requestError, (w) => w.vi(code).vi(0).text(reason))
}

function readNamespace(r: Reader): Namespace {
	const n = r.vi()
	if (n > maxFields) throw new Malformed(`namespace of ${n} fields`)
	const ns: Namespace = []
	let room = maxName
	for (let i = 0; i < n; i++) {
		const before = r.at
		const f = r.text(room, "namespace field")
		if (f === "") throw new Malformed("empty namespace field")
		room -= r.at - before
		ns.push(f)
	}
	return ns
}

const readLocation = (r: Reader): Location => ({ group: r.vi(), object: r.vi() })

const forms: Record<number, "vi" | "byte" | "location" | "bytes" | "namespace"> = {
	0x02: "vi", // OBJECT_DELIVERY_TIMEOUT
	0x03: "bytes", // AUTHORIZATION_TOKEN
	0x04: "vi", // RENDEZVOUS_TIMEOUT
	0x06: "vi", // SUBGROUP_DELIVERY_TIMEOUT
	0x08: "vi", // EXPIRES
	0x09: "location", // LARGEST_OBJECT
	0x0a: "vi", // FILL_TIMEOUT
	0x10: "byte", // FORWARD
	0x20: "byte", // SUBSCRIBER_PRIORITY
	0x21: "bytes", // SUBSCRIPTION_FILTER
	0x22: "byte", // GROUP_ORDER
	0x32: "vi", // NEW_GROUP_REQUEST
	0x34: "namespace", // TRACK_NAMESPACE_PREFIX
}

function readParameters(r: Reader): Parameters {
	const p: Parameters = {}
	const n = r.vi()
	let type = 0
	for (let i = 0; i < n; i++) {
		type += r.vi()
		let number = 0
		switch (forms[type]) {
			case "vi":
				number = r.vi()
				break
			case "byte":
				number = r.byte()
				break
			case "location":
				p.largest = readLocation(r)
				break
			case "bytes":
				r.lengthBytes(maxValue, "parameter")
				break
			case "namespace":
				readNamespace(r)
				break
			default:
				throw new Malformed(`unknown parameter 0x${type.toString(16)}`)
		}
		if (type === 0x08) p.expires = number
		if (type === 0x10) p.forward = number === 1
		if (type === 0x22) p.groupOrder = number
	}
	return p
}

/** Reads the payload of a message. One that no viewer is sent is "other". */
export function parse(type: number, payload: Uint8Array): Message {
	const r = new Reader(payload)
	const m = parseFields(type, r)
	if (m.type !== "other" && r.left > 0) throw new Malformed(`message 0x${type.toString(16)}: ${r.left} bytes after the last field`)
	return m
}

function parseFields(type: number, r: Reader): Message {
	switch (type) {
		case Type.setup: {
			let implementation = ""
			for (let key = 0; r.left > 0; ) {
				key += r.vi()
				if (key % 2 === 0) {
					r.vi()
					continue
				}
				const value = r.text(maxValue, "setup option")
				if (key === 0x07) implementation = value
			}
			return { type: "setup", implementation }
		}
		case Type.subscribeOk:
			return { type: "subscribe ok", alias: exact(r.vi(), "track alias"), parameters: readParameters(r), properties: r.rest() }
		case Type.fetchOk:
			return { type: "fetch ok", endOfTrack: r.byte() === 1, end: readLocation(r), parameters: readParameters(r), properties: r.rest() }
		case Type.requestOk:
			return { type: "request ok", parameters: readParameters(r), properties: r.rest() }
		case Type.requestError: {
			const m: Message = { type: "request error", code: r.vi(), retry: r.vi(), reason: r.text(maxReason, "reason") }
			if (m.code === 0x34) m.redirect = { uri: r.text(maxURI, "URI"), track: { namespace: readNamespace(r), name: r.text(maxName, "track name") } }
			return m
		}
		case Type.publishDone:
			return { type: "publish done", code: r.vi(), streams: r.vi(), reason: r.text(maxReason, "reason") }
		case Type.namespace:
			return { type: "namespace", suffix: readNamespace(r) }
		case Type.namespaceDone:
			return { type: "namespace done", suffix: readNamespace(r) }
		case Type.goAway: {
			const m: Message = { type: "go away", uri: r.text(maxURI, "URI"), timeout: r.vi() }
			if (r.left > 0) m.requestID = r.vi()
			return m
		}
		default:
			return { type: "other", number: type }
	}
}
