//! The bridge against real parts: Mosquitto, our engine, and clients of others. A missing program is an error that names
//! the command which installs it.
mod broker;
mod commands;
mod dev;
mod kills;
mod limits;
mod load;
mod security;
mod telemetry;

use std::path::Path;

use serde_json::{Value, json};

use crate::support::ditto::{Ditto, Engine, folder};
use crate::support::mqtt::{Bridge, Mosquitto, SOON};
use crate::support::wait_for;

pub const USER: &str = "nginx:ditto";

/// Engine, Mosquitto and bridge. Fields end in this order.
pub struct Site {
    pub bridge: Bridge,
    pub mosquitto: Mosquitto,
    pub engine: Engine,
    pub folder: tempfile::TempDir,
}

impl Site {
    pub fn start(flags: &[&str]) -> Self {
        Self::with("", flags)
    }

    /// `lines` are Mosquitto's.
    pub fn with(lines: &str, flags: &[&str]) -> Self {
        let folder = folder(&[]);
        let engine = Engine::start(folder.path(), None);
        let mosquitto = Mosquitto::start(folder.path(), lines);
        let bridge = Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, flags);
        Self { bridge, mosquitto, engine, folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn ditto(&self) -> &Ditto {
        &self.engine.ditto
    }
}

/// An empty thing.
#[track_caller]
pub fn create(ditto: &Ditto, id: &str) {
    let (status, body) = ditto.call(USER, "PUT", &format!("/things/{id}"), Some(&json!({})));
    assert_eq!(status, 201, "{body}");
}

/// The value of a feature.
pub fn value(ditto: &Ditto, id: &str, feature: &str) -> Value {
    ditto.call(USER, "GET", &format!("/things/{id}/features/{feature}/properties/value"), None).1
}

#[track_caller]
pub fn becomes(ditto: &Ditto, id: &str, feature: &str, expected: &Value) {
    let mut last = Value::Null;
    let what = format!("{feature} of {id} to become {expected}");
    wait_for(&what, SOON, || {
        last = value(ditto, id, feature);
        (last == *expected).then_some(())
    });
}

/// How often a loop repeats: small in `make test`, `TWINOPS_ROUNDS` in `make soak`, `most` at most.
pub fn rounds(usual: usize, most: usize) -> usize {
    let told = std::env::var("TWINOPS_ROUNDS").ok().and_then(|text| text.parse().ok());
    told.map_or(usual, |rounds: usize| rounds.min(most))
}
