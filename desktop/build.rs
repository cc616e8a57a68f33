//! Makes a permission of each command, so that none is allowed but by the capability in capabilities/.

fn main() {
    let commands = tauri_build::AppManifest::new().commands(&["state", "join", "leave", "anyway", "look"]);
    if let Err(e) = tauri_build::try_build(tauri_build::Attributes::new().app_manifest(commands)) {
        eprintln!("{e:#}");
        std::process::exit(1);
    }
}
