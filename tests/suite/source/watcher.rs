//! The watcher tells of every change that matters, and of nothing else. The bounds are for a test that
//! would otherwise hang, not for speed.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use twinops::source::{self, Watcher};

use super::{Folder, names, twin};

const HANGS: Duration = Duration::from_secs(30);

/// Waits until the folders declare these twins, looking only when the watcher says so.
async fn until(watcher: &mut Watcher, paths: &[PathBuf], recursive: bool, expected: &[&str]) {
    let seen = async {
        while names(&source::scan(paths, recursive)) != expected {
            watcher.changed().await;
        }
    };
    let seen = timeout(HANGS, seen).await;
    assert!(seen.is_ok(), "waited for {expected:?}, found {:?}", names(&source::scan(paths, recursive)));
}

async fn files_that_come_change_and_go_are_told(polling: bool) {
    let folder = Folder::new(&[("a.yaml", &twin("a", ""))]);
    let paths = [folder.path()];
    let mut watcher = Watcher::start(&paths, false, polling);
    folder.write("b.yaml", &twin("b", ""));
    until(&mut watcher, &paths, false, &["a", "b"]).await;
    folder.write("b.yaml", &twin("renamed", ""));
    until(&mut watcher, &paths, false, &["a", "renamed"]).await;
    folder.remove("a.yaml");
    until(&mut watcher, &paths, false, &["renamed"]).await;
    folder.write("b.yaml", "{");
    until(&mut watcher, &paths, false, &[]).await;
    folder.write("b.yaml", &twin("mended", ""));
    until(&mut watcher, &paths, false, &["mended"]).await;
}

/// Editors write beside the file and rename over it: the file that is watched is then another one.
async fn a_file_that_is_replaced_is_followed(polling: bool) {
    let folder = Folder::new(&[("a.yaml", &twin("a", ""))]);
    for paths in [[folder.path()], [folder.path().join("a.yaml")]] {
        let mut watcher = Watcher::start(&paths, false, polling);
        for name in ["first", "second", "third"] {
            folder.write(".a.yaml.swp", &twin(name, ""));
            fs::rename(folder.path().join(".a.yaml.swp"), folder.path().join("a.yaml")).unwrap();
            until(&mut watcher, &paths, false, &[name]).await;
        }
    }
}

async fn a_folder_that_goes_and_comes_back_is_followed(polling: bool) {
    let above = Folder::new(&[("twins/a.yaml", &twin("a", ""))]);
    let path = above.path().join("twins");
    let paths = [path.clone()];
    let mut watcher = Watcher::start(&paths, false, polling);
    for round in ["one", "two"] {
        fs::remove_dir_all(&path).unwrap();
        until(&mut watcher, &paths, false, &[]).await;
        above.write("twins/b.yaml", &twin(round, ""));
        until(&mut watcher, &paths, false, &[round]).await;
        above.write("twins/b.yaml", &twin("later", ""));
        until(&mut watcher, &paths, false, &["later"]).await;
        fs::rename(&path, above.path().join("aside")).unwrap();
        until(&mut watcher, &paths, false, &[]).await;
        fs::rename(above.path().join("aside"), &path).unwrap();
        until(&mut watcher, &paths, false, &["later"]).await;
    }
}

async fn a_folder_that_does_not_exist_yet_is_waited_for(polling: bool) {
    let above = Folder::new(&[]);
    let paths = [above.path().join("twins")];
    let mut watcher = Watcher::start(&paths, true, polling);
    above.write("twins/below/a.yaml", &twin("a", ""));
    until(&mut watcher, &paths, true, &["a"]).await;
    above.write("twins/below/deeper/b.yaml", &twin("b", ""));
    until(&mut watcher, &paths, true, &["a", "b"]).await;
}

/// Kubernetes mounts a `ConfigMap` as links through `..data`, and updates it by turning that link over.
async fn a_mounted_config_map_is_followed(polling: bool) {
    let folder = Folder::new(&[("..1/a.yaml", &twin("first", "")), ("..2/a.yaml", &twin("second", ""))]);
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.path().join(at)).unwrap();
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let paths = [folder.path()];
    let mut watcher = Watcher::start(&paths, false, polling);
    until(&mut watcher, &paths, false, &["first"]).await;
    link("..2", "..data_tmp");
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    until(&mut watcher, &paths, false, &["second"]).await;
}

/// Were reading a change, or the engine's state in a dot folder, `dev` would never rest.
async fn reading_and_files_that_are_not_ours_are_no_change(polling: bool) {
    let folder = Folder::new(&[("a.yaml", &twin("a", "")), (".twinops/journal", "")]);
    let paths = [folder.path()];
    let mut watcher = Watcher::start(&paths, true, polling);
    for _ in 0..3 {
        source::scan(&paths, true);
        folder.write(".twinops/journal", "more");
        folder.write("notes.txt", "more");
    }
    let quiet = timeout(Duration::from_millis(1_500), watcher.changed()).await;
    assert!(quiet.is_err(), "told of a change that is none");
    folder.write("b.yaml", &twin("b", ""));
    until(&mut watcher, &paths, true, &["a", "b"]).await;
}

/// Each of these told by the system, and found by looking every second as where the system cannot tell.
macro_rules! both_ways {
    ($($name:ident)*) => {
        mod told {
            $(#[tokio::test] async fn $name() { super::$name(false).await; })*
        }
        mod polled {
            $(#[tokio::test] async fn $name() { super::$name(true).await; })*
        }
    };
}

both_ways! {
    files_that_come_change_and_go_are_told
    a_file_that_is_replaced_is_followed
    a_folder_that_goes_and_comes_back_is_followed
    a_folder_that_does_not_exist_yet_is_waited_for
    a_mounted_config_map_is_followed
    reading_and_files_that_are_not_ours_are_no_change
}
