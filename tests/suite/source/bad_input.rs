//! Every mistake is named by file and line, and says what to change.
use super::{Folder, names, twin};

#[test]
fn mistakes_in_a_twin_name_their_line_and_what_to_change() {
    let cases = [
        // YAML 1.1 of kubectl against YAML 1.2
        ("  attributes: {x: 1, y: 2}", "6: kubectl reads the key `y` as the boolean true: put it in quotes"),
        (
            "  attributes:\n    a: 1\n    No: 2",
            "8: kubectl reads the key `No` as the boolean false: put it in quotes",
        ),
        ("  features:\n    on: {}", "7: kubectl reads the key `on` as the boolean true: put it in quotes"),
        ("  attributes: {true: 1}", "6: kubectl reads the key `true` as the boolean true: put it in quotes"),
        ("  definition: on", "6: kubectl reads `on` as the boolean true: put it in quotes, or write true"),
        (
            "  attributes: {a: [x, n]}",
            "6: kubectl reads `n` as the boolean false: put it in quotes, or write false",
        ),
        (
            "  attributes:\n    zip: 007",
            "7: kubectl reads `007` as an octal number: put it in quotes, or drop the zeros",
        ),
        // null
        (
            "  attributes:\n    a:\n      b: null",
            "8: /spec/attributes/a/b is null: give it a value or leave the key out",
        ),
        (
            "  attributes: {a: [1, ~]}",
            "6: /spec/attributes/a/1 is null: give it a value or leave the key out",
        ),
        (
            "  features:\n    f:\n  suspend: true",
            "7: /spec/features/f is null: give it a value or leave the key out",
        ),
        // keys
        ("  attributes:\n    a: 1\n    b: 2\n    a: 3", "9: the key `a` stands there twice: remove one"),
        ("  attributes: {1: x}", "6: a text is expected, and `1` is none: put it in quotes"),
        ("  attributs: {a: 1}", "6: /spec/attributs is no field: correct its name or remove it"),
        (
            "  features:\n    f:\n      propertys: {a: 1}",
            "8: /spec/features/f/propertys is no field: correct its name or remove it",
        ),
        // types
        ("  definition: 5", "6: a text is expected, and `5` is none: put it in quotes"),
        ("  suspend: maybe", "6: a boolean is expected: write true or false"),
        ("  attributes: 5", "6: a mapping, `key: value`, is expected: write one"),
        ("  features: [a]", "6: a mapping, `key: value`, is expected: write one"),
        (
            "  features:\n    f: {definition: a:b:1}",
            "7: a list, `[…]` or lines with `- `, is expected: write one",
        ),
        ("  management: {drift: Enforced}", "6: `Enforced` is not known here: write Enforce, Report, Ignore"),
        ("  management: {fields: [{path: /a}]}", "6: mode is missing: add it"),
        ("  telemetry: {maxRate: fast}", "6: a number is expected (i32): write one"),
        ("  attributes: {a: .nan}", "6: `.nan` has no place in JSON: write a number, or put it in quotes"),
        // no YAML
        (
            "  attributes: a: b",
            "6: no YAML (mapping values are not allowed in this context): put a text that holds `: ` in quotes, \
             and indent members of one mapping alike",
        ),
        ("  attributes: {a: 1", "6: no YAML (unclosed bracket '{'): close what is open here"),
        ("  attributes: {a: \"x}", "6: no YAML (unclosed quote): close what is open here"),
        (
            "  attributes: *nowhere",
            "6: no YAML (while parsing node, found unknown anchor): define the anchor with & before it is used",
        ),
    ];
    for (more, expected) in cases {
        let folder = Folder::new(&[("a.yaml", &twin("a", &format!("{more}\n")))]);
        let snapshot = folder.read();
        assert_eq!(folder.told(&snapshot.problems), [format!("a.yaml:{expected}")], "{more}");
        assert_eq!((names(&snapshot).len(), snapshot.broken.len()), (0, 1), "{more}");
    }
}

#[test]
fn mistakes_around_the_spec_name_what_to_write() {
    let ours = twin("a", "");
    let cases = [
        (
            ours.replace("v1alpha1", "v1"),
            "1: twinops.dev/v1 is not known here: write apiVersion: twinops.dev/v1alpha1",
        ),
        (
            ours.replace("DigitalTwin", "DigitalTwins"),
            "2: DigitalTwins is no kind of twinops.dev: write DigitalTwin or TwinPolicy",
        ),
        (ours.replace("kind: DigitalTwin\n", ""), "1: no kind: write kind: DigitalTwin"),
        ("\nhello: world\n".into(), "2: no apiVersion: write apiVersion: twinops.dev/v1alpha1"),
        ("just a text\n".into(), "1: no apiVersion: write apiVersion: twinops.dev/v1alpha1"),
        ("- 1\n".into(), "1: no apiVersion: write apiVersion: twinops.dev/v1alpha1"),
        (ours.replace("{name: a}", "{}"), "1: no metadata.name: give the resource a name"),
        (
            ours.replace("{name: a}", "{name: Pump_7}"),
            "3: `Pump_7` is no Kubernetes name: use a-z, 0-9, `-` and `.`",
        ),
        (
            ours.replace("{name: a}", "{name: a, namespace: a.b}"),
            "3: `a.b` is no Kubernetes namespace: use a-z, 0-9 and `-`",
        ),
        (ours.replace("{name: a}", "{name: 5}"), "3: a text is expected, and `5` is none: put it in quotes"),
        (
            ours.split("spec").next().unwrap().to_owned(),
            "1: no spec: write spec: and below it what is declared",
        ),
    ];
    for (text, expected) in cases {
        let folder = Folder::new(&[("a.yaml", &text)]);
        let problems = folder.told(&folder.read().problems);
        assert_eq!(problems, [format!("a.yaml:{expected}")], "{text}");
    }
}

#[test]
fn one_bad_document_holds_up_nobody_else() {
    let text = format!(
        "{}---\n{}---\n{}---\nkey: [\n",
        twin("a", ""),
        twin("b", "  attributes: {y: 1, n: 2}\n"),
        twin("c", "")
    );
    let folder = Folder::new(&[("a.yaml", &text), ("z.yaml", &twin("z", ""))]);
    let snapshot = folder.read();
    assert_eq!(names(&snapshot), ["a", "c", "z"]);
    let expected = [
        "a.yaml:12: kubectl reads the key `y` as the boolean true: put it in quotes",
        "a.yaml:12: kubectl reads the key `n` as the boolean false: put it in quotes",
        "a.yaml:20: no YAML (unclosed bracket '['): close what is open here",
    ];
    assert_eq!(folder.told(&snapshot.problems), expected);
}

#[test]
fn two_places_that_declare_one_twin_are_both_named_and_the_first_stays() {
    let second = format!("{}---\n{}", twin("other", ""), twin("a", "  suspend: true\n"));
    let policy =
        twin("a", "").replace("DigitalTwin", "TwinPolicy").replace("policyRef: {name: p}", "entries: {}");
    let folder = Folder::new(&[("1.yaml", &twin("a", "")), ("2.yaml", &second), ("3.yaml", &policy)]);
    let snapshot = folder.read();
    let expected = ["2.yaml:7: DigitalTwin default/a is declared at 1.yaml:1 already: remove one of the two"];
    assert_eq!(folder.told(&snapshot.problems), expected);
    assert_eq!(names(&snapshot), ["a", "other"]);
    assert!(!snapshot.twins[0].resource.spec.suspend);
    assert_eq!(snapshot.policies.len(), 1, "another kind may have the name");
}

#[test]
fn what_is_not_ours_is_skipped_with_a_line() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {y: n, a: null}\n";
    let text = format!("{map}---\n{}---\n{}", twin("a", ""), twin("b", "").replace("twinops.dev/", ""));
    let folder = Folder::new(&[("a.yaml", &text)]);
    let snapshot = folder.read();
    assert_eq!((names(&snapshot), &snapshot.problems), (vec!["a".into()], &vec![]));
    let expected = [
        "a.yaml:1: ConfigMap of v1 is not ours: skipped",
        "a.yaml:12: DigitalTwin of v1alpha1 is not ours: skipped; for TwinOps write twinops.dev/v1alpha1",
    ];
    assert_eq!(folder.told(&snapshot.skipped), expected);
}

#[test]
fn files_that_are_no_text_are_named() {
    let folder = Folder::new(&[("a.yaml", &twin("a", ""))]);
    std::fs::write(folder.path().join("latin.yaml"), b"name: p\xfcmp").unwrap();
    std::fs::File::create(folder.path().join("vast.yaml")).unwrap().set_len(17 << 20).unwrap();
    let snapshot = folder.read();
    let expected = [
        "latin.yaml: is not UTF-8 text: save it as UTF-8",
        "vast.yaml: has 17 MiB, at most 16 are read: split it into several files",
    ];
    assert_eq!(
        (folder.told(&snapshot.problems), names(&snapshot)),
        (expected.map(String::from).into(), vec!["a".into()])
    );
}

#[test]
fn s37_a_nest_of_anchors_is_a_problem_of_one_line() {
    let mut bomb = "  attributes:\n    a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}    a{level}: &a{level} [{below}]\n");
    }
    let deep = format!("  attributes: {{a: {}}}\n", "[".repeat(20_000));
    for more in [bomb, deep] {
        let folder = Folder::new(&[("a.yaml", &twin("a", &more)), ("b.yaml", &twin("b", ""))]);
        let snapshot = folder.read();
        assert_eq!(names(&snapshot), ["b"]);
        let problems = folder.told(&snapshot.problems);
        assert!(problems.len() == 1 && problems[0].starts_with("a.yaml:"), "{problems:?}");
        assert!(problems[0].len() < 200 && !problems[0].contains('\n'), "{problems:?}");
    }
}
