// Integers and fields of MoQ (draft-ietf-moq-transport-18 §1.4) and of QMux (RFC 9000 §16), read from and written to bytes.
//
// Integers are JavaScript numbers. One over 2^53 - 1 is read inexactly, which does for what is only compared or ignored; where it must be
// exact, as in an id, `exact` refuses it.

/** The other side broke the protocol. */
export class Malformed extends Error {}

/** Bytes ended inside of a field. */
export class Short extends Malformed {}

export function exact(x: number, what: string): number {
	if (!Number.isSafeInteger(x)) throw new Malformed(`${what} over 2^53, which this page cannot count`)
	return x
}

/** How many bytes the integer of draft 18 that begins with this byte has. */
export function viSize(first: number): number {
	return first < 0x80 ? 1 : 1 + Math.clz32(~(first << 24))
}

/** The integer of draft 18 that fills size bytes at offset at. */
export function viValue(b: Uint8Array, at: number, size: number): number {
	let x = size === 1 ? b[at]! : b[at]! & (0xff >> size)
	for (let i = 1; i < size; i++) x = x * 256 + b[at + i]!
	return x
}

/** Reads fields off bytes that are all there. */
export class Reader {
	at = 0
	constructor(readonly b: Uint8Array) {}

	get left(): number {
		return this.b.length - this.at
	}

	byte(): number {
		if (this.left < 1) throw new Short("bytes end before a byte")
		return this.b[this.at++]!
	}

	uint16(): number {
		return this.byte() * 256 + this.byte()
	}

	/** As many ones before the first zero as bytes follow (draft-18 §1.4.1). */
	vi(): number {
		if (this.left < 1) throw new Short("bytes end before an integer")
		const size = viSize(this.b[this.at]!)
		if (this.left < size) throw new Short("bytes end inside of an integer")
		const x = viValue(this.b, this.at, size)
		this.at += size
		return x
	}

	/** RFC 9000 §16. */
	quic(): number {
		return Number(this.quicBig())
	}

	quicBig(): bigint {
		const first = this.byte()
		const size = 1 << (first >> 6)
		if (this.left < size - 1) throw new Short("bytes end inside of an integer")
		let x = BigInt(first & 0x3f)
		for (let i = 1; i < size; i++) x = x * 256n + BigInt(this.b[this.at++]!)
		return x
	}

	/** The next n bytes, not copied. */
	take(n: number): Uint8Array {
		if (n > this.left) throw new Short(`bytes end ${n - this.left} too early`)
		this.at += n
		return this.b.subarray(this.at - n, this.at)
	}

	rest(): Uint8Array {
		return this.take(this.left)
	}

	/** A length of at most limit, and as many bytes. */
	lengthBytes(limit: number, what: string): Uint8Array {
		const n = this.vi()
		if (n > limit) throw new Malformed(`${what} of ${n} bytes, at most ${limit} are allowed`)
		return this.take(n)
	}

	text(limit: number, what: string): string {
		return decodeText(this.lengthBytes(limit, what))
	}
}

/** Appends fields. */
export class Writer {
	private b = new Uint8Array(64)
	private n = 0

	private room(n: number): void {
		if (this.n + n <= this.b.length) return
		const b = new Uint8Array(Math.max(this.b.length * 2, this.n + n))
		b.set(this.b.subarray(0, this.n))
		this.b = b
	}

	done(): Uint8Array {
		return this.b.slice(0, this.n)
	}

	byte(x: number): this {
		this.room(1)
		this.b[this.n++] = x
		return this
	}

	uint16(x: number): this {
		return this.byte(x >> 8).byte(x & 0xff)
	}

	uint32(x: number): this {
		return this.uint16(x >>> 16).uint16(x & 0xffff)
	}

	uint64(x: number): this {
		return this.uint32(Math.floor(x / 2 ** 32)).uint32(x % 2 ** 32)
	}

	bytes(p: Uint8Array): this {
		this.room(p.length)
		this.b.set(p, this.n)
		this.n += p.length
		return this
	}

	vi(x: number): this {
		exact(x, "integer")
		let size = 1
		while (size < 8 && x >= 2 ** (7 * size)) size++
		const head = size === 1 ? 0 : ~(0xff >> (size - 1)) & 0xff
		this.byte(head | Math.floor(x / 2 ** (8 * (size - 1))))
		for (let i = size - 2; i >= 0; i--) this.byte(Math.floor(x / 2 ** (8 * i)) % 256)
		return this
	}

	quic(x: number | bigint): this {
		const v = BigInt(x)
		const [size, bits] = v < 1n << 6n ? [1, 0] : v < 1n << 14n ? [2, 1] : v < 1n << 30n ? [4, 2] : [8, 3]
		for (let i = size - 1; i >= 0; i--) {
			this.byte(Number((v >> BigInt(8 * i)) & 0xffn) | (i === size - 1 ? bits << 6 : 0))
		}
		return this
	}

	lengthBytes(p: Uint8Array): this {
		return this.vi(p.length).bytes(p)
	}

	text(s: string): this {
		return this.lengthBytes(encodeText(s))
	}
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const encodeText = (s: string): Uint8Array => encoder.encode(s)
export const decodeText = (b: Uint8Array): string => decoder.decode(b)

export function concat(pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
	const b = new Uint8Array(pieces.reduce((n, p) => n + p.length, 0))
	let at = 0
	for (const p of pieces) {
		b.set(p, at)
		at += p.length
	}
	return b
}
