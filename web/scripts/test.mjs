// Runs test/*.test.ts with node's test runner, bundled first: node 20 reads no TypeScript.
import { build } from "esbuild"
import { spawnSync } from "node:child_process"
import { readdirSync, rmSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const out = root + "build/test"
rmSync(out, { recursive: true, force: true })
const names = readdirSync(root + "test").filter((n) => n.endsWith(".test.ts"))
await build({
	entryPoints: names.map((n) => root + "test/" + n),
	outdir: out,
	outExtension: { ".js": ".mjs" },
	bundle: true,
	platform: "node",
	format: "esm",
	target: "node20",
	sourcemap: "inline",
	logLevel: "warning",
})
const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...process.argv.slice(2), ...names.map((n) => `${out}/${n.slice(0, -3)}.mjs`)], { stdio: "inherit", cwd: root })
process.exit(run.status ?? 1)
