// What went wrong, in words for people.
import { Malformed } from "./moqt/bytes.ts"
import { Closed } from "./moqt/connection.ts"
import { Refused, RequestCode } from "./moqt/session.ts"
import { Reset } from "./moqt/stream.ts"

const sessionCodes: Record<number, string> = {
	0x0: "The relay ended the connection.",
	0x1: "The relay had an internal error.",
	0x2: "The relay does not allow this page to connect.",
	0x3: "The relay and this page disagree about the protocol.",
	0x7: "The page made more requests than the relay allows.",
	0x10: "The relay shut down.",
	0x11: "The relay did not answer in time.",
	0x12: "The relay stopped sending in the middle of something.",
	0x15: "The relay and this page have no version of MoQ in common.",
}

const requestCodes: Record<number, string> = {
	[RequestCode.internal]: "the relay had an internal error",
	[RequestCode.unauthorized]: "the relay does not allow it",
	[RequestCode.timeout]: "the relay did not answer in time",
	[RequestCode.notSupported]: "the relay cannot do that",
	[RequestCode.goingAway]: "the relay is shutting down",
	[RequestCode.overloaded]: "the relay is overloaded",
	[RequestCode.doesNotExist]: "the relay does not have it",
	[RequestCode.invalidRange]: "the relay has nothing of that time",
	[RequestCode.malformedTrack]: "its publisher broke the protocol",
	[RequestCode.redirect]: "the relay says it is elsewhere",
}

export function words(err: unknown): string {
	if (err instanceof Closed) {
		if (err.code === undefined) return "The connection to the relay was lost" + (err.reason ? `: ${err.reason}.` : ".")
		const known = sessionCodes[err.code] ?? `The relay ended the connection with code ${err.code}.`
		return err.reason ? `${known} (${err.reason})` : known
	}
	if (err instanceof Refused) {
		const why = requestCodes[err.code] ?? `the relay refused with code ${err.code}`
		return `Asked for ${err.what}: ${why}${err.reason ? ` (${err.reason})` : ""}.`
	}
	if (err instanceof Malformed) return `What came is not what it should be: ${err.message}.`
	if (err instanceof Reset) return "The relay gave up in the middle of something."
	return err instanceof Error ? err.message : String(err)
}
