use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [command, out, folder] = args.as_slice() else { return Err("use: twinops crds --out DIR".into()) };
    if (command.as_str(), out.as_str()) != ("crds", "--out") {
        return Err("use: twinops crds --out DIR".into());
    }
    fs::create_dir_all(folder)?;
    for (file, text) in twinops::api::crds() {
        fs::write(Path::new(folder).join(file), text)?;
    }
    Ok(())
}
