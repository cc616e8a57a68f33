// What the page and its worker say to each other. Times are seconds; media times are those of the video element.
import type { Kind } from "./media/chunk.ts"

export interface Broadcast {
	/** written namespace */
	id: string
	callsign: string
	channel: string
	service: string
	/** somebody publishes it; otherwise the relay has its past */
	live: boolean
	/** what it is made of: "H.264, AAC" */
	codecs: string
	/** "" if it plays here, else why not or what will be missing */
	hint: string
	/** the same in a few words */
	short: string
	playable: boolean
	/** how many receivers hear it */
	receivers: number
}

export interface Checks {
	right: number
	wrong: number
	/** objects that came without a hash */
	without: number
	bytes: number
	/** chunks whose hash a receiver's manifest gives, and which are the same or not */
	confirmed: number
	contradicted: number
	/** the first thing that was wrong, in words */
	first: string
}

export type ToWorker =
	| { type: "connect"; base: string; token?: string; only?: "webtransport" | "websocket" }
	| { type: "play"; id: string }
	| { type: "stop" }
	/** go to a media time; live without one */
	| { type: "seek"; time: number | undefined }
	/** how much is buffered ahead of what is shown */
	| { type: "ahead"; seconds: number; feed: number }

export type ToPage =
	| { type: "state"; state: "connecting" | "connected" | "waiting"; text: string; transport: string; address: string; without: string; relay: string }
	| { type: "list"; list: Broadcast[] }
	/** a new run of segments: what was buffered before does not belong to it. kinds are those that will come. */
	| { type: "feed"; feed: number; id: string; live: boolean }
	/** it goes on in another broadcast's name: a receiver has learnt whose broadcast it hears */
	| { type: "moved"; feed: number; id: string }
	| { type: "kinds"; feed: number; kinds: Kind[] }
	| { type: "init"; feed: number; kind: Kind; mime: string; data: ArrayBuffer }
	| { type: "media"; feed: number; kind: Kind; data: ArrayBuffer; start: number; end: number }
	/** where in the broadcast the chunk is: its group, and UTC in ms where a receiver told */
	| { type: "chunk"; feed: number; group: number; start: number; end: number; utc: number | undefined }
	/** the newest that the relay has, in media time */
	| { type: "edge"; feed: number; time: number }
	| { type: "checks"; checks: Checks }
	| { type: "notice"; text: string; level: "info" | "warning" | "error" }
	/** nothing more will come by itself */
	| { type: "over"; feed: number; text: string }
