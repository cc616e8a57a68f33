// A viewer's session with a relay: namespaces that come and go, tracks as they are published, and what was published before.
import { Closed, type Bidirectional, type Connection } from "./connection.ts"
import { fetchStream, isSubgroup, type MoqObject, paddingStream, readFetch, readSubgroup, readSubgroupHeader } from "./data.ts"
import type { Draft } from "./draft.ts"
import { exact, Malformed } from "./bytes.ts"
import type { Message, Parameters } from "./messages.ts"
import { type Location, type Namespace, type Track, writeTrack } from "./names.ts"
import { type Incoming, Queue, Reset, StreamReader } from "./stream.ts"
import { within } from "../within.ts"

/** How long the answer to a request, the next object of what is fetched, or a stream's owner, is waited for. */
const patience = 10_000

/** Names of REQUEST_ERROR codes (draft-18 §15.11.2). */
export const RequestCode = {
	internal: 0x0,
	unauthorized: 0x1,
	timeout: 0x2,
	notSupported: 0x3,
	goingAway: 0x6,
	overloaded: 0x9,
	doesNotExist: 0x10,
	invalidRange: 0x11,
	malformedTrack: 0x12,
	duplicate: 0x19,
	redirect: 0x34,
} as const

/** The relay refused a request. */
export class Refused extends Error {
	constructor(
		readonly code: number,
		readonly reason: string,
		readonly what: string,
	) {
		super(`${what} refused with code ${code}${reason ? ": " + reason : ""}`)
	}
}

/** What was published of a subgroup, as it comes. */
export interface Subgroup {
	group: number
	objects: AsyncGenerator<MoqObject>
	stop(): void
}

export interface Subscription {
	/** the largest location there was when the subscription began */
	largest: Location | undefined
	/** streams in the order in which they came; ends with the subscription */
	subgroups: Queue<Subgroup>
	/** why it ended: a code of PUBLISH_DONE, or undefined if the stream just ended */
	done: Promise<{ code: number | undefined; reason: string }>
	cancel(): void
}

/** The stream of one request. */
class Request {
	private readonly reader: StreamReader
	constructor(
		private readonly session: Session,
		readonly id: number,
		private readonly stream: Bidirectional,
	) {
		this.reader = new StreamReader(stream.in)
	}

	/** The next message, or null when the other side ended the stream. */
	async next(): Promise<Message | null> {
		if (await this.reader.atEnd()) return null
		return this.session.message(this.reader)
	}

	/** The answer; rejects with Refused. */
	async answer(what: string): Promise<Message> {
		try {
			const m = await within(this.next(), patience)
			if (m === undefined) this.cancel()
			if (!m) throw new Refused(m === undefined ? RequestCode.timeout : RequestCode.internal, "no answer", what)
			if (m.type === "request error") throw new Refused(m.code, m.reason, what)
			return m
		} catch (err) {
			if (err instanceof Reset) throw new Refused(err.code, "the request was reset", what)
			throw err
		}
	}

	cancel(): void {
		this.stream.out.reset(this.session.draft.cancelled)
		this.stream.in.stop(this.session.draft.cancelled)
	}

	finish(): void {
		this.stream.out.close()
	}
}

/** Streams of data whose owner is known by a number, which may become known after them. */
class Owners<T> {
	private known = new Map<number, (x: T) => void>()
	private waiting = new Map<number, { x: T; drop: () => void; timer: ReturnType<typeof setTimeout> }[]>()
	private old: number[] = []

	own(id: number, take: (x: T) => void): void {
		this.known.set(id, take)
		for (const w of this.waiting.get(id) ?? []) {
			clearTimeout(w.timer)
			take(w.x)
		}
		this.waiting.delete(id)
	}

	disown(id: number): void {
		this.known.delete(id)
		this.old.push(id) // streams of an owner who left are dropped at once
		if (this.old.length > 256) this.old.shift()
	}

	give(id: number, x: T, drop: () => void): void {
		const take = this.known.get(id)
		if (take) return take(x)
		if (this.old.includes(id)) return drop()
		const list = this.waiting.get(id) ?? []
		this.waiting.set(id, list)
		const timer = setTimeout(() => {
			list.splice(0).forEach((w) => w.drop())
			this.waiting.delete(id)
		}, patience)
		list.push({ x, drop, timer })
	}
}

export class Session {
	/** what the relay calls itself */
	implementation = ""
	/** resolves with an address, or "", when the relay wants its clients to leave */
	readonly goingAway: Promise<string>
	readonly closed: Promise<Closed>

	private nextID = 0
	private leave!: (uri: string) => void
	private readonly subscriptions = new Owners<Subgroup>()
	private readonly fetches = new Owners<StreamReader>()
	private setUp!: () => void
	private readonly ready: Promise<void>

	private constructor(
		readonly connection: Connection,
		readonly draft: Draft,
	) {
		this.goingAway = new Promise((resolve) => (this.leave = resolve))
		this.closed = connection.closed
		this.ready = new Promise((resolve) => (this.setUp = resolve))
	}

	/** Exchanges SETUP. */
	static async open(connection: Connection, draft: Draft): Promise<Session> {
		const s = new Session(connection, draft)
		const control = await connection.openUni()
		await control.write(draft.setup("every.channel page"))
		s.acceptUni().catch((err: unknown) => s.fail(err))
		s.accept().catch((err: unknown) => s.fail(err))
		const timer = setTimeout(() => connection.close(0x11, "no SETUP"), patience)
		await Promise.race([s.ready, s.closed.then((c) => Promise.reject(c))])
		clearTimeout(timer)
		return s
	}

	close(): void {
		this.connection.close(0, "")
	}

	private fail(err: unknown): void {
		if (err instanceof Closed) return
		this.connection.close(err instanceof Malformed ? 3 : 1, err instanceof Error ? err.message : String(err))
	}

	async message(r: StreamReader): Promise<Message> {
		const type = await r.vi()
		const length = await r.uint16()
		return this.draft.parse(type, await r.bytes(length))
	}

	/** Streams that the relay opens for requests of its own: a viewer serves none. */
	private async accept(): Promise<void> {
		for (;;) {
			const s = await this.connection.accept()
			s.out.write(this.draft.requestError(RequestCode.notSupported, "this is a viewer")).then(
				() => s.out.close(),
				() => {},
			)
			s.in.stop(this.draft.cancelled)
		}
	}

	private async acceptUni(): Promise<void> {
		for (;;) {
			const s = await this.connection.acceptUni()
			this.uni(s).catch((err: unknown) => {
				if (err instanceof Malformed) this.fail(err)
			})
		}
	}

	private async uni(s: Incoming): Promise<void> {
		const r = new StreamReader(s)
		const type = await r.vi()
		if (type === this.draft.setupStream) {
			const m = this.draft.parse(type, await r.bytes(await r.uint16()))
			if (m.type !== "setup") throw new Malformed(`${m.type} before SETUP`)
			this.implementation = m.implementation
			this.setUp()
			for (;;) {
				const next = await this.message(r)
				if (next.type === "go away") this.leave(next.uri)
			}
		}
		const stop = (): void => s.stop(this.draft.cancelled)
		if (type === fetchStream) {
			this.fetches.give(exact(await r.vi(), "request id"), r, stop)
		} else if (isSubgroup(type)) {
			const h = await readSubgroupHeader(r, type)
			this.subscriptions.give(h.alias, { group: h.group, objects: readSubgroup(r, h), stop }, stop)
		} else if (type === paddingStream) {
			stop()
		} else {
			throw new Malformed(`stream of type 0x${type.toString(16)}`)
		}
	}

	private async request(build: (id: number) => Uint8Array): Promise<Request> {
		const id = this.nextID
		this.nextID += 2
		const stream = await this.connection.open()
		const q = new Request(this, id, stream)
		await stream.out.write(build(id))
		return q
	}

	/**
	 * Tells what is there below a prefix, and what comes and goes, until the relay ends that or signal aborts.
	 * namespaces are given without the prefix.
	 */
	async namespaces(prefix: Namespace, signal: AbortSignal, told: (suffix: Namespace, there: boolean) => void): Promise<void> {
		const q = await this.request((id) => this.draft.subscribeNamespace(id, prefix))
		await q.answer("the list of namespaces")
		const cancel = (): void => q.cancel()
		signal.addEventListener("abort", cancel)
		try {
			for (;;) {
				const m = await q.next()
				if (m === null) return
				if (signal.aborted) return
				if (m.type === "namespace") told(m.suffix, true)
				if (m.type === "namespace done") told(m.suffix, false)
			}
		} catch (err) {
			if (!signal.aborted) throw err
		} finally {
			signal.removeEventListener("abort", cancel)
		}
	}

	/** The largest location of a track, or undefined if nothing was published. */
	async largest(t: Track): Promise<Location | undefined> {
		const q = await this.request((id) => this.draft.trackStatus(id, t))
		const m = await q.answer(`status of ${writeTrack(t)}`)
		q.finish()
		if (m.type !== "request ok") throw new Malformed(`${m.type} in answer to TRACK_STATUS`)
		return m.parameters.largest
	}

	async subscribe(t: Track, p: Parameters = {}): Promise<Subscription> {
		let q: Request
		let m: Message
		for (let wait = 20; ; wait *= 2) {
			q = await this.request((id) => this.draft.subscribe(id, t, p))
			try {
				m = await q.answer(writeTrack(t))
				break
			} catch (err) {
				// The relay has not seen yet that the subscription before was ended.
				if (!(err instanceof Refused && err.code === RequestCode.duplicate) || wait > 2000) throw err
				await new Promise((done) => setTimeout(done, wait))
			}
		}
		if (m.type !== "subscribe ok") throw new Malformed(`${m.type} in answer to SUBSCRIBE`)
		const subgroups = new Queue<Subgroup>()
		this.subscriptions.own(m.alias, (s) => subgroups.push(s))
		let over = false
		const end = (err?: unknown): void => {
			if (over) return
			over = true
			subgroups.end(err)
			this.subscriptions.disown(m.alias)
		}
		const done = (async () => {
			try {
				for (;;) {
					const next = await q.next()
					if (next === null) return { code: undefined, reason: "" }
					if (next.type === "publish done") {
						q.finish()
						// Streams that were under way may still come.
						setTimeout(() => end(), 1000)
						return { code: next.code, reason: next.reason }
					}
				}
			} catch (err) {
				end(err instanceof Reset ? undefined : err)
				return { code: undefined, reason: err instanceof Error ? err.message : "" }
			}
		})()
		done.then((d) => d.code === undefined && end())
		return {
			largest: m.parameters.largest,
			subgroups,
			done,
			cancel: () => {
				end()
				q.cancel()
			},
		}
	}

	/** What was published from start up to end: the last object plus one, object 0 being the whole group. */
	async *fetch(t: Track, start: Location, end: Location, signal?: AbortSignal): AsyncGenerator<MoqObject> {
		let came!: (r: StreamReader) => void
		const stream = new Promise<StreamReader>((resolve) => (came = resolve))
		const q = await this.request((id) => {
			this.fetches.own(id, came)
			return this.draft.fetch(id, t, start, end, { groupOrder: 1 })
		})
		let r: StreamReader | undefined
		const cancel = (): void => {
			q.cancel()
			r?.stop(this.draft.cancelled)
		}
		signal?.addEventListener("abort", cancel)
		let whole = false
		try {
			if (signal?.aborted) return // it was given before anybody listened
			const m = await q.answer(`the past of ${writeTrack(t)}`)
			if (m.type !== "fetch ok") throw new Malformed(`${m.type} in answer to FETCH`)
			const cut = this.closed.then((c) => Promise.reject(c))
			cut.catch(() => {})
			const soon = async <X>(p: Promise<X>): Promise<X> => {
				const x = await within(Promise.race([p, cut]), patience)
				if (x === undefined) throw new Refused(RequestCode.timeout, "nothing comes any more", `the past of ${writeTrack(t)}`)
				return x
			}
			r = await soon(stream)
			const objects = readFetch(r)
			for (;;) {
				const next = await soon(objects.next())
				if (next.done) break
				yield next.value
			}
			whole = true
		} finally {
			signal?.removeEventListener("abort", cancel)
			this.fetches.disown(q.id)
			if (whole) q.finish()
			else cancel()
		}
	}

	/**
	 * Everything from a place on, past and live, without a gap: `from` is given the largest location and says where to begin.
	 * In draft 18 that is a SUBSCRIBE of what comes and a FETCH of what lies between.
	 */
	async join(t: Track, from: (largest: Location) => Location, signal?: AbortSignal): Promise<{ past: AsyncGenerator<MoqObject> | undefined; live: Subscription }> {
		const live = await this.subscribe(t)
		signal?.addEventListener("abort", live.cancel)
		// A signal that was given before the answer came is not given again.
		if (signal?.aborted) live.cancel()
		if (signal?.aborted || !live.largest) return { past: undefined, live }
		const start = from(live.largest)
		const end = { group: live.largest.group, object: live.largest.object + 1 }
		if (start.group > end.group || (start.group === end.group && start.object >= end.object)) return { past: undefined, live }
		return { past: this.fetch(t, start, end, signal), live }
	}
}
