// Which broadcasts the relay has, as they come and go: namespaces, and what the catalogs of receivers and broadcasts say of them.
import { type Catalog, catalogOf, type ElementaryStream, parseCatalog, partsOf, transportStream } from "./moqt/catalog.ts"
import { type Namespace, type Track, hasPrefix, writeNamespace } from "./moqt/names.ts"
import type { Session } from "./moqt/session.ts"
import type { Broadcast } from "./protocol.ts"

const sources: Namespace = ["ec", "source"]
/** docs/format/chain.md: tells live from stored, at relays of this project */
const routes = ".ec-routes"

/** A track that can be played, and what it is made of. */
export interface Choice {
	track: Track
	catalog: Catalog
	streams: ElementaryStream[]
	/** why it does not play, or what will be missing; "" for nothing */
	hint: string
	short: string
	playable: boolean
}

interface Known {
	ns: Namespace
	catalog: Catalog | undefined
	/** catalogs of its variants, by name of the catalog's track */
	variants: Map<string, Catalog>
	stop: AbortController
}

const names: Record<string, string> = { h264: "H.264", hevc: "HEVC", mpeg2video: "MPEG-2", aac: "AAC", "aac-latm": "AAC (LATM)", mp2: "MPEG audio", ac3: "AC-3", eac3: "E-AC-3", ac4: "AC-4", vvc: "VVC" }
const videos = new Set(["mpeg1video", "mpeg2video", "mpeg4video", "h264", "hevc", "vvc", "evc", "lcevc", "vc1", "avs", "avs2", "avs3", "dirac", "av1", "vp9", "jpeg2000", "jpegxs"])
const audios = new Set(["mp2", "aac", "aac-latm", "mpeg4audio", "ac3", "eac3", "ac4", "dts", "dts-uhd", "truehd", "opus", "mpegh", "lpcm", "s302m", "avs-audio"])

export const nameOf = (codec: string): string => names[codec] ?? codec

export function codecsOf(streams: ElementaryStream[]): { video: string | undefined; audio: string | undefined } {
	return { video: streams.find((s) => videos.has(s.codec))?.codec, audio: streams.find((s) => audios.has(s.codec))?.codec }
}

/** Whether this page can play streams: H.264 and AAC, one of them at least. */
export function judge(streams: ElementaryStream[]): { playable: boolean; hint: string; short: string } {
	const { video, audio } = codecsOf(streams)
	const sees = video === undefined || video === "h264"
	const hears = audio === undefined || audio === "aac"
	if (video === undefined && audio === undefined) return { playable: false, hint: "Its catalog names neither picture nor sound.", short: "neither picture nor sound" }
	if (sees && hears) return { playable: true, hint: "", short: "" }
	if (video !== undefined && sees) return { playable: true, hint: `There is no sound: browsers do not play ${nameOf(audio!)}, and nobody publishes a rendition with AAC.`, short: "without sound" }
	const what = [sees ? "" : nameOf(video!), hears ? "" : nameOf(audio!)].filter(Boolean)
	return {
		playable: false,
		hint: `Browsers do not play ${what.join(" and ")}, and nobody publishes a rendition in H.264 and AAC, as ec-chop --rendition does. ec-sub --ts gives the broadcast as it is to any player.`,
		short: "not for browsers",
	}
}

export class Library {
	private known = new Map<string, Known>()
	private live: Set<string> | undefined
	private timer: ReturnType<typeof setTimeout> | undefined

	constructor(
		private readonly session: Session,
		private readonly changed: (list: Broadcast[]) => void,
		private readonly signal: AbortSignal,
	) {}

	/** Follows the list until the session ends or signal aborts. */
	async run(): Promise<void> {
		const all = this.session.namespaces(["ec"], this.signal, (suffix, there) => this.told(["ec", ...suffix], there))
		if (this.session.implementation.startsWith("every.channel")) {
			// Extra knowledge: without it everything counts as live.
			const live = new Set<string>()
			this.session
				.namespaces([routes], this.signal, (suffix, there) => {
					const [kind, path, ...ns] = suffix
					if (kind !== "live" || path === undefined) return
					this.live = live
					const key = writeNamespace(ns)
					if (there) live.add(key + " " + path)
					else live.delete(key + " " + path)
					this.update()
				})
				.catch(() => (this.live = undefined))
		}
		await all
	}

	private isLive(ns: Namespace): boolean {
		if (!this.live) return true
		// Somebody may have announced a prefix.
		for (let n = ns.length; n > 0; n--) {
			const key = writeNamespace(ns.slice(0, n)) + " "
			for (const l of this.live) if (l.startsWith(key)) return true
		}
		return false
	}

	private told(ns: Namespace, there: boolean): void {
		const key = writeNamespace(ns)
		if (!there) {
			this.known.get(key)?.stop.abort()
			this.known.delete(key)
			return this.update()
		}
		if (this.known.has(key) || ns.length < 4) return
		const k: Known = { ns, catalog: undefined, variants: new Map(), stop: new AbortController() }
		this.known.set(key, k)
		this.follow(k, { namespace: ns, name: "catalog" }, (c) => (k.catalog = c))
		this.update()
	}

	/** Reads the newest catalog of a track, and each that follows. */
	private follow(k: Known, track: Track, take: (c: Catalog) => void): void {
		const signal = k.stop.signal
		const one = (payload: Uint8Array): void => {
			try {
				take(parseCatalog(payload))
			} catch {
				return // a catalog that cannot be read leaves the one before
			}
			this.update()
		}
		const attempt = async (): Promise<void> => {
			const { past, live } = await this.session.join(track, (l) => ({ group: l.group, object: 0 }), signal)
			if (past) for await (const o of past) if (o.status === "normal") one(o.payload)
			for await (const g of live.subgroups) for await (const o of g.objects) if (o.status === "normal") one(o.payload)
		}
		// A namespace is announced before its first catalog is there.
		let wait = 100
		const again = (): void => {
			if (signal.aborted || this.signal.aborted) return
			setTimeout(() => attempt().catch(() => {}).finally(again), wait)
			wait = Math.min(3000, 2 * wait)
		}
		attempt().catch(() => {}).finally(again)
	}

	private update(): void {
		// Changes come in bursts.
		this.timer ??= setTimeout(() => {
			this.timer = undefined
			if (!this.signal.aborted) this.changed(this.list())
		}, 50)
	}

	/** The receivers that publish to a broadcast. */
	private receivers(id: string): Known[] {
		return [...this.known.values()].filter((k) => hasPrefix(k.ns, sources) && k.catalog?.broadcast && writeNamespace(k.catalog.broadcast) === id)
	}

	isOnAir(id: string): boolean {
		const k = this.known.get(id)
		return k !== undefined && this.isLive(k.ns)
	}

	receiversOf(id: string): Namespace[] {
		const all = this.receivers(id)
		const live = all.filter((k) => this.isLive(k.ns))
		return [...live, ...all.filter((k) => !live.includes(k))].map((k) => k.ns)
	}

	private list(): Broadcast[] {
		const out: Broadcast[] = []
		for (const [id, k] of this.known) {
			const source = hasPrefix(k.ns, sources)
			// A receiver that knows whose broadcast it hears is not one itself.
			if (source && (!k.catalog || k.catalog.broadcast)) continue
			const receivers = source ? [k] : this.receivers(id)
			receivers.sort((a, b) => Number(this.isLive(b.ns)) - Number(this.isLive(a.ns)))
			const labels = Object.assign({}, ...receivers.map((r) => r.catalog?.labels ?? {}).reverse()) as Record<string, string>
			const choice = this.choose(id)
			this.lookForVariants(k, receivers)
			const { video, audio } = codecsOf(choice?.streams ?? [])
			out.push({
				id,
				callsign: labels["callsign"] || labels["service"] || id,
				channel: labels["channel"] ?? "",
				service: labels["service"] ?? "",
				live: this.isLive(k.ns),
				codecs: [video, audio].filter((c) => c !== undefined).map(nameOf).join(", "),
				hint: choice ? choice.hint : "Its catalog has not come yet.",
				short: choice ? choice.short : "…",
				playable: choice?.playable ?? false,
				receivers: receivers.filter((r) => this.isLive(r.ns)).length,
			})
		}
		const number = (c: string): number => parseFloat(c) || Infinity
		return out.sort((a, b) => number(a.channel) - number(b.channel) || a.callsign.localeCompare(b.callsign))
	}

	/** Follows the catalogs of the renditions that receivers tell of. */
	private lookForVariants(k: Known, receivers: Known[]): void {
		for (const r of receivers) {
			const name = r.catalog?.broadcastTrack
			if (!name || partsOf(name).variant === "") continue
			const track = catalogOf({ namespace: k.ns, name })
			if (k.variants.has(track.name)) continue
			k.variants.set(track.name, { tracks: [], duration: 180_000, labels: {} })
			this.follow(k, track, (c) => k.variants.set(track.name, c))
		}
	}

	/** The track to play of a broadcast: its own if this browser plays it, else a rendition, else what of it plays. */
	choose(id: string): Choice | undefined {
		const k = this.known.get(id)
		if (!k) return undefined
		const choices: Choice[] = []
		for (const c of [k.catalog, ...k.variants.values()]) {
			const t = c && transportStream(c)
			if (!c || !t) continue
			choices.push({ track: { namespace: k.ns, name: t.name }, catalog: c, streams: t.streams, ...judge(t.streams) })
		}
		return choices.find((c) => c.playable && c.hint === "") ?? choices.find((c) => c.playable) ?? choices[0]
	}

	/**
	 * Where a live viewer of a track goes on; undefined: where it is. A receiver that has learnt whose broadcast it hears goes on under that
	 * broadcast's name, as soon as that plays; a clock that was set anew goes on in another track; and a better rendition may have come.
	 */
	onward(id: string, track: Track): { id: string; choice: Choice } | undefined {
		const heard = this.known.get(id)?.catalog?.broadcast
		for (const to of heard ? [writeNamespace(heard), id] : [id]) {
			if (!this.isOnAir(to)) continue
			const choice = this.choose(to)
			if (!choice) return undefined // its catalog is on the way
			if (choice.playable) return to === id && choice.track.name === track.name ? undefined : { id: to, choice }
		}
		return undefined
	}
}
