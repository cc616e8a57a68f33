// Reading a stream field by field as its bytes arrive.
import { concat, Malformed, viSize, viValue } from "./bytes.ts"

/** The half of a stream that the other side writes. */
export interface Incoming {
	/** The next bytes, or null at the stream's end. Rejects with Reset when the stream was reset. */
	read(): Promise<Uint8Array | null>
	/** Tells the other side that no more is read. */
	stop(code: number): void
}

/** The half of a stream that this side writes. */
export interface Outgoing {
	write(b: Uint8Array): Promise<void>
	close(): void
	reset(code: number): void
}

/** A stream was given up by the other side. */
export class Reset extends Error {
	constructor(readonly code: number) {
		super(`stream reset with code ${code}`)
	}
}

export class StreamReader {
	private pieces: Uint8Array[] = []
	private have = 0
	private ended = false

	constructor(private readonly from: Incoming) {}

	/** Waits until n bytes are there; false if the stream ends before. */
	private async need(n: number): Promise<boolean> {
		while (this.have < n) {
			if (this.ended) return false
			const b = await this.from.read()
			if (b === null) {
				this.ended = true
			} else if (b.length > 0) {
				this.pieces.push(b)
				this.have += b.length
			}
		}
		return true
	}

	/** Takes n bytes that are there; they are the caller's. */
	private take(n: number): Uint8Array {
		this.have -= n
		const out: Uint8Array[] = []
		while (n > 0) {
			const p = this.pieces[0]!
			if (p.length > n) {
				out.push(p.subarray(0, n))
				this.pieces[0] = p.subarray(n)
				break
			}
			out.push(p)
			n -= p.length
			this.pieces.shift()
		}
		return concat(out)
	}

	async atEnd(): Promise<boolean> {
		return !(await this.need(1))
	}

	async bytes(n: number): Promise<Uint8Array> {
		if (!(await this.need(n))) throw new Malformed("stream ends inside of a field")
		return this.take(n)
	}

	async vi(): Promise<number> {
		if (!(await this.need(1))) throw new Malformed("stream ends before an integer")
		const size = viSize(this.pieces[0]![0]!)
		return viValue(await this.bytes(size), 0, size)
	}

	async uint16(): Promise<number> {
		const b = await this.bytes(2)
		return b[0]! * 256 + b[1]!
	}

	stop(code: number): void {
		this.from.stop(code)
	}
}

/** Items that somebody waits for, in order, until the queue ends. */
export class Queue<T> {
	private items: T[] = []
	private waiting: ((x: IteratorResult<T>) => void)[] = []
	private failing: ((err: unknown) => void)[] = []
	private over = false
	private error: unknown

	get length(): number {
		return this.items.length
	}

	push(x: T): void {
		if (this.over) return
		const w = this.waiting.shift()
		this.failing.shift()
		if (w) w({ value: x, done: false })
		else this.items.push(x)
	}

	/** Ends the queue behind what is in it; with an error, for whoever reads on. */
	end(error?: unknown): void {
		if (this.over) return
		this.over = true
		this.error = error
		for (const [i, w] of this.waiting.entries()) {
			if (error !== undefined) this.failing[i]!(error)
			else w({ value: undefined, done: true })
		}
		this.waiting = []
		this.failing = []
	}

	next(): Promise<IteratorResult<T>> {
		const x = this.items.shift()
		if (x !== undefined) return Promise.resolve({ value: x, done: false })
		if (this.over) return this.error !== undefined ? Promise.reject(this.error) : Promise.resolve({ value: undefined, done: true })
		return new Promise((resolve, reject) => {
			this.waiting.push(resolve)
			this.failing.push(reject)
		})
	}

	async *[Symbol.asyncIterator](): AsyncGenerator<T> {
		for (;;) {
			const { value, done } = await this.next()
			if (done) return
			yield value
		}
	}
}
