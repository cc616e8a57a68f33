// A connection over WebTransport.
import { Closed, type Bidirectional, type Connection } from "./connection.ts"
import { type Incoming, type Outgoing, Reset } from "./stream.ts"

const codeOf = (err: unknown): number => (err as { streamErrorCode?: number | null })?.streamErrorCode ?? 0

/** An error with a code. Chromium's constructor is that of an older draft: one argument. */
function failure(code: number): Error {
	try {
		return new (WebTransportError as unknown as new (o: { message: string; streamErrorCode: number }) => Error)({ message: "", streamErrorCode: code })
	} catch {
		return new WebTransportError("", { streamErrorCode: code })
	}
}

function incoming(s: ReadableStream<Uint8Array>): Incoming {
	const r = s.getReader()
	return {
		async read() {
			try {
				const { value, done } = await r.read()
				return done ? null : value
			} catch (err) {
				throw new Reset(codeOf(err))
			}
		},
		stop(code) {
			r.cancel(failure(code)).catch(() => {})
		},
	}
}

function outgoing(s: WritableStream<Uint8Array>): Outgoing {
	const w = s.getWriter()
	w.closed.catch(() => {})
	return {
		async write(b) {
			await w.write(b)
		},
		close() {
			w.close().catch(() => {})
		},
		reset(code) {
			w.abort(failure(code)).catch(() => {})
		},
	}
}

export interface CertificateHash {
	algorithm: string
	value: Uint8Array<ArrayBuffer>
}

/** Connects; hashes are those of the certificates that the server may show, none leaves the judgement to the browser. */
export async function connectWebTransport(address: string, protocols: string[], hashes: CertificateHash[], signal: AbortSignal): Promise<Connection> {
	const options: WebTransportOptions & { protocols: string[] } = { protocols, congestionControl: "low-latency" }
	if (hashes.length > 0) options.serverCertificateHashes = hashes
	const wt = new WebTransport(address, options)
	wt.closed.catch(() => {})
	const abort = (): void => wt.close()
	signal.addEventListener("abort", abort)
	try {
		await wt.ready
	} finally {
		signal.removeEventListener("abort", abort)
	}
	const protocol = (wt as unknown as { protocol?: string }).protocol ?? ""
	// Browsers that do not offer protocols yet get what the relay takes for one of ours, if anything.
	const closed = wt.closed.then(
		(info) => new Closed(info.closeCode ?? 0, info.reason ?? ""),
		(err: unknown) => new Closed(undefined, err instanceof Error ? err.message : String(err)),
	)
	const uni = (wt.incomingUnidirectionalStreams as ReadableStream<ReadableStream<Uint8Array>>).getReader()
	const bidi = (wt.incomingBidirectionalStreams as ReadableStream<WebTransportBidirectionalStream>).getReader()
	async function next<T>(r: ReadableStreamDefaultReader<T>): Promise<T> {
		const got = await r.read().catch(() => undefined)
		if (!got || got.done) throw await closed
		return got.value
	}
	const both = (s: WebTransportBidirectionalStream): Bidirectional => ({ in: incoming(s.readable as ReadableStream<Uint8Array>), out: outgoing(s.writable as WritableStream<Uint8Array>) })
	return {
		transport: "WebTransport",
		protocol,
		address,
		closed,
		async open() {
			return both(await wt.createBidirectionalStream())
		},
		async openUni() {
			return outgoing((await wt.createUnidirectionalStream()) as unknown as WritableStream<Uint8Array>)
		},
		accept: async () => both(await next(bidi)),
		acceptUni: async () => incoming(await next(uni)),
		close(code, reason) {
			try {
				wt.close({ closeCode: code, reason })
			} catch {
				// it has ended already
			}
		},
	}
}
