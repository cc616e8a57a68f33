([volume, muted]) => {
	const slider = document.getElementById("volume");
	const video = document.getElementById("video");
	if (!slider || !video) return false;
	slider.value = String(muted ? 0 : volume);
	video.volume = volume;
	video.muted = muted;
	return true;
}
