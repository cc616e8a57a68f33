// AAC frames behind ADTS headers (ISO/IEC 14496-3 §1.A.2).

export interface AacConfig {
	/** audio object type */
	object: number
	rate: number
	channels: number
	/** AudioSpecificConfig */
	config: Uint8Array
}

const rates = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]

/** The frames of a PES packet, and what decodes them. Frames may cross PES packets; rest is what is left over. */
export function frames(b: Uint8Array): { frames: Uint8Array[]; config: AacConfig | undefined; rest: Uint8Array } {
	const out: Uint8Array[] = []
	let config: AacConfig | undefined
	let at = 0
	while (at + 7 <= b.length) {
		if (b[at] !== 0xff || (b[at + 1]! & 0xf6) !== 0xf0) {
			at++ // not in step: look for the next header
			continue
		}
		const header = (b[at + 1]! & 1) === 1 ? 7 : 9
		const length = ((b[at + 3]! & 3) << 11) | (b[at + 4]! << 3) | (b[at + 5]! >> 5)
		const index = (b[at + 2]! >> 2) & 0xf
		if (length < header || rates[index] === undefined) {
			at++
			continue
		}
		if (at + length > b.length) break
		const object = (b[at + 2]! >> 6) + 1
		const channels = ((b[at + 2]! & 1) << 2) | (b[at + 3]! >> 6)
		config ??= { object, rate: rates[index]!, channels: channels === 7 ? 8 : channels || 2, config: new Uint8Array([(object << 3) | (index >> 1), ((index & 1) << 7) | (channels << 3)]) }
		out.push(b.subarray(at + header, at + length))
		at += length
	}
	return { frames: out, config, rest: b.subarray(at) }
}

export const samplesPerFrame = 1024
