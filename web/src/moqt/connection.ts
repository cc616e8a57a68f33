// What a session needs of a transport: WebTransport, or QMux over a WebSocket.
import type { Incoming, Outgoing } from "./stream.ts"

export interface Bidirectional {
	in: Incoming
	out: Outgoing
}

export interface Connection {
	/** for people: "WebTransport", "WebSocket" */
	readonly transport: "WebTransport" | "WebSocket"
	/** the ALPN that was agreed on: "moqt-18" */
	readonly protocol: string
	readonly address: string
	open(): Promise<Bidirectional>
	openUni(): Promise<Outgoing>
	/** The next stream that the other side opens; rejects with the end of the connection. */
	accept(): Promise<Bidirectional>
	acceptUni(): Promise<Incoming>
	/** Resolves when the connection has ended, with why. */
	readonly closed: Promise<Closed>
	close(code: number, reason: string): void
}

/** Why a connection or session ended. */
export class Closed extends Error {
	constructor(
		/** the code of MoQ (§3.5), or undefined if the connection was lost */
		readonly code: number | undefined,
		readonly reason: string,
	) {
		super(code === undefined ? `connection lost${reason ? ": " + reason : ""}` : `closed with code ${code}${reason ? ": " + reason : ""}`)
	}
}
