//! Follows the requests of one connection, to mend their request lines (see [`super::lenient`]).

/// A head longer than this is passed on as it is; the HTTP library refuses it. In bytes.
const HEAD_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    /// No more heads are looked for: where the chunked body ends is not known.
    Chunked,
    /// The head is no HTTP, or too long.
    Lost,
    /// No HTTP any more.
    Upgraded,
}

/// Follows the requests of one connection to know where each head begins.
#[derive(Default)]
pub struct Mender {
    state: State,
    /// The head so far.
    head: Vec<u8>,
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A head may begin.
    Between,
    InHead,
    Body,
    /// In what will be refused.
    Lost,
    Upgraded,
}

impl Mender {
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.head.is_empty() => Phase::Between,
            State::Head => Phase::InHead,
            State::Body(_) | State::Chunked => Phase::Body,
            State::Lost => Phase::Lost,
            State::Upgraded => Phase::Upgraded,
        }
    }

    /// Nothing more comes: what is held back is passed on.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.head);
        self.state = State::Lost;
    }

    pub fn mend(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            match self.state {
                State::Chunked | State::Lost | State::Upgraded => {
                    out.extend_from_slice(bytes);
                    return;
                }
                State::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    out.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Head => bytes = self.take_head(bytes, out),
            }
        }
    }

    /// Adds to the head; returns what comes after it.
    fn take_head<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let end =
            self.head[from..].windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4);
        if let Some(end) = end {
            write_mended(&self.head[..end], out);
            self.state = after(&self.head[..end]);
            self.head.clear();
            return &bytes[end - before..];
        }
        if self.head.len() > HEAD_MAX {
            out.append(&mut self.head);
            self.state = State::Lost;
        }
        &[]
    }
}

fn write_mended(head: &[u8], out: &mut Vec<u8>) {
    let line = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
    let (line, rest) = head.split_at(line);
    let query = line.iter().position(|byte| *byte == b'?').unwrap_or(line.len());
    out.extend_from_slice(&line[..query]);
    for byte in &line[query..] {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
}

fn after(head: &[u8]) -> State {
    let mut state = State::Head;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"upgrade") {
            return State::Upgraded;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return State::Chunked;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                Some(0) => {}
                Some(length) => state = State::Body(length),
                None => return State::Lost,
            }
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(input: &[u8], step: usize) -> Vec<u8> {
        let (mut mender, mut out) = (Mender::default(), vec![]);
        input.chunks(step).for_each(|chunk| mender.mend(chunk, &mut out));
        out
    }

    #[test]
    fn quotes_are_mended_in_every_query_and_nowhere_else() {
        let input = b"PUT /a\"b?c=\"1\" HTTP/1.1\r\nif-match: \"rev:1\"\r\nContent-Length: 24\r\n\r\nGET /?\"<> HTTP/1.1\r\n\r\n\"\"GET /?\"<>\" HTTP/1.1\r\n\r\n";
        let expected = b"PUT /a\"b?c=%221%22 HTTP/1.1\r\nif-match: \"rev:1\"\r\nContent-Length: 24\r\n\r\nGET /?\"<> HTTP/1.1\r\n\r\n\"\"GET /?%22%3C%3E%22 HTTP/1.1\r\n\r\n";
        for step in 1..=input.len() {
            assert_eq!(mended(input, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_passed_on() {
        let chunked = b"PUT /?\" HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n?\"\r\n0\r\n\r\nGET /?\" HTTP/1.1\r\n\r\n";
        let out = mended(chunked, 7);
        assert!(out.starts_with(b"PUT /?%22 HTTP/1.1") && out.ends_with(b"GET /?\" HTTP/1.1\r\n\r\n"));
        let endless = vec![b'?'; HEAD_MAX + 16 * 1024];
        assert_eq!(mended(&endless, 8 * 1024), endless);
    }
}
