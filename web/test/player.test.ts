// The player against a video element that is made up.
import assert from "node:assert/strict"
import { type TestContext, test } from "node:test"

/** A video element that plays through what is buffered, and stands at every hole. */
class Video {
	currentTime = 0
	paused = true
	seeking = false
	readyState = 4
	playbackRate = 1
	ranges: [number, number][] = []
	/** its decoder waits, until currentTime is set */
	waiting = false

	get buffered(): Pick<TimeRanges, "length" | "start" | "end"> {
		const r = this.ranges
		return { length: r.length, start: (i) => r[i]![0], end: (i) => r[i]![1] }
	}
	play(): Promise<void> {
		this.paused = false
		return Promise.resolve()
	}
	pause(): void {
		this.paused = true
	}
	addEventListener(): void {}
	removeAttribute(): void {}
	load(): void {}
}

class Source {
	readyState = "open"
	addEventListener(): void {}
}
Object.assign(globalThis, { MediaSource: Source })
Object.assign(URL, { createObjectURL: () => "blob:", revokeObjectURL() {} })

/** A player that shows what is buffered; after(s) lets it play for so long. */
async function playing(t: TestContext, ranges: [number, number][]): Promise<{ v: Video; loading: () => boolean; after: (seconds: number) => void }> {
	t.mock.timers.enable({ apis: ["setInterval", "Date"] })
	const { Player } = await import("../src/page/player.ts")
	const v = new Video()
	let spins = false
	const p = new Player(v as unknown as HTMLVideoElement, { problem: assert.fail, loading: (is) => (spins = is) })
	t.after(() => p.stop())
	p.begin(1, undefined, true)
	v.ranges = ranges
	let at = v.currentTime
	const after = (seconds: number): void => {
		for (let n = Math.round(seconds * 10); n > 0; n--) {
			if (v.currentTime !== at) v.waiting = false // it was set
			const end = v.ranges.find(([from, to]) => from <= v.currentTime && v.currentTime <= to)?.[1]
			v.readyState = v.waiting || end === undefined || v.currentTime === end ? 2 : 4
			if (!v.paused && v.readyState > 2) v.currentTime = Math.min(end!, v.currentTime + 0.1)
			at = v.currentTime
			t.mock.timers.tick(100)
		}
	}
	return { v, loading: () => spins, after }
}

for (const [hole, next] of [[0.02, 15], [0.067, 15], [0.067, 0.2], [0.3, 15]] as const) {
	test(`a pause of the publisher, then a hole of ${hole * 1000} ms with ${next} s behind it: it goes on behind the hole`, async (t) => {
		const { v, loading, after } = await playing(t, [[100, 104]])
		after(8)
		assert.equal(v.currentTime, 104)
		assert.ok(v.paused && loading(), "it waits")
		v.ranges.push([104 + hole, 104 + hole + next], [104.1 + hole + next, 140])
		after(3)
		assert.ok(v.currentTime > 106, `it stands at ${v.currentTime}`)
		assert.ok(!v.paused && !loading())
	})
}

test("a decoder that waits although enough is buffered begins anew", async (t) => {
	const { v, after } = await playing(t, [[100, 140]])
	after(3)
	v.waiting = true
	const at = v.currentTime
	after(1.5)
	assert.equal(v.currentTime, at, "at first it may be a busy machine")
	after(3)
	assert.ok(v.currentTime > at + 1, `it stands at ${v.currentTime}`)
})

test("what stands because somebody paused it, or looks for its place, is left alone", async (t) => {
	const { v, after } = await playing(t, [[100, 140]])
	after(3)
	v.waiting = v.seeking = true
	const at = v.currentTime
	after(5)
	assert.equal(v.currentTime, at)
	v.seeking = false
	v.pause()
	after(5)
	assert.equal(v.currentTime, at)
})
