//! What still holds while files blink, break and vanish.
use std::time::{Duration, Instant};

use twinops::source::{self, ABSENCE_MIN, Absences, Snapshot};

use super::{Folder, names, twin};

#[test]
fn a_broken_file_keeps_its_last_twins_and_no_other() {
    let both = format!("{}---\n{}", twin("a", ""), twin("b", ""));
    let folder = Folder::new(&[("1.yaml", &both), ("2.yaml", &twin("c", ""))]);
    let before = folder.read();
    folder
        .write("1.yaml", &format!("{}---\n{}", twin("a", "  suspend: true\n"), twin("b", "  attributes: {")));
    folder.remove("2.yaml");
    let after = source::merge(&before, folder.read());
    assert_eq!(names(&after), ["a", "b"]);
    assert!(after.twins[0].resource.spec.suspend, "a good document of the file is taken as it is now");
    assert_eq!(after.problems.len(), 1);

    folder.write("1.yaml", &twin("a", ""));
    assert_eq!(names(&source::merge(&after, folder.read())), ["a"], "once it is mended it counts again");
}

#[test]
fn a_broken_file_yields_nothing_to_a_second_place() {
    let later = twin("a", "  suspend: true\n");
    let folder = Folder::new(&[("1.yaml", &twin("a", "")), ("2.yaml", &later)]);
    let before = folder.read();
    folder.write("1.yaml", "{");
    let after = source::merge(&before, folder.read());
    assert_eq!(names(&after), ["a"]);
    assert!(!after.twins[0].resource.spec.suspend);
}

#[test]
fn a_file_that_lost_all_its_documents_keeps_them() {
    let rows = [
        ("truncated", String::new(), vec!["a", "b", "c"]),
        ("only comments", "# later\n".into(), vec!["a", "b", "c"]),
        (
            "only somebody else's",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n".into(),
            vec!["a", "b", "c"],
        ),
        ("one of two is left", twin("a", ""), vec!["a", "c"]),
    ];
    for (name, text, expected) in rows {
        let both = format!("{}---\n{}", twin("a", ""), twin("b", ""));
        let folder = Folder::new(&[("1.yaml", &both), ("2.yaml", &twin("c", ""))]);
        let before = folder.read();
        folder.write("1.yaml", &text);
        let after = source::merge(&before, folder.read());
        assert_eq!(names(&after), expected, "{name}");
        assert_eq!(after.problems.len(), usize::from(expected.len() == 3), "{name}: {:?}", after.problems);
        let told = folder.told(&after.problems);
        assert!(
            told.iter().all(|told| told.starts_with("1.yaml: declares nothing any more")),
            "{name}: {told:?}"
        );
        folder.remove("1.yaml");
        assert_eq!(
            names(&source::merge(&after, folder.read())),
            ["c"],
            "{name}: without the file it is meant"
        );
    }
}

/// Moved from file to file is not lost.
#[test]
fn documents_that_moved_leave_no_trace_in_the_file_they_left() {
    let folder = Folder::new(&[("1.yaml", &twin("a", "")), ("2.yaml", &twin("c", ""))]);
    let before = folder.read();
    folder.write("1.yaml", "");
    folder.write("2.yaml", &format!("{}---\n{}", twin("c", ""), twin("a", "  suspend: true\n")));
    let after = source::merge(&before, folder.read());
    assert_eq!((names(&after), &after.problems), (vec!["c".into(), "a".into()], &vec![]));
    assert!(after.twins[1].resource.spec.suspend);
}

#[test]
fn a_folder_that_vanishes_or_is_empty_deletes_nothing() {
    let (gone, kept) =
        (Folder::new(&[("a.yaml", &twin("a", ""))]), Folder::new(&[("b.yaml", &twin("b", ""))]));
    let paths = [gone.path(), kept.path()];
    let before = source::read(&paths, false).unwrap();

    gone.remove("a.yaml");
    let empty = source::merge(&before, source::read(&paths, false).unwrap());
    assert_eq!(names(&empty), ["a", "b"]);
    let expected = format!(
        "{}: declares nothing any more; nothing is deleted: put the files back, or start with --prune",
        gone.path().display()
    );
    assert_eq!(empty.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);

    let path = gone.path();
    drop(gone);
    kept.write("c.yaml", &twin("c", ""));
    let lost = source::merge(&empty, source::scan(&paths, false));
    assert_eq!(names(&lost), ["a", "b", "c"], "the other folder is followed meanwhile");
    let expected = format!(
        "{0}: {0} does not exist: name a folder or a file of YAML; nothing is deleted",
        path.display()
    );
    assert_eq!(lost.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

/// Lets `absences` see `folder` at these seconds and returns what is gone at each.
fn gone(absences: &mut Absences, start: Instant, looks: &[(u64, &Snapshot)]) -> Vec<(usize, Vec<String>)> {
    let look = |(millis, snapshot): &(u64, &Snapshot)| {
        let settled = absences.settle((*snapshot).clone(), start + Duration::from_millis(*millis));
        let gone = settled.gone.twins.iter().map(|twin| twin.key().to_string()).collect();
        (settled.snapshot.twins.len(), gone)
    };
    looks.iter().map(look).collect()
}

#[test]
fn a_document_is_gone_after_two_seconds_and_told_once() {
    let folder = Folder::new(&[("a.yaml", &twin("a", "")), ("b.yaml", &twin("b", ""))]);
    let both = folder.read();
    folder.remove("a.yaml");
    let one = folder.read();
    let none = || vec![];
    let told = || vec!["DigitalTwin default/a".to_owned()];
    let cases = [
        (
            "gone",
            vec![(0, &both), (10, &one), (2_009, &one), (2_010, &one), (9_000, &one)],
            vec![(2, none()), (2, none()), (2, none()), (1, told()), (1, none())],
        ),
        (
            "blinked twice",
            vec![(0, &both), (10, &one), (1_000, &both), (1_500, &one), (3_000, &one)],
            vec![(2, none()), (2, none()), (2, none()), (2, none()), (2, none())],
        ),
        (
            "gone and back",
            vec![(0, &both), (0, &one), (2_000, &one), (2_001, &both)],
            vec![(2, none()), (2, none()), (1, told()), (2, none())],
        ),
    ];
    for (name, looks, expected) in cases {
        assert_eq!(gone(&mut Absences::default(), Instant::now(), &looks), expected, "{name}");
    }
}

#[test]
fn who_waits_is_told_when_to_look_again() {
    let folder = Folder::new(&[("a.yaml", &twin("a", "")), ("b.yaml", &twin("b", ""))]);
    let (mut absences, start) = (Absences::default(), Instant::now());
    assert_eq!(absences.settle(folder.scan(), start).again, None);
    folder.remove("a.yaml");
    let again = absences.settle(folder.scan(), start).again;
    assert_eq!(again, Some(start + ABSENCE_MIN));
    let last = absences.settle(folder.scan(), again.unwrap());
    assert_eq!((last.again, last.gone.twins.len()), (None, 1));
}

#[test]
fn a_file_that_comes_back_broken_has_not_been_deleted() {
    let folder = Folder::new(&[("a.yaml", &twin("a", "")), ("b.yaml", &twin("b", ""))]);
    let (mut absences, start) = (Absences::default(), Instant::now());
    let mut look = |millis| absences.settle(folder.scan(), start + Duration::from_millis(millis));
    look(0);
    folder.remove("a.yaml");
    look(100);
    folder.write("a.yaml", "spec: {");
    for millis in [200, 5_000, 50_000] {
        let settled = look(millis);
        assert_eq!((names(&settled.snapshot).len(), settled.gone.twins.len()), (2, 0));
    }
}

#[test]
fn nothing_is_gone_while_it_may_have_moved_into_a_broken_file() {
    let folder = Folder::new(&[("a.yaml", &twin("a", "")), ("b.yaml", &twin("b", ""))]);
    let (mut absences, start) = (Absences::default(), Instant::now());
    let mut look = |millis| {
        let settled = absences.settle(folder.scan(), start + Duration::from_millis(millis));
        (names(&settled.snapshot).len(), settled.gone.twins.len(), settled.again.is_some())
    };
    look(0);
    folder.remove("a.yaml");
    folder.write("b.yaml", &format!("{}---\nspec: {{", twin("b", "")));
    for millis in [200, 5_000, 50_000] {
        assert_eq!(look(millis), (2, 0, false));
    }
    folder.write("b.yaml", &twin("b", ""));
    assert_eq!(look(60_000), (2, 0, true), "the two seconds begin when every file can be read");
    assert_eq!(look(62_000), (1, 1, false));
}
