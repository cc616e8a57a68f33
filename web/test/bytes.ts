// Helpers of the tests.
import { readFileSync } from "node:fs"
import type { Incoming } from "../src/moqt/stream.ts"

export const testdata = (name: string): Buffer => readFileSync(new URL("../../testdata/" + name, import.meta.url))
export const unhex = (s: string): Uint8Array => new Uint8Array(Buffer.from(s, "hex"))
export const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex")

/** A stream of these bytes, in pieces of a size. */
export function incoming(b: Uint8Array, piece = b.length): Incoming {
	let at = 0
	return {
		async read() {
			if (at >= b.length) return null
			at += piece
			return b.subarray(at - piece, at)
		},
		stop() {},
	}
}
