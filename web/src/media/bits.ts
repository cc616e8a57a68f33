// Bits of H.264 and ADTS headers.

/** Reads bits, most significant first; beyond the end there are zeros. */
export class Bits {
	private at = 0
	constructor(private readonly b: Uint8Array) {}

	bit(): number {
		const byte = this.b[this.at >> 3] ?? 0
		return (byte >> (7 - (this.at++ & 7))) & 1
	}

	read(n: number): number {
		let x = 0
		for (let i = 0; i < n; i++) x = x * 2 + this.bit()
		return x
	}

	/** Unsigned Exp-Golomb (H.264 §9.1). */
	ue(): number {
		let zeros = 0
		while (this.bit() === 0 && zeros < 32) zeros++
		return 2 ** zeros - 1 + this.read(zeros)
	}

	se(): number {
		const k = this.ue()
		return k % 2 === 1 ? (k + 1) / 2 : -k / 2
	}
}

/** A NAL unit without its emulation prevention bytes (H.264 §7.4.1.1), at most so many bytes of it. */
export function rbsp(nal: Uint8Array, most = nal.length): Uint8Array {
	const out: number[] = []
	let zeros = 0
	for (let i = 0; i < nal.length && out.length < most; i++) {
		const c = nal[i]!
		if (zeros >= 2 && c === 3) {
			zeros = 0
			continue
		}
		zeros = c === 0 ? zeros + 1 : 0
		out.push(c)
	}
	return new Uint8Array(out)
}
