// Catalog, manifest and timeline (docs/format/catalog.md).
import { decodeText, Malformed } from "./bytes.ts"
import { readNamespace, readTrack, type Namespace, type Track } from "./names.ts"

export interface ElementaryStream {
	pid: number
	type: number
	codec: string
	lang?: string
}

export interface CatalogTrack {
	name: string
	packaging: string
	codec?: string
	streams: ElementaryStream[]
}

export interface Catalog {
	tracks: CatalogTrack[]
	/** the namespace of the broadcast that a source promotes to, and its track there */
	broadcast?: Namespace
	broadcastTrack?: string
	source?: Namespace
	/** the current transport stream track */
	track?: string
	/** hours by which the broadcast's clock is off, −13…13 */
	timeline?: number
	/** length of a chunk in 90 kHz ticks */
	duration: number
	labels: Record<string, string>
}

const isObject = (x: unknown): x is Record<string, unknown> => typeof x === "object" && x !== null && !Array.isArray(x)
const text = (x: unknown): string | undefined => (typeof x === "string" ? x : undefined)
const number = (x: unknown): number | undefined => (typeof x === "number" && Number.isFinite(x) ? x : undefined)

function json(b: Uint8Array, what: string): Record<string, unknown> {
	let x: unknown
	try {
		x = JSON.parse(decodeText(b))
	} catch {
		throw new Malformed(`${what} is not JSON`)
	}
	if (!isObject(x)) throw new Malformed(`${what} is not a JSON object`)
	return x
}

function streamsOf(x: unknown): ElementaryStream[] {
	if (!Array.isArray(x)) return []
	return x.filter(isObject).map((s) => {
		const lang = text(s["lang"])
		return { pid: number(s["pid"]) ?? 0, type: number(s["type"]) ?? 0, codec: text(s["codec"]) ?? "unknown", ...(lang ? { lang } : {}) }
	})
}

export function parseCatalog(b: Uint8Array): Catalog {
	const c = json(b, "the catalog")
	if (c["version"] === undefined && c["tracks"] === undefined) throw new Malformed("the catalog has neither version nor tracks")
	const ec = isObject(c["ec"]) ? c["ec"] : {}
	const tracks = (Array.isArray(c["tracks"]) ? c["tracks"] : []).filter(isObject).filter((t) => text(t["namespace"]) === undefined).map((t) => {
		const mine = isObject(t["ec"]) ? t["ec"] : {}
		const codec = text(t["codec"])
		return { name: text(t["name"]) ?? "", packaging: text(t["packaging"]) ?? "", streams: streamsOf(mine["streams"]), ...(codec ? { codec } : {}) }
	})
	const out: Catalog = { tracks, duration: number(ec["duration"]) || 180_000, labels: {} }
	const set = <K extends keyof Catalog>(key: K, value: Catalog[K] | undefined): void => {
		if (value !== undefined) out[key] = value
	}
	const broadcast = text(ec["broadcast"])
	const source = text(ec["source"])
	set("broadcast", broadcast === undefined ? undefined : readNamespace(broadcast))
	set("source", source === undefined ? undefined : readNamespace(source))
	set("broadcastTrack", text(ec["broadcastTrack"]))
	set("track", text(ec["track"]))
	set("timeline", number(ec["timeline"]))
	if (isObject(ec["labels"])) {
		for (const [k, v] of Object.entries(ec["labels"])) if (typeof v === "string") out.labels[k] = v
	}
	// The streams of the current track stand at the catalog, too.
	const own = streamsOf(ec["streams"])
	for (const t of tracks) if (t.streams.length === 0) t.streams = own
	return out
}

/** The transport stream track to play: the current one, else the last of packaging m2ts. */
export function transportStream(c: Catalog): CatalogTrack | undefined {
	const list = c.tracks.filter((t) => t.packaging === "m2ts")
	return list.find((t) => t.name === c.track) ?? list.at(-1)
}

/** A track's parts: `ts_<variant>_tNN` (docs/format/names.md). */
export function partsOf(name: string): { variant: string; hour: number | undefined } {
	const m = /^ts(?:_(.*?))??(?:_t(\d\d))?$/.exec(name)
	return { variant: m?.[1] ?? "", hour: m?.[2] === undefined ? undefined : Number(m[2]) - 13 }
}

/** The track of catalogs that describe a track. */
export function catalogOf(t: Track): Track {
	const { variant } = partsOf(t.name)
	return { namespace: t.namespace, name: variant === "" || variant === "unsynced" ? "catalog" : "catalog_" + variant }
}

export interface Entry {
	group: number
	track: Track
	pts: number
	/** ms since 1970 */
	utc: number | undefined
	/** manifest only */
	hash?: string
	objects?: number
	late?: boolean
	reason?: string
}

/** An entry of a manifest or a timeline. */
export function parseEntry(b: Uint8Array): Entry {
	const e = json(b, "an entry")
	if (e["v"] !== 1) throw new Malformed(`an entry of version ${String(e["v"])}, this page knows 1`)
	const track = text(e["track"])
	const group = number(e["group"])
	if (track === undefined || group === undefined) throw new Malformed("an entry without track or group")
	const at = text(e["utc"])
	const utc = at === undefined ? NaN : Date.parse(at)
	const out: Entry = { group, track: readTrack(track), pts: number(e["pts"]) ?? 0, utc: Number.isNaN(utc) ? undefined : utc }
	const hash = text(e["hash"])
	const objects = number(e["objects"])
	const reason = text(e["reason"])
	if (hash !== undefined) out.hash = hash
	if (objects !== undefined) out.objects = objects
	if (reason !== undefined) out.reason = reason
	if (e["late"] === true) out.late = true
	return out
}
