// The table of drafts: what a session needs to know of one. Requests have a stream of their own from draft 17 on, so a later draft is one
// more row: its ALPN, and the functions whose bytes changed.
//
// Draft 20 has no joining FETCH; what lies before a subscription comes with it, by "fills". Session.join is the one place that knows how
// a viewer gets the past and what follows without a gap, so that a row with fills changes nothing beyond it.
import * as messages from "./messages.ts"

export interface Draft {
	/** ALPN, WebTransport protocol, and the second part of the subprotocol of a WebSocket */
	alpn: string
	setup: typeof messages.setup
	subscribe: typeof messages.subscribe
	fetch: typeof messages.fetch
	trackStatus: typeof messages.trackStatus
	subscribeNamespace: typeof messages.subscribeNamespace
	requestError: typeof messages.requestError
	parse: typeof messages.parse
	/** number of SETUP, which is also the type of the control stream */
	setupStream: number
	/** reset code of what is not wanted any more */
	cancelled: number
}

const draft18: Draft = {
	alpn: "moqt-18",
	setup: messages.setup,
	subscribe: messages.subscribe,
	fetch: messages.fetch,
	trackStatus: messages.trackStatus,
	subscribeNamespace: messages.subscribeNamespace,
	requestError: messages.requestError,
	parse: messages.parse,
	setupStream: messages.Type.setup,
	cancelled: 1,
}

/** Drafts that are offered, the most preferred first. */
export const drafts: Draft[] = [draft18]

export const draftOf = (alpn: string): Draft | undefined => drafts.find((d) => d.alpn === alpn)
