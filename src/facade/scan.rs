//! Walks JSON text without making a tree of it: members are looked at where they stand, and values stay the bytes they are.
use std::borrow::Cow;

use memchr::memchr2;

/// The text is no JSON, or none of the shape that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no JSON")]
pub struct Malformed;

/// A place in a JSON text. What it steps over is known to be balanced, not to be right in every detail.
pub struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no space.
    pub fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.byte()
    }

    /// Nothing but space is left.
    pub fn end(&mut self) -> Result<(), Malformed> {
        if self.peek().is_none() { Ok(()) } else { Err(Malformed) }
    }

    /// Steps into an object or array; whether something is in it.
    pub fn open(&mut self, open: u8, close: u8) -> Result<bool, Malformed> {
        self.take(open)?;
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Steps behind a value; whether another follows before `close`.
    pub fn more(&mut self, close: u8) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(byte) if byte == close => {
                self.at += 1;
                return Ok(false);
            }
            _ => return Err(Malformed),
        }
        Ok(true)
    }

    /// The name of a member, without its escapes (`"_pol\u0069cy"` is `_policy`), and steps to its value.
    pub fn name(&mut self) -> Result<Cow<'t, str>, Malformed> {
        self.peek();
        let start = self.at;
        self.string()?;
        let raw = &self.text[start..self.at];
        self.take(b':')?;
        if raw.contains('\\') {
            return serde_json::from_str(raw).map(Cow::Owned).map_err(|_| Malformed);
        }
        Ok(Cow::Borrowed(&raw[1..raw.len() - 1]))
    }

    /// Steps over one value of any depth: its text.
    pub fn value(&mut self) -> Result<&'t str, Malformed> {
        self.peek();
        let (bytes, start) = (self.text.as_bytes(), self.at);
        let mut depth = 0_usize;
        loop {
            match bytes.get(self.at).map(|byte| KINDS[usize::from(*byte)]) {
                Some(Kind::Quote) => self.string()?,
                Some(Kind::Word) => self.word(),
                Some(Kind::Open) => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(Kind::Close) if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(Kind::Between) if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => return Err(Malformed),
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Malformed> {
        if self.byte() != Some(b'"') {
            return Err(Malformed);
        }
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..).ok_or(Malformed)?) {
            at += found;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(());
            }
            at += 2;
        }
        Err(Malformed)
    }

    /// Steps over a number, `true`, `false` or `null`.
    fn word(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| KINDS[usize::from(*byte)] != Kind::Word).unwrap_or(rest.len());
    }
}

/// What a byte outside of strings is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quote,
    /// Of a number, `true`, `false` or `null`.
    Word,
    Open,
    Close,
    Between,
    Other,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut at = 0_u8;
    while at < 128 {
        kinds[at as usize] = match at {
            b'"' => Kind::Quote,
            b'{' | b'[' => Kind::Open,
            b'}' | b']' => Kind::Close,
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => Kind::Between,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' => Kind::Word,
            _ => Kind::Other,
        };
        at += 1;
    }
    kinds
};

/// The members of an object, each with its name and the text of its value.
pub fn object(text: &str) -> Result<Vec<(Cow<'_, str>, &str)>, Malformed> {
    let mut scanner = Scanner::new(text);
    let mut members = vec![];
    let mut more = scanner.open(b'{', b'}')?;
    while more {
        members.push((scanner.name()?, scanner.value()?));
        more = scanner.more(b'}')?;
    }
    scanner.end()?;
    Ok(members)
}
