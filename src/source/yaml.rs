//! A file as documents, read node by node: here it still shows what was quoted and where it stands.
use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::twin::json::Pointer;

/// Something to change at a line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub line: usize,
    pub what: String,
}

/// One document of a file.
#[derive(Debug, Default)]
pub struct Document<'a> {
    pub text: &'a str,
    /// The line of the file on which `text` starts.
    pub text_line: usize,
    /// The line on which its content starts.
    pub line: usize,
    /// Nothing but comments.
    pub is_empty: bool,
    pub api_version: Option<(usize, String)>,
    pub kind: Option<(usize, String)>,
    /// What kubectl would read differently, and what declares nothing.
    pub mistakes: Vec<Mistake>,
}

/// The documents of a file up to the first place that is no YAML, and that place.
pub fn split(text: &str) -> (Vec<Document<'_>>, Option<Mistake>) {
    let mut documents = vec![];
    let mut walk = Walk::default();
    let (mut start, mut start_line) = (0, 1);
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(read) => read,
            Err(error) => return (documents, Some(no_yaml(&error))),
        };
        if !matches!(event, Event::DocumentEnd) {
            walk.take(&event, span.start.line());
            continue;
        }
        let end = span.end.byte_offset().unwrap_or(text.len());
        let mut document = std::mem::take(&mut walk).document;
        document.text = text.get(start..end).unwrap_or_default();
        document.text_line = start_line;
        documents.push(document);
        (start, start_line) = (end, span.end.line());
    }
    (documents, None)
}

/// The line of the file on which the member at `place` stands.
pub fn line_of(document: &Document, place: &Pointer) -> usize {
    let mut walk = Walk { sought: Some(place), ..Walk::default() };
    for (event, span) in Parser::new_from_str(document.text).flatten() {
        walk.take(&event, span.start.line());
        if let Some(line) = walk.found {
            return document.text_line + line - 1;
        }
    }
    document.line
}

/// What is open around the node that comes next.
#[derive(Debug)]
enum Frame {
    /// `key` is unset while the next node is a key.
    Map {
        key: Option<String>,
        line: usize,
        is_key: bool,
    },
    List {
        next: usize,
        is_key: bool,
    },
}

#[derive(Debug, Default)]
struct Walk<'a> {
    frames: Vec<Frame>,
    document: Document<'a>,
    sought: Option<&'a Pointer>,
    found: Option<usize>,
}

impl Walk<'_> {
    fn take(&mut self, event: &Event, line: usize) {
        match event {
            Event::DocumentStart(..) => (self.document.line, self.document.is_empty) = (line, true),
            Event::Scalar(text, style, _, tag) => {
                let plain = *style == ScalarStyle::Plain && tag.is_none();
                self.scalar(text, plain, line);
            }
            Event::Alias(_) => self.close("*", line),
            Event::MappingStart(..) => {
                self.content(line);
                let is_key = self.expects_key();
                self.frames.push(Frame::Map { key: None, line, is_key });
            }
            Event::SequenceStart(..) => {
                self.content(line);
                let is_key = self.expects_key();
                self.frames.push(Frame::List { next: 0, is_key });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.frames.pop();
                self.close("?", line);
            }
            _ => {}
        }
    }

    /// The first node of a document says where it starts.
    fn content(&mut self, line: usize) {
        if self.document.is_empty {
            (self.document.line, self.document.is_empty) = (line, false);
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Map { key: None, .. }))
    }

    fn scalar(&mut self, text: &str, plain: bool, line: usize) {
        if self.frames.is_empty() {
            if !(plain && is_null(text)) {
                self.content(line);
            }
            return;
        }
        let misread = if plain { misread(text, self.expects_key()) } else { None };
        if let Some(what) = misread {
            self.document.mistakes.push(Mistake { line, what });
        }
        if !self.expects_key() {
            self.value(text, plain, line);
        }
        self.close(text, line);
    }

    fn value(&mut self, text: &str, plain: bool, line: usize) {
        let place = self.place();
        match place.segments() {
            [key] if key == "apiVersion" => self.document.api_version = Some((line, text.to_owned())),
            [key] if key == "kind" => self.document.kind = Some((line, text.to_owned())),
            [first, ..] if first == "spec" && plain && is_null(text) => {
                let what = format!("{place} is null: give it a value or leave the key out");
                let line = match self.frames.last() {
                    Some(Frame::Map { line, .. }) => *line,
                    _ => line,
                };
                self.document.mistakes.push(Mistake { line, what });
            }
            _ => {}
        }
    }

    /// A node has ended: as a key it names what comes next, as a value it makes room for the next one.
    fn close(&mut self, text: &str, line: usize) {
        match self.frames.last_mut() {
            Some(Frame::Map { key: key @ None, line: at, .. }) => {
                (*key, *at) = (Some(text.to_owned()), line);
                if self.sought.is_some_and(|sought| *sought == self.place()) {
                    self.found = Some(line);
                }
            }
            Some(Frame::Map { key, .. }) => *key = None,
            Some(Frame::List { next, .. }) => *next += 1,
            None => {}
        }
    }

    fn place(&self) -> Pointer {
        Pointer::of(self.frames.iter().map(|frame| match frame {
            Frame::Map { is_key: true, .. } | Frame::List { is_key: true, .. } => "?".to_owned(),
            Frame::Map { key, .. } => key.clone().unwrap_or_default(),
            Frame::List { next, .. } => next.to_string(),
        }))
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What kubectl, which reads YAML 1.1, makes of an unquoted text that means something else here.
fn misread(text: &str, is_key: bool) -> Option<String> {
    let boolean = match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => "true",
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => "false",
        "true" | "True" | "TRUE" if is_key => "true",
        "false" | "False" | "FALSE" if is_key => "false",
        _ => {
            let digits = text.trim_start_matches(['+', '-']).strip_prefix('0')?;
            let octal = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
            return octal.then(|| {
                format!("kubectl reads `{text}` as an octal number: put it in quotes, or drop the zeros")
            });
        }
    };
    Some(if is_key {
        format!("kubectl reads the key `{text}` as the boolean {boolean}: put it in quotes")
    } else {
        format!("kubectl reads `{text}` as the boolean {boolean}: put it in quotes, or write {boolean}")
    })
}

fn no_yaml(error: &ScanError) -> Mistake {
    let info = error.info();
    let advice = if info.contains("not allowed in this context") {
        "put a text that holds `: ` in quotes, and indent members of one mapping alike"
    } else if info.contains("unclosed") || info.contains("EOF") || info.contains("eof") {
        "close what is open here"
    } else if info.contains("tab") {
        "indent with spaces"
    } else if info.contains("anchor") {
        "define the anchor with & before it is used"
    } else {
        "correct the YAML here; quotes, brackets and the indentation are the usual places"
    };
    Mistake { line: error.marker().line(), what: format!("no YAML ({info}): {advice}") }
}
