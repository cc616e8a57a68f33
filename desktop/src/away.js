(words) => {
	let p = document.getElementById("shell-away");
	if (!words) return p?.remove();
	if (!p) {
		p = document.createElement("p");
		p.id = "shell-away";
		p.setAttribute("role", "alert");
		Object.assign(p.style, { padding: ".6rem 1rem", borderRadius: ".5rem", margin: ".6rem 0 0", background: "#fca311", color: "#14213d" });
		document.body.prepend(p);
	}
	p.textContent = words;
}
