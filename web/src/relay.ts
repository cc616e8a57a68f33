// Which relay, and how to reach it: relay.json beside the page, or at the address in ?relay=.
import type { Connection } from "./moqt/connection.ts"
import { drafts } from "./moqt/draft.ts"
import { connectWebSocket } from "./moqt/qmux.ts"
import { type CertificateHash, connectWebTransport } from "./moqt/webtransport.ts"

export interface RelayInfo {
	name: string
	/** of relay.json */
	origin: string
	webtransport: string[]
	websocket: string | undefined
	hashes: (CertificateHash & { until: number | undefined })[]
}

/** How long WebTransport may take before a WebSocket is tried beside it, and how long either may take in all. */
const headStart = 1500
const patience = 10_000

const strings = (x: unknown): string[] => (Array.isArray(x) ? x.filter((s): s is string => typeof s === "string") : [])

/** Reads relay.json. A base of ws: or wss: is the relay itself. */
export async function readRelayInfo(base: string): Promise<RelayInfo> {
	const url = new URL(base)
	if (url.protocol === "ws:" || url.protocol === "wss:") return { name: url.host, origin: url.origin, webtransport: [], websocket: url.href, hashes: [] }
	const at = new URL("relay.json", url)
	let answer: Response
	try {
		answer = await fetch(at, { cache: "no-store", signal: AbortSignal.timeout(patience) })
	} catch {
		const elsewhere = at.origin === location.origin ? "" : " If this page comes from a relay, it may speak with that one only."
		throw new Error(`No relay answers at ${at.href}. Is the address right, and does your browser trust its certificate?${elsewhere}`)
	}
	if (answer.status === 404) throw new Error(`There is no relay at ${at.href}. If this page comes from elsewhere, name one: ?relay=https://HOST:PORT/`)
	if (!answer.ok) throw new Error(`The relay at ${at.href} answers with status ${answer.status}.`)
	const x: unknown = await answer.json().catch(() => undefined)
	if (typeof x !== "object" || x === null) throw new Error(`${at.href} is not what a relay says of itself.`)
	const info = x as Record<string, unknown>
	if (info["v"] !== 1) throw new Error(`The relay at ${at.href} describes itself in version ${String(info["v"])}, which this page does not know.`)
	const websocket = typeof info["websocket"] === "string" && info["websocket"] !== "" ? new URL(info["websocket"], at) : undefined
	if (websocket) websocket.protocol = websocket.protocol.replace(/^http/, "ws")
	const hashes = (Array.isArray(info["certificate_hashes"]) ? info["certificate_hashes"] : []).flatMap((h: unknown) => {
		const { algorithm, value, until } = (h ?? {}) as Record<string, unknown>
		if (algorithm !== "sha-256" || typeof value !== "string") return []
		const last = typeof until === "string" ? Date.parse(until) : NaN
		return [{ algorithm, value: Uint8Array.from(atob(value), (c) => c.charCodeAt(0)), until: Number.isNaN(last) ? undefined : last }]
	})
	return { name: typeof info["name"] === "string" && info["name"] ? info["name"] : at.host, origin: at.origin, webtransport: strings(info["webtransport"]), websocket: websocket?.href, hashes }
}

export interface Ways {
	/** why WebTransport is not used, in words; "" if it is or could be */
	without: string
}

/** Why there is no WebTransport here, or "". */
export function whyNoWebTransport(secure: boolean, available: boolean, info: RelayInfo): string {
	if (!secure) return "This page came over plain HTTP from another machine. There browsers switch WebTransport off, so it plays over WebSocket."
	if (!available) return "This browser has no WebTransport, so the page plays over WebSocket."
	if (info.webtransport.length === 0) return "This relay offers no WebTransport, so the page plays over WebSocket."
	return ""
}

/** The address with a token, which the relay asks for where not everybody may read. */
export function withToken(address: string, token?: string): string {
	if (!token) return address
	const url = new URL(address)
	url.searchParams.set("token", token)
	return url.href
}

/**
 * Connects by WebTransport, or by WebSocket where that does not work: it begins beside WebTransport when that takes long, and at once when it
 * fails. Whichever is there first is taken. without says why WebTransport was not the one. avoid is a reason to leave WebTransport out, in
 * words, where there is a WebSocket.
 */
export async function connect(info: RelayInfo, only?: "webtransport" | "websocket", token?: string, avoid = ""): Promise<{ connection: Connection; without: string }> {
	const alpns = drafts.map((d) => d.alpn)
	let without = whyNoWebTransport(globalThis.isSecureContext, typeof WebTransport !== "undefined", info)
	if (avoid && info.websocket && !without) without = avoid
	if (only === "websocket") without = "WebSocket was asked for."
	const stop = new AbortController()
	const timer = setTimeout(() => stop.abort(), patience)
	const errors: string[] = []
	const now = Date.now()
	const hashes = info.hashes.filter((h) => h.until === undefined || h.until > now).map(({ algorithm, value }) => ({ algorithm, value }))

	let webFailed!: () => void
	const failed = new Promise<void>((resolve) => (webFailed = resolve))
	const web = async (): Promise<Connection> => {
		for (const address of without ? [] : info.webtransport) {
			try {
				return await connectWebTransport(withToken(address, token), alpns, hashes, stop.signal)
			} catch (err) {
				errors.push(`WebTransport to ${address}: ${err instanceof Error ? err.message : String(err)}`)
			}
		}
		webFailed()
		throw new Error("no WebTransport")
	}
	const socket = async (): Promise<Connection> => {
		if (!info.websocket || only === "webtransport") throw new Error("no WebSocket")
		if (!without) await Promise.race([failed, new Promise((done) => setTimeout(done, headStart))])
		if (stop.signal.aborted) throw new Error("not needed")
		try {
			return await connectWebSocket(withToken(info.websocket, token), alpns, stop.signal)
		} catch (err) {
			errors.push(`WebSocket to ${info.websocket}: ${err instanceof Error ? err.message : String(err)}`)
			throw err
		}
	}
	const both = [web(), socket()]
	try {
		const connection = await Promise.any(both)
		for (const p of both) p.then((c) => c !== connection && c.close(0, "")).catch(() => {}) // the slower one
		if (!without && connection.transport === "WebSocket") without = "WebTransport does not get through from here, so the page plays over WebSocket."
		return { connection, without: connection.transport === "WebSocket" ? without : "" }
	} catch {
		const foreign = info.origin === location.origin ? "" : ` If it is there, it may not let pages of ${location.origin} in: ec-relay --allow-origin ${location.origin}.`
		throw new Error(`The relay cannot be reached.${foreign} ${errors.join(". ")}`)
	} finally {
		clearTimeout(timer)
		stop.abort()
	}
}
