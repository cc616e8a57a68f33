([volume, muted]) => {
	const slider = document.getElementById("volume");
	const video = document.getElementById("video");
	if (!slider || !video) return;
	slider.value = String(volume);
	slider.dispatchEvent(new Event("input"));
	video.muted = muted;
}
