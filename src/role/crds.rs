//! `twinops crds`
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

/// Prints the CRDs, or writes a file for each into `out`.
pub fn run(out: Option<&Path>) -> anyhow::Result<ExitCode> {
    for (file, text) in crate::api::crds() {
        match out {
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                let path = folder.join(file);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                println!("wrote {}", path.display());
            }
            None => print!("---\n{text}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
