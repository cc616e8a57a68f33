/** What a promise comes to, or undefined if that takes longer than ms. */
export async function within<T>(p: Promise<T>, ms: number): Promise<T | undefined> {
	let timer: ReturnType<typeof setTimeout> | undefined
	const late = new Promise<undefined>((done) => (timer = setTimeout(() => done(undefined), ms)))
	try {
		return await Promise.race([p, late])
	} finally {
		clearTimeout(timer)
	}
}
