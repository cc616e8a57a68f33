// Data streams of draft-ietf-moq-transport-18 (§11): subgroups and answers to FETCH.
import { exact, Malformed, Reader } from "./bytes.ts"
import type { StreamReader } from "./stream.ts"

export const fetchStream = 0x05
export const paddingStream = 0x132b3e28

export const isSubgroup = (type: number): boolean => type < 0x80 && (type & 0x10) !== 0 && (type & 0x06) !== 0x06

/** What an object is besides its payload (docs/format/properties.md). */
export interface Properties {
	/** of the first video access unit, 90 kHz, 33 bits */
	pts?: number
	blake3?: Uint8Array
	duration?: number
	randomAccess: boolean
	discontinuity: boolean
}

/** An object, or what stands for several that are not there. */
export interface MoqObject {
	group: number
	object: number
	/** normal; 3: the group ends before this object, 4: the track does; "gap": nothing is known up to here, "none": nothing exists */
	status: "normal" | "end of group" | "end of track" | "gap" | "none"
	properties: Properties
	payload: Uint8Array
}

const maxProperties = 0xffff
const maxPayload = 64 << 20

export interface SubgroupHeader {
	alias: number
	group: number
	endOfGroup: boolean
	hasProperties: boolean
}

/** SUBGROUP_HEADER behind its type (§11.4.2). */
export async function readSubgroupHeader(r: StreamReader, type: number): Promise<SubgroupHeader> {
	const alias = exact(await r.vi(), "track alias")
	const group = exact(await r.vi(), "group id")
	if ((type & 0x06) === 0x04) await r.vi() // subgroup id
	if ((type & 0x20) === 0) await r.bytes(1) // priority
	return { alias, group, endOfGroup: (type & 0x08) !== 0, hasProperties: (type & 0x01) !== 0 }
}

/** The objects of a subgroup, to the end of its stream. */
export async function* readSubgroup(r: StreamReader, h: SubgroupHeader): AsyncGenerator<MoqObject> {
	for (let before = -1; !(await r.atEnd()); ) {
		const id = exact(before + 1 + (await r.vi()), "object id")
		before = id
		const properties = h.hasProperties ? await readProperties(r) : noProperties()
		const length = await r.vi()
		let status: MoqObject["status"] = "normal"
		if (length === 0) status = statusOf(await r.vi())
		yield { group: h.group, object: id, status, properties, payload: await readPayload(r, length) }
	}
	if (h.endOfGroup) yield { group: h.group, object: -1, status: "end of group", properties: noProperties(), payload: new Uint8Array() }
}

function statusOf(x: number): MoqObject["status"] {
	switch (x) {
		case 0:
			return "normal"
		case 3:
			return "end of group"
		case 4:
			return "end of track"
	}
	throw new Malformed(`object status ${x}`)
}

async function readPayload(r: StreamReader, length: number): Promise<Uint8Array> {
	if (length > maxPayload) throw new Malformed(`object of ${length} bytes`)
	return r.bytes(length)
}

/** The objects behind a FETCH_HEADER (§11.4.4); ids are differences to the object before. */
export async function* readFetch(r: StreamReader): AsyncGenerator<MoqObject> {
	let group = -1
	let object = -1
	while (!(await r.atEnd())) {
		const flags = await r.vi()
		const range = flags === 0x8c ? "none" : flags === 0x10c ? "gap" : undefined
		if (flags >= 0x80 && !range) throw new Malformed(`fetch flags 0x${flags.toString(16)}`)
		const first = group < 0
		if (first && (flags & 0x0c) !== 0x0c) throw new Malformed("the first object of a fetch has no location")
		const before = { group, object }
		const hasGroup = (flags & 0x08) !== 0
		if (hasGroup) {
			const x = await r.vi()
			group = first || range ? x : before.group + x + 1
		}
		if (!range && (flags & 0x40) === 0 && (flags & 0x03) === 0x03) await r.vi() // subgroup id
		if ((flags & 0x04) !== 0) {
			const x = await r.vi()
			object = first || range || hasGroup ? x : before.object + x
		} else {
			object = before.object + 1
		}
		if (range) { // it has nothing else, no payload length either, and may end at the last id that there can be
			yield { group, object, status: range, properties: noProperties(), payload: new Uint8Array() }
			continue
		}
		exact(group, "group id")
		exact(object, "object id")
		if ((flags & 0x10) !== 0) await r.bytes(1) // priority
		const properties = (flags & 0x20) !== 0 ? await readProperties(r) : noProperties()
		const length = await r.vi()
		yield { group, object, status: "normal", properties, payload: await readPayload(r, length) }
	}
}

export const noProperties = (): Properties => ({ randomAccess: false, discontinuity: false })

async function readProperties(r: StreamReader): Promise<Properties> {
	const length = await r.vi()
	if (length > maxProperties) throw new Malformed(`properties of ${length} bytes`)
	return parseProperties(await r.bytes(length))
}

/** Key-value pairs: even types hold an integer, odd types bytes (§1.4.3). */
export function parseProperties(b: Uint8Array): Properties {
	const p = noProperties()
	const r = new Reader(b)
	for (let type = 0; r.left > 0; ) {
		type += r.vi()
		if (type % 2 === 1) {
			const value = r.lengthBytes(maxProperties, "property")
			if (type === 0x3ec1) {
				if (value.length !== 32) throw new Malformed(`a BLAKE3 hash of ${value.length} bytes`)
				p.blake3 = value.slice()
			}
			continue
		}
		const value = r.vi()
		if (type === 0x3ec0) p.pts = value
		if (type === 0x3ec2) p.duration = value
		if (type === 0x3ec4) {
			p.randomAccess = (value & 1) !== 0
			p.discontinuity = (value & 2) !== 0
		}
	}
	return p
}
