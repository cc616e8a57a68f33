// The page's player by itself in Chromium, fed with the chunks of testdata.
import { readFileSync } from "node:fs"
import { build } from "esbuild"
import { root } from "./harness.mjs"

/**
 * Lets a player run dry and feeds it more, which begins a hole of so many ms later. Returns the ranges that were buffered, and where it was
 * before and some time after. In a page of its own.
 */
export async function overHole(context, hole) {
	const code = await build({
		stdin: { contents: 'import { Muxer } from "./src/media/chunk.ts"; import { Player } from "./src/page/player.ts"; Object.assign(globalThis, { Muxer, Player })', resolveDir: root, loader: "ts" },
		bundle: true, write: false, format: "iife", target: "chrome114",
	})
	const { parts } = JSON.parse(readFileSync(root + "/testdata/chunks.json", "utf8"))
	const bytes = readFileSync(root + "/testdata/chunks.m2ts").toString("base64")
	const page = await context.newPage()
	try {
		await page.setContent("<video muted></video>")
		await page.addScriptTag({ content: code.outputFiles[0].text })
		return await page.evaluate(inPage, { parts, bytes, hole })
	} finally {
		await page.close()
	}
}

async function inPage({ parts, bytes, hole }) {
	const hz = 90_000
	const all = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))
	const video = document.querySelector("video")
	const problems = []
	let waits = false
	const player = new Player(video, { problem: (text) => problems.push(text), loading: (is) => (waits = is) })
	const muxer = new Muxer()
	let end = 100 // of the picture that was fed
	const give = (list) => {
		for (const o of list) {
			if (o.type === "init") player.init({ kind: o.kind, mime: o.mime, data: o.data.buffer })
			else player.media({ kind: o.kind, data: o.data.buffer })
			if (o.type === "media" && o.kind === "video") end = Math.max(end, o.end)
		}
	}
	const feed = () => {
		const base = Math.round(end * hz)
		let [at, group] = [0, undefined]
		for (const p of parts) {
			if (p.group !== group) {
				if (group !== undefined) give(muxer.end())
				group = p.group
				muxer.begin(p.pts, base + p.pts - parts[0].pts)
			}
			give(muxer.push(all.subarray(at, (at += p.size))))
		}
		give(muxer.end())
	}
	const until = async (is) => {
		for (const last = Date.now() + 20_000; !is() && Date.now() < last; ) await new Promise((done) => setTimeout(done, 50))
	}
	player.begin(1, undefined, true)
	player.expect(["video", "audio"])
	feed()
	await until(() => player.started && waits)
	const before = video.currentTime
	end += hole / 1000
	for (let n = 0; n < 3; n++) feed()
	await until(() => video.currentTime > before + 2)
	const buffered = Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)])
	return { before, after: video.currentTime, waits, buffered, problems }
}
