// Names of tracks and their written form (docs/format/names.md).
import { decodeText, encodeText, Malformed } from "./bytes.ts"

/** A namespace; fields are text here, which those of this project are. */
export type Namespace = string[]

export interface Track {
	namespace: Namespace
	name: string
}

export interface Location {
	group: number
	object: number
}

export const compare = (a: Location, b: Location): number => a.group - b.group || a.object - b.object

export const hasPrefix = (ns: Namespace, prefix: Namespace): boolean => prefix.every((f, i) => ns[i] === f)

function writeField(s: string): string {
	return Array.from(encodeText(s), (c) => {
		const letter = String.fromCharCode(c)
		return /[a-z0-9A-Z_]/.test(letter) ? letter : "." + c.toString(16).padStart(2, "0")
	}).join("")
}

function readField(s: string): string {
	if (!/^([a-zA-Z0-9_]|\.[0-9a-f]{2})*$/.test(s)) throw new Malformed(`${s} is not part of a name`)
	const bytes: number[] = []
	for (let i = 0; i < s.length; i++) {
		if (s[i] === ".") {
			bytes.push(parseInt(s.slice(i + 1, i + 3), 16))
			i += 2
		} else {
			bytes.push(s.charCodeAt(i))
		}
	}
	const text = decodeText(new Uint8Array(bytes))
	if (writeField(text) !== s) throw new Malformed(`${s} is not the written form of a name`)
	return text
}

export const writeNamespace = (ns: Namespace): string => ns.map(writeField).join("-")
export const writeTrack = (t: Track): string => writeNamespace(t.namespace) + "--" + writeField(t.name)

export function readNamespace(s: string): Namespace {
	const fields = s.split("-").map(readField)
	if (fields.some((f) => f === "") || fields.length > 32) throw new Malformed(`${s} is not a namespace`)
	return fields
}

export function readTrack(s: string): Track {
	const cut = s.indexOf("--")
	if (cut < 0) throw new Malformed(`${s} is not the name of a track`)
	return { namespace: readNamespace(s.slice(0, cut)), name: readField(s.slice(cut + 2)) }
}
