// Prints whose work is in the programs of the package, and under which licence; a text that many have stands once, below them.
// scripts/desktop-deb puts that into the package.
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"

const run = (command, ...args) => execFileSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] })

/** The texts in a component's folder. */
function texts(dir) {
	const names = readdirSync(dir, { withFileTypes: true }).filter((e) => e.isFile() && /^(licen[cs]e|copying|notice|copyright|unlicense)/i.test(e.name))
	return names.map((e) => readFileSync(join(dir, e.name), "utf8").replaceAll("\r", "").trim())
}

/** The crates of a program of this machine's kind; those that only build it are among them. */
function crates(manifest) {
	const host = /^host: (.*)$/m.exec(run("rustc", "-vV"))[1]
	const { packages } = JSON.parse(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host, "--manifest-path", manifest))
	return packages.filter((p) => p.source).map((p) => ({
		name: `${p.name} ${p.version}`, licence: p.license ?? "", source: `https://crates.io/crates/${p.name}/${p.version}`, texts: texts(dirname(p.manifest_path)),
	}))
}

function modules() {
	const form = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}"
	const lines = new Set(run("go", "list", "-deps", "-f", form, "./cmd/ec-relay").split("\n").filter(Boolean))
	const goroot = run("go", "env", "GOROOT").trim()
	const own = existsSync(join(goroot, "LICENSE")) ? [{ name: run("go", "env", "GOVERSION").trim(), licence: "", source: "https://go.dev", texts: texts(goroot) }] : []
	return own.concat([...lines].map((line) => {
		const [name, dir] = line.split("\t")
		return { name, licence: "", source: `https://${name.split(" ")[0]}`, texts: texts(dir) }
	}))
}

function inPage() {
	const p = JSON.parse(readFileSync("web/package.json", "utf8"))
	return Object.keys(p.dependencies ?? {}).map((name) => {
		const dir = join("web/node_modules", name)
		const { version, license } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"))
		return { name: `${name} ${version}`, licence: license, source: `https://www.npmjs.com/package/${name}`, texts: texts(dir) }
	})
}

const components = new Map([...crates("desktop/Cargo.toml"), ...crates("bridge/Cargo.toml"), ...modules(), ...inPage()].map((c) => [c.name, c]))
const nameless = [...components.values()].filter((c) => !c.licence && c.texts.length === 0)
if (nameless.length > 0) throw new Error(`no licence is known of ${nameless.map((c) => c.name).join(", ")}`)

const byText = new Map()
for (const c of components.values()) {
	const key = c.texts.join("\n\n")
	byText.set(key, [...(byText.get(key) ?? []), c])
}
console.log("every.channel is licensed under the Apache License, Version 2.0. The programs in this package hold the work of others:\n")
for (const [text, of] of [...byText].sort(([, a], [, b]) => b.length - a.length)) {
	console.log("=".repeat(80))
	for (const c of of) console.log([c.name, c.licence, c.source].filter(Boolean).join(", "))
	console.log(`\n${text || "Its licence stands above; the component comes without its text."}\n`)
}
