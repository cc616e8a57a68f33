(() => {
	const video = document.getElementById("video");
	return video && { fragment: location.hash.slice(1), volume: Math.round(video.volume * 100) / 100, muted: video.muted };
})()
