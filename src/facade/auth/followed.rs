//! Files that may be replaced while we run.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// How often a file is looked at for a newer one: the kubelet needs about a minute to replace a Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A file as it was understood last. One that turns bad keeps what was there before.
pub struct Followed<T> {
    path: PathBuf,
    read: fn(&str) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    looked: Instant,
    written: Option<SystemTime>,
    value: Arc<T>,
}

impl<T> Followed<T> {
    pub fn open(path: &Path, read: fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let written = written(path);
        let value = Arc::new(load(path, read)?);
        let state = Mutex::new(State { looked: Instant::now(), written, value });
        Ok(Self { path: path.to_owned(), read, state })
    }

    pub fn value(&self) -> Arc<T> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let written = written(&self.path);
            if written != state.written {
                state.written = written;
                match load(&self.path, self.read) {
                    Ok(value) => state.value = Arc::new(value),
                    Err(error) => tracing::warn!(%error, "the earlier file is used on"),
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn load<T>(path: &Path, read: fn(&str) -> Result<T, String>) -> Result<T, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    read(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Lines that say something, with their numbers from 1.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end_matches('\r')));
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

/// A name that may stand in a subject, which Ditto takes in a list parted by commas.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
impl<T> Followed<T> {
    /// Looks at the file at the next use, whenever it looked last.
    pub fn look_again(&self) {
        self.state.lock().looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
    }
}
