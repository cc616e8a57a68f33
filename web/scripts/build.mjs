// Builds dist: the page, which any static host can serve. The old dist goes when the new one is whole, because go:embed takes what is there.
import { build } from "esbuild"
import { cp, mkdir, rename, rm } from "node:fs/promises"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const out = root + "build/page"
await rm(out, { recursive: true, force: true })
await mkdir(out, { recursive: true })
await build({
	entryPoints: { page: root + "src/page/main.ts", worker: root + "src/worker.ts" },
	outdir: out,
	bundle: true,
	format: "esm",
	target: ["chrome114", "firefox114", "safari16.4"],
	minify: true,
	sourcemap: false,
	legalComments: "inline",
	logLevel: "info",
})
for (const name of ["index.html", "style.css", "icon.svg"]) await cp(root + "src/page/" + name, out + "/" + name)
await rm(root + "dist", { recursive: true, force: true })
await rename(out, root + "dist")
