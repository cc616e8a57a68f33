// A session against a connection that is made up.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Writer } from "../src/moqt/bytes.ts"
import { type Bidirectional, Closed, type Connection } from "../src/moqt/connection.ts"
import { draftOf } from "../src/moqt/draft.ts"
import { Session } from "../src/moqt/session.ts"
import { type Incoming, Queue } from "../src/moqt/stream.ts"

const message = (type: number, body: Uint8Array): Uint8Array => new Writer().vi(type).bytes(Uint8Array.of(body.length >> 8, body.length & 0xff)).bytes(body).done()

/** A stream's incoming half, which brings what is pushed. */
class In implements Incoming {
	readonly pieces = new Queue<Uint8Array>()
	stopped = false
	async read(): Promise<Uint8Array | null> {
		const { value, done } = await this.pieces.next()
		return done ? null : value
	}
	stop(): void {
		this.stopped = true
	}
}

interface Asked {
	in: In
	reset: boolean
}

/** A connection to a relay that has sent its SETUP and answers nothing by itself. */
async function begin(): Promise<{ session: Session; asked: Asked[] }> {
	const asked: Asked[] = []
	const never = <T>(): Promise<T> => new Promise(() => {})
	const setUp = new In()
	setUp.pieces.push(message(draftOf("moqt-18")!.setupStream, new Uint8Array()))
	const uni = [setUp]
	const connection: Connection = {
		transport: "WebSocket",
		protocol: "moqt-18",
		address: "",
		closed: never<Closed>(),
		close() {},
		openUni: async () => ({ write: async () => {}, close() {}, reset() {} }),
		accept: never,
		acceptUni: async () => uni.shift() ?? never(),
		async open(): Promise<Bidirectional> {
			const a: Asked = { in: new In(), reset: false }
			asked.push(a)
			return { in: a.in, out: { write: async () => {}, close() {}, reset: () => (a.reset = true) } }
		},
	}
	return { session: await Session.open(connection, draftOf("moqt-18")!), asked }
}

test("a subscription that is given up before its answer came is ended when it comes", async () => {
	const { session, asked } = await begin()
	const stop = new AbortController()
	const joined = session.join({ namespace: ["ec"], name: "ts" }, (l) => l, stop.signal)
	while (asked.length === 0) await new Promise((done) => setImmediate(done))
	stop.abort()
	asked[0]!.in.pieces.push(message(0x04, Uint8Array.of(7, 0))) // SUBSCRIBE_OK with alias 7 and no parameters
	const { live } = await joined
	assert.ok(asked[0]!.reset && asked[0]!.in.stopped, "the relay is told")
	assert.deepEqual(await live.subgroups.next(), { value: undefined, done: true })
})

test("a fetch that is given up before it was sent is ended", async () => {
	const { session, asked } = await begin()
	const stop = new AbortController()
	const objects = session.fetch({ namespace: ["ec"], name: "ts" }, { group: 1, object: 0 }, { group: 2, object: 0 }, stop.signal)
	const next = objects.next()
	stop.abort()
	assert.equal((await next).done, true)
	assert.ok(asked[0]!.reset && asked[0]!.in.stopped, "the relay is told")
})
