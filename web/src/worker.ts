// The worker: session, list and viewer. The page only shows.
import { noChecks } from "./checks.ts"
import { draftOf } from "./moqt/draft.ts"
import { Session } from "./moqt/session.ts"
import { type Choice, codecsOf, Library } from "./library.ts"
import type { ToPage, ToWorker } from "./protocol.ts"
import { connect, readRelayInfo } from "./relay.ts"
import { type Options, Viewer } from "./viewer.ts"
import { words } from "./words.ts"

const scope = self as unknown as { postMessage(m: ToPage, transfer?: Transferable[]): void; onmessage: ((e: MessageEvent<ToWorker>) => void) | null }
const send = (m: ToPage, transfer: Transferable[] = []): void => scope.postMessage(m, transfer)

let session: Session | undefined
let library: Library | undefined
let waiting: ((s: Session) => void)[] = []
/** The viewer says that a session does not carry what is played. Whether there will be another one in its place. */
let tooSlow: (of: Session) => boolean = () => false
let viewer: Viewer | undefined
let feed = 0

/** The session there is, or the next one. */
const current = (): Promise<Session> => (session ? Promise.resolve(session) : new Promise((resolve) => waiting.push(resolve)))

/** Over a path that loses packets browsers' WebTransport carries less than a WebSocket. Until when WebTransport is left out, and why. */
let avoided = 0
const avoidFor = 600_000
const lossy = "WebTransport did not bring the broadcast in time, so the page plays over WebSocket."
const changed = new Error("another way to the relay")

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** Keeps a session with the relay. */
async function stay(base: string, only: "webtransport" | "websocket" | undefined, token: string | undefined): Promise<void> {
	let relay = ""
	const state = (state: "connecting" | "connected" | "waiting", text: string, transport = "", address = "", without = ""): void => send({ type: "state", state, text, transport, address, without, relay })
	for (let tries = 0; ; tries++) {
		const over = new AbortController()
		try {
			state("connecting", "Connecting …")
			const info = await readRelayInfo(base)
			relay = info.name
			const { connection, without } = await connect(info, only, token, Date.now() < avoided ? lossy : "")
			const draft = draftOf(connection.protocol || "moqt-18")
			if (!draft) throw new Error(`The relay speaks ${connection.protocol}, which this page does not.`)
			const s = await Session.open(connection, draft)
			session = s
			tries = 0
			const slow = new Promise<Error>((resolve) => {
				tooSlow = (of) => {
					if (of !== session || only || connection.transport !== "WebTransport" || !info.websocket) return false
					avoided = Date.now() + avoidFor
					session = undefined // nobody takes the old one any more
					resolve(changed)
					return true
				}
			})
			state("connected", "", connection.transport, connection.address.split("?")[0]!, without)
			library = new Library(
				s,
				(list) => {
					send({ type: "list", list })
					follow()
				},
				over.signal,
			)
			const listing = library.run()
			for (const w of waiting.splice(0)) w(s)
			const why = await Promise.race([slow, s.closed, s.goingAway.then(() => new Error("The relay is shutting down.")), listing.then(() => new Error("The relay ended the list of broadcasts."))])
			if (!(why instanceof Error && "code" in why)) s.close()
			throw why
		} catch (err) {
			over.abort()
			if (err === changed) continue
			if (!session) avoided = 0 // there was no connection: whatever works
			session = undefined
			const wait = Math.min(10_000, 500 * 2 ** tries)
			state("waiting", `${words(err)} Trying again.`)
			await pause(wait)
		}
	}
}

const optionsOf = (l: Library, id: string, c: Choice): Options => ({ id, track: c.track, catalog: c.catalog, streams: c.streams, receivers: l.receiversOf(id), live: l.isOnAir(id) })

function play(id: string): void {
	viewer?.stop()
	viewer = undefined
	const choice = library?.choose(id)
	if (!library || !choice) return send({ type: "notice", level: "error", text: "This broadcast is not there any more." })
	if (!choice.playable) return send({ type: "notice", level: "error", text: choice.hint })
	send({ type: "checks", checks: noChecks() })
	const v = new Viewer(optionsOf(library, id, choice), send, current, ++feed, (s) => tooSlow(s))
	viewer = v
	v.play().catch((err: unknown) => send({ type: "notice", level: "error", text: words(err) }))
}

/** Goes on where what is live goes on. */
function follow(): void {
	if (!viewer?.following || !viewer.o.live || !library) return
	const { id, track, streams } = viewer.o
	const to = library.onward(id, track)
	if (!to) return
	if (to.id !== id) send({ type: "moved", feed: viewer.feed, id: to.id })
	const [now, then] = [codecsOf(streams), codecsOf(to.choice.streams)]
	if (now.video === then.video && now.audio === then.audio) viewer.change(optionsOf(library, to.id, to.choice))
	else play(to.id)
}
// Not only when the list changes: a viewer of the past becomes one of what is live by itself.
setInterval(follow, 1000)

scope.onmessage = ({ data: m }) => {
	switch (m.type) {
		case "connect":
			void stay(m.base, m.only, m.token)
			break
		case "play":
			play(m.id)
			break
		case "stop":
			viewer?.stop()
			viewer = undefined
			break
		case "seek":
			viewer?.seek(m.time, ++feed)
			break
		case "ahead":
			if (viewer && m.feed === viewer.feed) viewer.position(m.seconds)
	}
}
