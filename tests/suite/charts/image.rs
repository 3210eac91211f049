//! The image: its Dockerfile, and the binary that `make static` makes by the same step.
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::process::run;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// With the CA certificates of the image beside it, 0.22 MB, no more than 30 MB.
const BYTES_MAX: u64 = 29_780_000;

fn read(file: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{file}")).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_image_is_built_by_the_step_the_tests_run_and_holds_no_more() {
    let dockerfile = read("Dockerfile");
    let (build, last) = dockerfile.split_once("\nFROM scratch\n").expect("an empty image at the end");
    assert!(build.contains("RUN make static CI=true && cp target/*-linux-gnu/image/twinops /twinops\n"));
    let makefile = read("Makefile");
    assert!(makefile.contains("$(CARGO) rustc $(LOCKED) --profile image --target $(STATIC_TARGET)"));
    assert!(makefile.contains("-Ctarget-feature=+crt-static"));
    let needs = |goal: &str, first: &str| {
        let line = makefile.lines().find(|line| line.starts_with(&format!("{goal}: ")));
        line.is_some_and(|line| line.split_whitespace().any(|word| word == first))
    };
    assert!(needs("test", "images") && needs("images", "static"), "make test runs it");
    let lines: Vec<_> = last.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
            "COPY --from=build /twinops /twinops",
            "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "USER 10001:10001",
            "ENTRYPOINT [\"/twinops\"]",
        ]
    );
    // What the build needs is let in, and nothing else: no folder of data, no `target`.
    let ignored = read(".dockerignore");
    let copied = build.lines().filter_map(|line| line.strip_prefix("COPY ")).flat_map(|line| line.split(' '));
    for source in
        copied.filter(|word| !word.starts_with("./") && fs::exists(format!("{ROOT}/{word}")).unwrap())
    {
        assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is not let in");
    }
    assert!(ignored.starts_with("*\n"));
}

/// Of the build for this machine.
fn binary() -> PathBuf {
    let path =
        PathBuf::from(format!("{ROOT}/target/{}-unknown-linux-gnu/image/twinops", std::env::consts::ARCH));
    assert!(
        path.is_file(),
        "the static binary is not built: run `make static` (looked for {})",
        path.display()
    );
    path
}

/// The types of the segments of a 64-bit little-endian ELF file. Source: elf(5).
fn segments(bytes: &[u8]) -> Vec<u32> {
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(&bytes[..6], b"\x7fELF\x02\x01");
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|index| u32::try_from(number(start + index * size, 4)).unwrap()).collect()
}

#[test]
fn the_binary_of_the_image_needs_nothing_beside_it() {
    const INTERPRETER: u32 = 3;
    let path = binary();
    let bytes = fs::read(&path).unwrap();
    assert!(!segments(&bytes).contains(&INTERPRETER), "it wants a dynamic linker");
    assert!(
        segments(&fs::read("/proc/self/exe").unwrap()).contains(&INTERPRETER),
        "the test tells one from the other"
    );
    assert!(bytes.len() as u64 <= BYTES_MAX, "{} bytes", bytes.len());
    let mut command = Command::new(&path);
    command.env_clear().arg("--version");
    assert_eq!(run(command, "").ok(), format!("twinops {}\n", env!("CARGO_PKG_VERSION")));
    let mut command = Command::new(&path);
    command.env_clear().arg("crds");
    assert!(run(command, "").ok().contains("digitaltwins.twinops.dev"));
}

#[test]
fn ports_of_kind_are_those_of_the_laptop() {
    let kind: serde_json::Value = serde_yaml::from_str(&read("kind-config.yaml")).unwrap();
    let rendered = super::template(&[super::LAPTOP], &[]);
    let engine = super::template(&[super::LAPTOP, "backend=engine"], &[]);
    for mapping in kind["nodes"][0]["extraPortMappings"].as_array().unwrap() {
        let line = format!("nodePort: {}\n", mapping["containerPort"]);
        assert!(rendered.contains(&line) && engine.contains(&line), "{mapping}");
        assert_eq!(mapping["listenAddress"], "127.0.0.1", "{mapping}");
    }
    let makefile = read("Makefile");
    let steps = [
        "kind create cluster --config kind-config.yaml",
        "kind load docker-image",
        "values-laptop.yaml",
        "apply --server-side -f manifests/samples",
    ];
    let found: Vec<_> = steps.iter().map(|step| makefile.find(step).expect(step)).collect();
    assert!(found.is_sorted(), "{found:?}");
}
