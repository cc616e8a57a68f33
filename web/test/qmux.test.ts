// QMux by itself: two ends in one process, the server's side written by hand. That it talks to lib/moqt is shown end to end.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Reader, Writer } from "../src/moqt/bytes.ts"
import { Closed } from "../src/moqt/connection.ts"
import { QMux } from "../src/moqt/qmux.ts"
import { Reset } from "../src/moqt/stream.ts"

const parameters = 0x3f5153300d0a0d0an

interface Frame {
	kind: bigint
	fields: number[]
	data: Uint8Array
}

/** The server's end: what the client sent, and records to send it. */
class Server {
	frames: Frame[] = []
	closed = false
	readonly client = new QMux({ send: (b) => this.take(b), close: () => (this.closed = true) }, "moqt-18", "ws://test/")

	private take(b: Uint8Array): void {
		const r = new Reader(b)
		while (r.left > 0) {
			const kind = r.quicBig()
			const f: Frame = { kind, fields: [], data: new Uint8Array() }
			if (kind >= 8n && kind <= 15n) {
				f.fields = [r.quic(), r.quic()]
				f.data = r.take(r.quic()).slice()
			} else if (kind === parameters) {
				f.data = r.take(r.quic()).slice()
			} else if (kind === 0x04n) {
				f.fields = [r.quic(), r.quic(), r.quic()]
			} else if (kind === 0x05n || kind === 0x11n) {
				f.fields = [r.quic(), r.quic()]
			} else if (kind === 0x1cn) {
				f.fields = [r.quic(), r.quic()]
				f.data = r.take(r.quic()).slice()
			} else if (kind === 0x1dn) {
				f.fields = [r.quic()]
				f.data = r.take(r.quic()).slice()
			} else {
				f.fields = [r.quic()]
			}
			this.frames.push(f)
		}
	}

	send(body: (w: Writer) => void): void {
		const w = new Writer()
		body(w)
		this.client.record(w.done())
	}

	/** Streams of the client may carry so many bytes, all together and each. */
	begin(connection = 1 << 20, stream = 1 << 20, streams = 100): this {
		const p = new Writer()
		for (const [id, x] of [[0x04, connection], [0x06, stream], [0x07, stream], [0x08, streams], [0x09, streams]] as const) {
			const v = new Writer().quic(x).done()
			p.quic(id).quic(v.length).bytes(v)
		}
		const b = p.done()
		this.send((w) => w.quic(parameters).quic(b.length).bytes(b))
		return this
	}

	of(kind: number): Frame[] {
		return this.frames.filter((f) => f.kind === BigInt(kind))
	}

	stream(id: number, offset: number, data: Uint8Array, fin = false): void {
		this.send((w) => w.quic(0x0e | (fin ? 1 : 0)).quic(id).quic(offset).quic(data.length).bytes(data))
	}

	end(): void {
		this.client.close(0, "")
	}
}

const bytes = (n: number, x = 7): Uint8Array => new Uint8Array(n).fill(x)

test("parameters come first; streams go both ways, in order", async () => {
	const s = new Server()
	assert.equal(s.frames[0]!.kind, parameters)
	s.begin()
	const b = await s.client.open()
	await b.out.write(bytes(3))
	b.out.close()
	assert.deepEqual(s.frames.filter((f) => f.kind >= 8n && f.kind <= 15n).map((f) => [f.kind, ...f.fields, f.data.length]), [[0x0en, 0, 0, 3], [0x0fn, 0, 3, 0]])
	s.stream(0, 0, bytes(2, 1))
	s.stream(0, 2, bytes(2, 2), true)
	assert.deepEqual([...(await b.in.read())!], [1, 1])
	assert.deepEqual([...(await b.in.read())!], [2, 2])
	assert.equal(await b.in.read(), null)
	s.stream(3, 0, bytes(1), true)
	const u = await s.client.acceptUni()
	assert.equal((await u.read())!.length, 1)
	assert.equal(await u.read(), null)
	s.end()
})

test("nothing is sent beyond the other side's credit", async () => {
	const s = new Server().begin(10, 6, 2)
	const sent = (): number => s.frames.filter((f) => f.kind >= 8n && f.kind <= 15n).reduce((n, f) => n + f.data.length, 0)
	const [a, b] = [await s.client.openUni(), await s.client.openUni()]
	let third = false
	void s.client.openUni().then(() => (third = true))
	const writes = [a.write(bytes(8)), b.write(bytes(8))]
	assert.equal(sent(), 10, "6 of the first stream, 4 that the connection has left")
	s.send((w) => w.quic(0x10).quic(100)) // MAX_DATA
	assert.equal(sent(), 12)
	s.send((w) => w.quic(0x11).quic(2).quic(8)) // MAX_STREAM_DATA
	s.send((w) => w.quic(0x11).quic(6).quic(8))
	await Promise.all(writes)
	assert.equal(sent(), 16)
	assert.equal(third, false)
	s.send((w) => w.quic(0x13).quic(3)) // MAX_STREAMS
	await new Promise((done) => setImmediate(done))
	assert.equal(third, true)
	s.end()
})

test("credit is given as bytes are read, and not before", async () => {
	const s = new Server().begin()
	s.stream(3, 0, bytes(60_000))
	const u = await s.client.acceptUni()
	let offset = 60_000
	for (; offset < 450_000; offset += 60_000) s.stream(3, offset, bytes(60_000))
	assert.equal(s.of(0x11).length, 0)
	for (let n = 0; n < 6; n++) await u.read()
	const [grant] = s.of(0x11)
	assert.ok(grant && grant.fields[1]! >= offset, `granted up to ${grant?.fields[1]}`)
	s.end()
})

test("what breaks the rules ends the connection, and is told", async () => {
	const cases: [string, (s: Server) => void][] = [
		["more than a stream's credit", (s) => s.stream(3, 0, bytes((512 << 10) + 1))],
		["an offset that skips", (s) => s.stream(3, 5, bytes(1))],
		["a stream that was never opened", (s) => s.stream(0, 0, bytes(1))],
		["too many streams", (s) => s.stream(3 + 4 * 5000, 0, bytes(1))],
		["data behind the end", (s) => (s.stream(3, 0, bytes(1), true), s.stream(3, 1, bytes(1)))],
		["a frame that nobody knows", (s) => s.send((w) => w.quic(0x3f))],
		["parameters twice", (s) => s.begin()],
		["half a frame", (s) => s.send((w) => w.quic(0x0e).quic(3))],
	]
	for (const [what, act] of cases) {
		const s = new Server().begin()
		act(s)
		assert.equal(s.of(0x1c).length, 1, what)
		await s.client.closed
		assert.ok(s.closed, what)
		await assert.rejects(s.client.acceptUni().then(() => s.client.acceptUni()), Closed, what)
	}
	const early = new Server()
	early.stream(3, 0, bytes(1))
	assert.equal(early.of(0x1c).length, 1, "a stream before parameters")
})

test("resets in both directions", async () => {
	const s = new Server().begin()
	s.stream(3, 0, bytes(5))
	const u = await s.client.acceptUni()
	s.send((w) => w.quic(0x04).quic(3).quic(9).quic(100)) // RESET_STREAM
	await u.read()
	await assert.rejects(u.read(), (err) => err instanceof Reset && err.code === 9)
	s.stream(7, 0, bytes(5))
	const v = await s.client.acceptUni()
	v.stop(4)
	assert.deepEqual(s.of(0x05)[0]!.fields, [7, 4])
	s.stream(7, 5, bytes(5), true) // was on its way
	const b = await s.client.open()
	s.send((w) => w.quic(0x05).quic(0).quic(3)) // STOP_SENDING
	assert.deepEqual(s.of(0x04)[0]!.fields, [0, 3, 0])
	await assert.rejects(b.out.write(bytes(1)), Reset)
	s.end()
})

test("streams that ended make room for others", async () => {
	const s = new Server().begin()
	for (let i = 0; i < 1000; i++) {
		s.stream(3 + 4 * i, 0, bytes(1), true)
		await (await s.client.acceptUni()).read()
	}
	assert.ok(s.of(0x13).at(-1)!.fields[0]! > 1000)
	s.end()
})

test("pings are answered, an end has a reason", async () => {
	const s = new Server().begin()
	s.send((w) => w.quic(0x348c67529ef8c7bdn).quic(12))
	assert.deepEqual(s.frames.at(-1), { kind: 0x348c67529ef8c7ben, fields: [12], data: new Uint8Array() })
	s.send((w) => w.quic(0x1d).quic(0x10).quic(4).bytes(new TextEncoder().encode("gone")))
	const why = await s.client.closed
	assert.equal(why.code, 0x10)
	assert.equal(why.reason, "gone")
	await assert.rejects(s.client.open(), Closed)
})
