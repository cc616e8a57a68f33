// What is checked of a broadcast: each object against the hash that came with it, each whole chunk against a receiver's manifest.
import { blake3 } from "@noble/hashes/blake3.js"
import type { Entry } from "./moqt/catalog.ts"
import type { MoqObject } from "./moqt/data.ts"
import { type Track, writeTrack } from "./moqt/names.ts"
import type { Checks } from "./protocol.ts"

export const noChecks = (): Checks => ({ right: 0, wrong: 0, without: 0, bytes: 0, confirmed: 0, contradicted: 0, first: "" })

const hex = (b: Uint8Array): string => Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("")
const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((x, i) => x === b[i])

export class Checker {
	private readonly counts = noChecks()
	private readonly chunks = new Map<number, string>() // group: hash of the chunk as it came
	private readonly manifest = new Map<number, Entry>()

	constructor(private readonly tell: (c: Checks) => void) {}

	/** Another track begins: what is known of chunks was of the one before. The counts go on. */
	forget(): void {
		this.chunks.clear()
		this.manifest.clear()
	}

	/** Compares an object's payload with the hash that came with it. */
	object(o: MoqObject, track: Track): boolean {
		const c = this.counts
		c.bytes += o.payload.length
		let right = true
		if (!o.properties.blake3) {
			c.without++
		} else if (same(blake3(o.payload), o.properties.blake3)) {
			c.right++
		} else {
			right = false
			c.wrong++
			c.first ||= `Object ${o.object} of group ${o.group} of ${writeTrack(track)} is not what its publisher sent: its BLAKE3 hash is another. It is not shown. Whoever stands between the publisher and you changed it.`
		}
		this.tell({ ...c })
		return right
	}

	/** A chunk is whole; these are the hashes of its objects. */
	chunk(group: number, hashes: Uint8Array[]): void {
		const all = new Uint8Array(32 * hashes.length)
		for (const [i, h] of hashes.entries()) all.set(h, 32 * i)
		remember(this.chunks, group, `${hashes.length} ${hex(blake3(all))}`)
		this.compare(group)
	}

	/** What a receiver's manifest says of a chunk. */
	entry(e: Entry): void {
		remember(this.manifest, e.group, e)
		this.compare(e.group)
	}

	private compare(group: number): void {
		const e = this.manifest.get(group)
		const h = this.chunks.get(group)
		if (!e || !h) return
		this.chunks.delete(group)
		if (h === `${e.objects} ${e.hash}`) {
			this.counts.confirmed++
		} else {
			this.counts.contradicted++
			this.counts.first ||= `Chunk ${group} is not the one that a receiver's manifest names: another hash.`
		}
		this.tell({ ...this.counts })
	}
}

/** Keeps the newest 300. */
function remember<T>(m: Map<number, T>, key: number, value: T): void {
	m.set(key, value)
	for (const k of m.keys()) {
		if (m.size <= 300) break
		m.delete(k)
	}
}
