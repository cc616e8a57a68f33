// QMux over a WebSocket (docs/format/qmux.md): the client's side, with streams, flow control, resets and pings, and without datagrams.
import { Closed, type Bidirectional, type Connection } from "./connection.ts"
import { encodeText, decodeText, Malformed, Reader, Writer } from "./bytes.ts"
import { type Incoming, type Outgoing, Queue, Reset } from "./stream.ts"

// Frame types (RFC 9000 §19, and §4 of draft-ietf-quic-qmux).
const parametersFrame = 0x3f5153300d0a0d0an
const ping = 0x348c67529ef8c7bdn
const pong = 0x348c67529ef8c7ben
const maxRecordSize = 0x0571c59429cd0845n

/** How many streams of a kind the other side may have open, and how much of each may wait to be read. */
const maxStreams = 64
const streamWindow = 512 << 10
/** All of them full: a stream that nobody reads holds up no other. */
const window = 2 * maxStreams * streamWindow
const idle = 30_000
const maxRecord = 66_560
/** What is written per record; requests are small. */
const piece = 8 << 10

class Stream {
	// what the other side writes
	private readonly arrived = new Queue<Uint8Array>()
	received = 0
	consumed = 0
	granted: number
	receiving: boolean
	stopped = false
	// what this side writes
	sent = 0
	limit = 0
	private waiting: { b: Uint8Array; done: () => void; failed: (err: unknown) => void }[] = []
	private closing = false
	sending: boolean

	constructor(
		readonly id: number,
		private readonly mux: QMux,
		receiving: boolean,
		sending: boolean,
	) {
		this.receiving = receiving
		this.sending = sending
		this.granted = streamWindow
	}

	/** Bytes came; end is their stream's end. */
	receive(b: Uint8Array, end: boolean): void {
		if (!this.receiving) {
			if (b.length > 0) throw new Malformed(`stream ${this.id} goes on after its end`)
			return
		}
		this.received += b.length
		if (this.received > this.granted) throw new Malformed(`stream ${this.id}: more than its credit`)
		if (b.length > 0) {
			if (this.stopped) this.mux.consume(b.length)
			else this.arrived.push(b)
		}
		if (end) this.receiveOver()
	}

	resetByPeer(code: number, size: number): void {
		if (!this.receiving) return
		const unseen = Math.max(0, size - this.received)
		this.mux.count(unseen)
		this.mux.consume(unseen)
		this.receiveOver(new Reset(code))
	}

	private receiveOver(err?: unknown): void {
		this.receiving = false
		this.arrived.end(err)
		this.mux.over(this)
	}

	in: Incoming = {
		read: async () => {
			const { value, done } = await this.arrived.next()
			if (done) return null
			this.consumed += value.length
			this.mux.consume(value.length)
			if (this.receiving && this.granted - this.consumed < streamWindow / 2) {
				this.granted = this.consumed + streamWindow
				this.mux.send((w) => w.quic(0x11).quic(this.id).quic(this.granted)) // MAX_STREAM_DATA
			}
			return value
		},
		stop: (code) => {
			if (!this.receiving || this.stopped) return
			this.stopped = true
			this.mux.send((w) => w.quic(0x05).quic(this.id).quic(code)) // STOP_SENDING
			const unread = this.received - this.consumed
			this.consumed = this.received
			this.mux.consume(unread)
			this.arrived.end(new Reset(code))
		},
	}

	out: Outgoing = {
		write: (b) =>
			new Promise((done, failed) => {
				if (!this.sending) return failed(new Reset(0))
				this.waiting.push({ b, done, failed })
				this.flush()
			}),
		close: () => {
			if (!this.sending || this.closing) return
			this.closing = true
			this.flush()
		},
		reset: (code) => {
			if (!this.sending) return
			this.mux.send((w) => w.quic(0x04).quic(this.id).quic(code).quic(this.sent)) // RESET_STREAM
			this.sendOver(code)
		},
	}

	stoppedByPeer(code: number): void {
		this.out.reset(code)
	}

	private sendOver(code: number): void {
		this.sending = false
		for (const w of this.waiting) w.failed(new Reset(code))
		this.waiting = []
		this.mux.over(this)
	}

	/** Writes what credit allows. */
	flush(): void {
		while (this.sending) {
			const first = this.waiting[0]
			if (!first) break
			const n = Math.min(first.b.length, piece, this.limit - this.sent, this.mux.credit())
			if (n <= 0 && first.b.length > 0) return
			const part = first.b.subarray(0, n)
			this.frame(part, false)
			first.b = first.b.subarray(n)
			if (first.b.length === 0) {
				this.waiting.shift()
				first.done()
			}
		}
		if (this.sending && this.closing && this.waiting.length === 0) {
			this.frame(new Uint8Array(), true)
			this.sending = false
			this.mux.over(this)
		}
	}

	private frame(b: Uint8Array, fin: boolean): void {
		const offset = this.sent
		this.sent += b.length
		this.mux.spent += b.length
		this.mux.send((w) => w.quic(0x0e | (fin ? 1 : 0)).quic(this.id).quic(offset).quic(b.length).bytes(b)) // STREAM
	}

	fail(err: unknown): void {
		this.receiving = false
		this.arrived.end(err)
		this.sending = false
		for (const w of this.waiting) w.failed(err)
		this.waiting = []
	}
}

/** One connection. `socket` is what it needs of a WebSocket, so that tests can do without. */
export class QMux implements Connection {
	readonly transport = "WebSocket"
	readonly closed: Promise<Closed>
	readonly ready: Promise<void>
	spent = 0

	private end!: (why: Closed) => void
	private ended: Closed | undefined
	private begin!: () => void
	private known = false
	private streams = new Map<number, Stream>()
	private bidi = new Queue<Bidirectional>()
	private uni = new Queue<Incoming>()
	private limit = 0 // MAX_DATA of the other side
	private received = 0
	private consumed = 0
	private granted = window
	private next = { bidi: 0, uni: 0 }
	private allowed = { bidi: 0, uni: 0 }
	private opening: (() => void)[] = []
	private theirs = { bidi: { next: 0, granted: maxStreams, over: 0 }, uni: { next: 0, granted: maxStreams, over: 0 } }
	private initial = { bidi: 0, uni: 0 }
	private pinged = 0n
	private heard = Date.now()
	private timer: ReturnType<typeof setInterval>

	constructor(
		private readonly socket: { send(b: Uint8Array<ArrayBuffer>): void; close(): void },
		readonly protocol: string,
		readonly address: string,
	) {
		this.closed = new Promise((resolve) => (this.end = resolve))
		this.ready = new Promise((resolve, reject) => {
			this.begin = resolve
			this.closed.then(reject)
		})
		this.ready.catch(() => {})
		const p = new Writer()
		const number = (id: number | bigint, x: number): void => {
			const v = new Writer().quic(x).done()
			p.quic(id).quic(v.length).bytes(v)
		}
		number(0x01, idle)
		number(0x04, window)
		for (const id of [0x05, 0x06, 0x07]) number(id, streamWindow)
		for (const id of [0x08, 0x09]) number(id, maxStreams)
		number(maxRecordSize, maxRecord)
		const b = p.done()
		this.send((w) => w.quic(parametersFrame).quic(b.length).bytes(b))
		this.timer = setInterval(() => {
			if (Date.now() - this.heard > idle) return this.lost("nothing was heard for 30 s")
			if (this.known) this.send((w) => w.quic(ping).quic(++this.pinged))
		}, idle / 3)
	}

	send(body: (w: Writer) => void): void {
		if (this.ended) return
		const w = new Writer()
		body(w)
		this.socket.send(w.done() as Uint8Array<ArrayBuffer>)
	}

	/** What may still be sent. */
	credit(): number {
		return this.limit - this.spent
	}

	count(n: number): void {
		this.received += n
		if (this.received > this.granted) throw new Malformed("more than the connection's credit")
	}

	consume(n: number): void {
		this.consumed += n
		if (this.granted - this.consumed < window / 2) {
			this.granted = this.consumed + window
			this.send((w) => w.quic(0x10).quic(this.granted)) // MAX_DATA
		}
	}

	/** A half of a stream is over; when both are, another may be opened. */
	over(s: Stream): void {
		if (s.receiving || s.sending || !this.streams.delete(s.id)) return
		if ((s.id & 1) === 0) return
		const kind = (s.id & 2) === 0 ? "bidi" : "uni"
		const t = this.theirs[kind]
		t.over++
		if (t.granted - t.over <= maxStreams / 2) {
			t.granted = t.over + maxStreams
			this.send((w) => w.quic(kind === "bidi" ? 0x12 : 0x13).quic(t.granted)) // MAX_STREAMS
		}
	}

	/** A record came. */
	record(b: Uint8Array): void {
		if (this.ended) return
		this.heard = Date.now()
		try {
			const r = new Reader(b)
			while (r.left > 0) this.frame(r)
			if (!this.known) throw new Malformed("no transport parameters")
		} catch (err) {
			const why = err instanceof Error ? err.message : String(err)
			this.finish(new Closed(3, why), (w) => w.quic(0x1c).quic(0x0a).quic(0).quic(encodeText(why).length).bytes(encodeText(why)))
		}
	}

	private frame(r: Reader): void {
		const kind = r.quicBig()
		if (kind === 0n) return
		if (this.known === (kind === parametersFrame)) throw new Malformed("transport parameters must come first, and once")
		if (kind >= 0x08n && kind <= 0x0fn) {
			const flags = Number(kind)
			const id = r.quic()
			const s = this.find(id, false)
			if ((flags & 4) !== 0) {
				const offset = r.quic()
				if (s?.receiving && offset !== s.received) throw new Malformed(`stream ${id}: offset ${offset}, not ${s.received}`)
			}
			const data = (flags & 2) !== 0 ? r.take(r.quic()) : r.rest()
			this.count(data.length)
			if (s) s.receive(data, (flags & 1) !== 0)
			else if (data.length > 0) throw new Malformed(`stream ${id} goes on after its end`)
			return
		}
		switch (kind) {
			case 0x04n: {
				const [id, code, size] = [r.quic(), r.quic(), r.quic()]
				this.find(id, false)?.resetByPeer(code, size)
				break
			}
			case 0x05n: {
				const [id, code] = [r.quic(), r.quic()]
				this.find(id, true)?.stoppedByPeer(code)
				break
			}
			case 0x10n:
				this.limit = Math.max(this.limit, r.quic())
				for (const s of this.streams.values()) s.flush()
				break
			case 0x11n: {
				const [id, limit] = [r.quic(), r.quic()]
				const s = this.find(id, true)
				if (s) {
					s.limit = Math.max(s.limit, limit)
					s.flush()
				}
				break
			}
			case 0x12n:
			case 0x13n: {
				const of = kind === 0x12n ? "bidi" : "uni"
				this.allowed[of] = Math.max(this.allowed[of], r.quic())
				for (const w of this.opening.splice(0)) w()
				break
			}
			case 0x14n:
			case 0x16n:
			case 0x17n:
				r.quic() // credit is given as it comes free
				break
			case 0x15n:
				r.quic()
				r.quic()
				break
			case 0x1cn:
			case 0x1dn: {
				const code = r.quic()
				if (kind === 0x1cn) r.quic()
				const reason = decodeText(r.take(r.quic()))
				this.finish(new Closed(code, reason))
				break
			}
			case 0x30n:
				r.rest() // datagrams were not offered
				break
			case 0x31n:
				r.take(r.quic())
				break
			case ping: {
				const n = r.quicBig()
				this.send((w) => w.quic(pong).quic(n))
				break
			}
			case pong:
				r.quicBig()
				break
			case parametersFrame:
				this.learn(r.take(r.quic()))
				break
			default:
				throw new Malformed(`frame of type 0x${kind.toString(16)}`)
		}
	}

	private learn(b: Uint8Array): void {
		const r = new Reader(b)
		while (r.left > 0) {
			const id = r.quicBig()
			const value = new Reader(r.take(r.quic()))
			switch (id) {
				case 0x04n:
					this.limit = value.quic()
					break
				case 0x06n:
					this.initial.bidi = value.quic()
					break
				case 0x07n:
					this.initial.uni = value.quic()
					break
				case 0x08n:
					this.allowed.bidi = value.quic()
					break
				case 0x09n:
					this.allowed.uni = value.quic()
			}
		}
		this.known = true
		this.begin()
	}

	/** The stream of a frame, or undefined for one that is over. mine: the frame speaks of what this side sends. */
	private find(id: number, mine: boolean): Stream | undefined {
		const index = Math.floor(id / 4)
		const kind = (id & 2) === 0 ? "bidi" : "uni"
		const own = (id & 1) === 0
		if (kind === "uni" && own !== mine) throw new Malformed(`stream ${id} goes the other way`)
		if (own) {
			if (index >= this.next[kind]) throw new Malformed(`stream ${id} was not opened`)
			return this.streams.get(id)
		}
		const t = this.theirs[kind]
		if (index >= t.granted) throw new Malformed(`stream ${id}: too many streams`)
		for (; t.next <= index; t.next++) {
			const s = new Stream(t.next * 4 + (id & 3), this, true, kind === "bidi")
			s.limit = this.initial.bidi
			this.streams.set(s.id, s)
			if (kind === "bidi") this.bidi.push({ in: s.in, out: s.out })
			else this.uni.push(s.in)
		}
		return this.streams.get(id)
	}

	private async openStream(kind: "bidi" | "uni"): Promise<Stream> {
		await this.ready
		while (this.next[kind] >= this.allowed[kind]) {
			if (this.ended) throw this.ended
			await Promise.race([new Promise<void>((done) => this.opening.push(done)), this.closed])
		}
		if (this.ended) throw this.ended
		const s = new Stream(this.next[kind]++ * 4 + (kind === "uni" ? 2 : 0), this, kind === "bidi", true)
		s.limit = this.initial[kind]
		this.streams.set(s.id, s)
		return s
	}

	async open(): Promise<Bidirectional> {
		const s = await this.openStream("bidi")
		return { in: s.in, out: s.out }
	}

	async openUni(): Promise<Outgoing> {
		return (await this.openStream("uni")).out
	}

	async accept(): Promise<Bidirectional> {
		const { value, done } = await this.bidi.next()
		if (done) throw this.ended
		return value
	}

	async acceptUni(): Promise<Incoming> {
		const { value, done } = await this.uni.next()
		if (done) throw this.ended
		return value
	}

	/** The socket ended. */
	lost(reason: string): void {
		this.finish(new Closed(undefined, reason))
	}

	close(code: number, reason: string): void {
		this.finish(new Closed(code, reason), (w) => w.quic(0x1d).quic(code).quic(encodeText(reason).length).bytes(encodeText(reason)))
	}

	private finish(why: Closed, last?: (w: Writer) => void): void {
		if (this.ended) return
		if (last) this.send(last)
		this.ended = why
		clearInterval(this.timer)
		for (const s of this.streams.values()) s.fail(why)
		this.streams.clear()
		this.bidi.end(why)
		this.uni.end(why)
		this.end(why)
		for (const w of this.opening.splice(0)) w()
		this.socket.close()
	}
}

/** Connects over a WebSocket, whose subprotocol says the draft. */
export function connectWebSocket(address: string, protocols: string[], signal: AbortSignal): Promise<Connection> {
	return new Promise((resolve, reject) => {
		const offered = protocols.flatMap((p) => [`qmux-02.${p}`, `qmux-01.${p}`])
		const ws = new WebSocket(address, offered)
		ws.binaryType = "arraybuffer"
		let mux: QMux | undefined
		const abort = (): void => ws.close()
		signal.addEventListener("abort", abort)
		ws.onopen = () => {
			const protocol = ws.protocol.slice(ws.protocol.indexOf(".") + 1)
			if (!protocols.includes(protocol)) {
				ws.close()
				return reject(new Closed(undefined, `the relay chose "${ws.protocol}", which was not offered`))
			}
			mux = new QMux({ send: (b) => ws.readyState === WebSocket.OPEN && ws.send(b), close: () => ws.close() }, protocol, address)
			mux.ready.then(() => {
				signal.removeEventListener("abort", abort)
				resolve(mux!)
			}, reject)
		}
		ws.onmessage = (e) => {
			if (e.data instanceof ArrayBuffer) mux?.record(new Uint8Array(e.data))
			else mux?.lost("a message of text")
		}
		ws.onclose = (e) => {
			const why = e.reason || (e.code === 1006 ? "" : `WebSocket closed with code ${e.code}`)
			mux?.lost(why)
			reject(new Closed(undefined, why))
		}
	})
}
