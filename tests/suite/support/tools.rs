//! Where `make tools` has put the Kubernetes programs.
use std::{env, path::PathBuf, process::Command, sync::LazyLock};

/// `tests/tools/tools.sh` alone knows how the folder is named; `make test` has asked it already.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(folder) = env::var_os("TWINOPS_TOOLS_BIN") {
        return folder.into();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tools.sh");
    let output = Command::new("bash").args([script, "path"]).output().expect("bash runs");
    assert!(output.status.success(), "{script} path: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().into()
});

/// The program `make tools` built under this name: `etcd`, `kube-apiserver`, `kubectl` or `helm`.
///
/// # Panics
/// When it is not built, naming the command that builds it.
pub fn bin(tool: &str) -> PathBuf {
    let path = FOLDER.join(tool);
    assert!(path.is_file(), "{tool} is not built: run `make tools` (looked for {})", path.display());
    path
}
