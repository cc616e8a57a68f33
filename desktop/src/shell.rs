//! The window: the start view, which is part of the program, or the page of the local relay, and nothing else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tauri::menu::{MenuBuilder, SubmenuBuilder};
use tauri::webview::{NewWindowResponse, PageLoadEvent};
use tauri::{AppHandle, Manager, RunEvent, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent};
use webkit2gtk::{NetworkProxyMode, WebViewExt, WebsiteDataManagerExt};

use crate::keeper::{Handle, Keeper, State, Times, Wish};
use crate::memory::{Book, Target};
use crate::relay::Place;

const NAME: &str = "every.channel";

/// What threads share.
struct Shell {
    keeper: Handle,
    can_look: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    book: Book,
    /// about what was remembered, for the start view
    notice: Option<String>,
    /// the page says what it plays from when on it was told what was remembered
    watched: bool,
    title: String,
}

impl Inner {
    /// Where the window belongs.
    fn destination(&self) -> Option<Url> {
        let State::Page { url, .. } = &self.state else {
            return Url::parse("tauri://localhost/index.html").ok();
        };
        let mut url = Url::parse(url).ok()?;
        url.set_fragment(Some(self.book.memory.broadcast.as_str()).filter(|b| !b.is_empty()));
        Some(url)
    }
}

impl Shell {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports whether the window may go there.
    fn may_show(&self, url: &Url) -> bool {
        is_start(url) || self.is_page(url)
    }

    fn is_page(&self, url: &Url) -> bool {
        matches!(&self.lock().state, State::Page { url: page, .. } if Url::parse(page).is_ok_and(|p| p.origin() == url.origin()))
    }
}

fn is_start(url: &Url) -> bool {
    url.scheme() == "tauri" && url.host_str() == Some("localhost")
}

/// Opens the window and blocks until it is closed and nothing runs any more.
pub fn run(place: Place, remembered: PathBuf) -> tauri::Result<()> {
    let (book, notice) = Book::open(remembered);
    let known = book.memory.relay.clone();
    let app: Arc<OnceLock<AppHandle>> = Arc::default();
    let shown = app.clone();
    let can_look = place.has_iroh();
    let (keeper, handle) = Keeper::new(place, Times::default(), move |state| {
        if let Some(app) = shown.get() {
            show(app, state);
        }
    });
    let inner = Inner { state: State::Ask { problem: None }, book, notice, watched: false, title: NAME.to_owned() };
    let kept = Arc::new(Mutex::new(None));
    let (keeping, wishes) = (kept.clone(), handle.clone());
    let built = tauri::Builder::default()
        .manage(Shell { keeper: handle.clone(), can_look, inner: Mutex::new(inner) })
        .invoke_handler(tauri::generate_handler![state, join, leave, anyway, look])
        .setup(move |a| {
            open(a.handle())?;
            // The keeper speaks once there is a window.
            let _ = app.set(a.handle().clone());
            *keeping.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::spawn(move || keeper.keep()));
            if let Some(target) = known {
                wishes.wish(Wish::Join(target));
            }
            let watched = a.handle().clone();
            thread::spawn(move || {
                loop {
                    thread::sleep(Duration::from_secs(1));
                    watch(&watched);
                }
            });
            Ok(())
        })
        .build(tauri::generate_context!())?;
    let code = built.run_return(|app, event| {
        if let RunEvent::Exit = event {
            save(app.state::<Shell>().lock());
        }
    });
    handle.wish(Wish::Quit);
    if let Some(kept) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = kept.join();
    }
    std::process::exit(code)
}

fn open(app: &AppHandle) -> tauri::Result<()> {
    let (width, height) = {
        let shell = app.state::<Shell>();
        let inner = shell.lock();
        (inner.book.memory.width, inner.book.memory.height)
    };
    let file = SubmenuBuilder::new(app, "Relay").text("another", "Another relay …").separator().text("quit", "Quit").build()?;
    let navigated = app.clone();
    let window = WebviewWindowBuilder::new(app, "main", WebviewUrl::App("index.html".into()))
        .title(NAME)
        .inner_size(width, height)
        .min_inner_size(320.0, 240.0)
        .menu(MenuBuilder::new(app).item(&file).build()?)
        .on_navigation(move |url| navigated.state::<Shell>().may_show(url))
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .on_document_title_changed(|window, title| {
            window.state::<Shell>().lock().title = title;
            entitle(&window);
        })
        .on_page_load(|window, load| {
            if load.event() == PageLoadEvent::Finished && window.state::<Shell>().is_page(load.url()) {
                remind(&window);
            }
        })
        .build()?;
    let prepared = app.clone();
    window.with_webview(move |view| prepare(&prepared, &view.inner()))?;
    window.on_menu_event(|window, event| {
        let shell = window.state::<Shell>();
        match event.id().as_ref() {
            "another" => shell.keeper.wish(Wish::Leave),
            "quit" => window.app_handle().exit(0),
            _ => {}
        }
    });
    let sized = window.clone();
    window.on_window_event(move |event| {
        if let WindowEvent::Resized(size) = event {
            // A picture on the whole screen has no menu above it, and its size is not that of the window.
            if sized.is_fullscreen().unwrap_or(false) {
                let _ = sized.hide_menu();
                return;
            }
            let _ = sized.show_menu();
            if !sized.is_maximized().unwrap_or(false) {
                let size = size.to_logical::<f64>(sized.scale_factor().unwrap_or(1.0));
                let shell = sized.state::<Shell>();
                let mut inner = shell.lock();
                (inner.book.memory.width, inner.book.memory.height) = (size.width, size.height);
            }
        }
    });
    Ok(())
}

/// Brings the window where the state belongs.
fn show(app: &AppHandle, state: &State) {
    let shell = app.state::<Shell>();
    let (before, to) = {
        let mut inner = shell.lock();
        let before = std::mem::replace(&mut inner.state, state.clone());
        (before, inner.destination())
    };
    let Some(window) = app.get_webview_window("main") else {
        return;
    };
    match (&before, state) {
        (State::Page { url: was, .. }, State::Page { url, away }) if was == url => say_away(&window, away.as_deref()),
        (State::Page { .. }, _) | (_, State::Page { .. }) => {
            go(&window, to);
        }
        _ => {} // the start view asks
    }
    entitle(&window);
}

fn go(window: &WebviewWindow, to: Option<Url>) {
    let shell = window.state::<Shell>();
    let mut inner = shell.lock();
    inner.watched = false;
    inner.title = NAME.to_owned();
    drop(inner);
    if let Some(to) = to {
        let _ = window.navigate(to);
    }
}

/// What Tauri has no words for: no proxy, and a window that fills again.
fn prepare(app: &AppHandle, view: &webkit2gtk::WebView) {
    // What the environment or the desktop names as proxy is for other machines, and only this one is asked here.
    if let Some(data) = view.website_data_manager() {
        data.set_network_proxy_settings(NetworkProxyMode::NoProxy, None);
    }
    // The process behind the view may crash, or be killed when memory is short: then the window is empty.
    let app = app.clone();
    view.connect_web_process_terminated(move |_, why| {
        eprintln!("every-channel: warning: the web view's process ended: {why:?}");
        let app = app.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(1)); // should it always crash
            let to = app.state::<Shell>().lock().destination();
            if let Some(window) = app.get_webview_window("main") {
                go(&window, to);
                entitle(&window);
            }
        });
    });
}

/// The window's title: the page's, and that the relay is away, if so.
fn entitle(window: &WebviewWindow) {
    let shell = window.state::<Shell>();
    let title = {
        let inner = shell.lock();
        match &inner.state {
            State::Page { away: Some(_), .. } => format!("{} – relay not reached", inner.title),
            State::Page { .. } => inner.title.clone(),
            _ => NAME.to_owned(),
        }
    };
    let _ = window.set_title(&title);
}

/// A script applied to a value.
fn script(source: &str, value: &impl Serialize) -> String {
    format!("({source})({})", serde_json::to_string(value).unwrap_or_else(|_| "null".into()))
}

/// Above the page: that what is shown is what the local relay has.
fn say_away(window: &WebviewWindow, away: Option<&str>) {
    let words = away.map(|why| format!("The relay is not reached ({why}). What was received before can be watched; it is tried again."));
    let _ = window.eval(script(include_str!("away.js"), &words));
}

/// Tells the page, once it is there, what was remembered.
fn remind(window: &WebviewWindow) {
    let shell = window.state::<Shell>();
    let (memory, away) = {
        let inner = shell.lock();
        let away = if let State::Page { away, .. } = &inner.state { away.clone() } else { None };
        (inner.book.memory.clone(), away)
    };
    let told = window.clone();
    // A view that was led to the page before it had loaded says that it has loaded, too, and does not have the page yet.
    let _ = window.eval_with_callback(script(include_str!("remind.js"), &(memory.volume, memory.muted)), move |done| {
        if done == "true" {
            told.state::<Shell>().lock().watched = true;
        }
    });
    say_away(window, away.as_deref());
}

/// What a look at the page gives.
#[derive(Deserialize)]
struct Seen {
    fragment: String,
    volume: f64,
    muted: bool,
}

/// Looks at what the page plays, and remembers. The page itself can ask this program for nothing.
fn watch(app: &AppHandle) {
    let shell = app.state::<Shell>();
    let Some(window) = app.get_webview_window("main") else {
        return;
    };
    let watched = shell.lock().watched; // nobody holds the lock while waiting for the window
    if watched && window.url().is_ok_and(|u| shell.is_page(&u)) {
        let app = app.clone();
        let _ = window.eval_with_callback(include_str!("watch.js"), move |json| {
            let Ok(seen) = serde_json::from_str::<Seen>(&json) else {
                return;
            };
            let shell = app.state::<Shell>();
            let mut inner = shell.lock();
            if !inner.watched {
                return;
            }
            if !seen.fragment.is_empty() && seen.fragment.len() <= 2048 {
                inner.book.memory.broadcast = seen.fragment;
            }
            if (0.0..=1.0).contains(&seen.volume) {
                (inner.book.memory.volume, inner.book.memory.muted) = (seen.volume, seen.muted);
            }
        });
    }
    save(shell.lock());
}

fn save(mut inner: MutexGuard<'_, Inner>) {
    if let Err(e) = inner.book.save() {
        let words = format!("Nothing is remembered: {e}.");
        if inner.notice.as_ref() != Some(&words) {
            eprintln!("every-channel: warning: {words}");
            inner.notice = Some(words);
        }
    }
}

/// What the start view shows.
#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    state: State,
    notice: Option<String>,
    /// relays on the local network can be looked for
    can_look: bool,
    /// the address that was last joined; of a ticket, which is a secret, nothing
    last: Option<Target>,
}

#[tauri::command]
fn state(shell: tauri::State<'_, Shell>) -> View {
    let inner = shell.lock();
    let last = inner.book.memory.relay.clone().filter(Target::is_address);
    View { state: inner.state.clone(), notice: inner.notice.clone(), can_look: shell.can_look, last }
}

#[tauri::command]
fn join(shell: tauri::State<'_, Shell>, to: String, fingerprint: String) -> Result<(), String> {
    let target = Target { to: to.trim().to_owned(), fingerprint: fingerprint.trim().to_lowercase() };
    if let Some(why) = target.nonsense() {
        return Err(why.into());
    }
    let mut inner = shell.lock();
    if inner.book.memory.relay.as_ref() != Some(&target) {
        inner.book.memory.relay = Some(target.clone());
        inner.book.memory.broadcast.clear();
    }
    drop(inner);
    save(shell.lock());
    shell.keeper.wish(Wish::Join(target));
    Ok(())
}

#[tauri::command]
fn leave(shell: tauri::State<'_, Shell>) {
    shell.keeper.wish(Wish::Leave);
}

#[tauri::command]
fn look(shell: tauri::State<'_, Shell>) {
    shell.keeper.wish(Wish::Look);
}

#[tauri::command]
fn anyway(shell: tauri::State<'_, Shell>) {
    shell.keeper.wish(Wish::Anyway);
}
