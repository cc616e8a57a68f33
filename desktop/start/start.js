// What is the case, in words, and the form that asks for a relay. The program is asked a few times a second; when the page is to be
// shown, it takes the window there.
const { invoke } = window.__TAURI__.core
const byID = (id) => document.getElementById(id)

let refused = "" // what was typed last, in words
let filled = false

const set = (id, text) => {
	const e = byID(id)
	if (e.textContent !== text) e.textContent = text
	e.hidden = !text
}

function show(view) {
	const words = {
		looking: () => (view.found.length > 0 ? "On this network:" : "Looking for relays on this network … They are found if they run with --iroh --mdns."),
		starting: () => "The local relay is starting …",
		reaching: () => (view.problem ? `${view.relay} is not reached. It is tried again.` : `Reaching ${view.relay} …`),
		ended: () => `It is started again ${again(view)}.`,
		page: () => "Here is the page …",
	}[view.at]
	set("notice", view.notice ?? "")
	set("problem", refused || (view.at === "reaching" && view.problem ? explain(view.problem) : view.problem ?? ""))
	byID("ask").hidden = view.at !== "ask"
	byID("wait").hidden = view.at === "ask"
	byID("look").hidden = !view.can_look
	list(view.at === "looking" ? view.found : [])
	byID("anyway").hidden = !(view.at === "reaching" && view.problem)
	if (words) set("words", words())
	else if (!filled) {
		filled = true
		byID("to").value = view.last?.to ?? ""
		byID("fingerprint").value = view.last?.fingerprint ?? ""
		if (view.last?.fingerprint) byID("fingerprint").closest("details").open = true
		byID("to").focus()
	}
}

/** A button for each relay that was found: a click joins it. */
function list(found) {
	const ul = byID("found")
	ul.hidden = found.length === 0
	const seen = JSON.stringify(found)
	if (ul.dataset.seen === seen) return
	ul.dataset.seen = seen
	ul.replaceChildren(...found.map((r) => {
		const [li, button, id] = ["li", "button", "small"].map((tag) => document.createElement(tag))
		button.type = "button"
		id.textContent = r.id // as ec-relay status shows there: who knows the relay can compare
		button.append(`The relay at ${r.addr}`, id)
		button.addEventListener("click", () => invoke("join", { to: r.id, fingerprint: "" }).then(look))
		li.append(button)
		return li
	}))
}

function again(view) {
	const left = Math.ceil((view.again - Date.now()) / 1000)
	return left > 0 ? `in ${left} s` : "now"
}

/** The log's reasons, for people. */
function explain(why) {
	const known = [
		[/no recent network activity|timeout|deadline/i, "It does not answer. Is it running, and is the address right?"],
		[/connection refused/i, "Nothing listens there."],
		[/no such host|server misbehaving|name resolution/i, "Nobody knows a machine of that name."],
		[/network is unreachable|no route to host/i, "There is no way there; is this machine on the network?"],
		[/another fingerprint/i, "Another relay than the one you named is there: its key has another fingerprint."],
		[/not trusted|unknown authority|certificate/i, "It is not known whether that is the right relay: give the fingerprint of its key, or a ticket."],
		[/expired/i, "The ticket has expired. Ask for another one."],
		[/ticket|unauthorized|token/i, "The relay does not let this ticket in; it may have been used up."],
	].find(([pattern]) => pattern.test(why))
	return known ? `${known[1]} (${why})` : why
}

byID("ask").addEventListener("submit", async (e) => {
	e.preventDefault()
	refused = ""
	await invoke("join", { to: byID("to").value, fingerprint: byID("fingerprint").value }).catch((why) => (refused = String(why)))
	look()
})
byID("leave").addEventListener("click", () => {
	filled = false
	invoke("leave").then(look)
})
byID("look").addEventListener("click", () => invoke("look").then(look))
byID("anyway").addEventListener("click", () => invoke("anyway").then(look))

async function look() {
	try {
		show(await invoke("state"))
	} catch (why) {
		set("problem", `This program does not answer itself: ${why}`)
	}
}
setInterval(look, 250)
look()
