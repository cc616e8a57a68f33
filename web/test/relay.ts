// A relay that is made up, as a session to it.
import assert from "node:assert/strict"
import { encodeText } from "../src/moqt/bytes.ts"
import type { MoqObject } from "../src/moqt/data.ts"
import { type Location, type Namespace, type Track, writeTrack } from "../src/moqt/names.ts"
import { Refused, type Subgroup, type Subscription } from "../src/moqt/session.ts"
import { Queue } from "../src/moqt/stream.ts"

export const track: Track = { namespace: ["ec", "atsc", "2065", "4"], name: "ts_t13" }
export const text = (o: object): Uint8Array => encodeText(JSON.stringify(o))

/** Waits for something to be so, up to 10 s. */
export async function until(what: string, is: () => boolean): Promise<void> {
	for (const end = Date.now() + 10_000; !is(); await new Promise((done) => setTimeout(done, 5))) if (Date.now() > end) assert.fail(what)
}

async function* all(list: MoqObject[], error?: Error): AsyncGenerator<MoqObject> {
	for (const o of list) yield o
	if (error) throw error
}
export const subgroup = (list: MoqObject[], error?: Error): Subgroup => ({ group: list[0]!.group, objects: all(list, error), stop() {} })

/** What a made-up relay has of a track. */
export interface Store {
	past?: MoqObject[]
	live?: Queue<Subgroup>
}

export class Relay {
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
