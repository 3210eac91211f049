//! `like` and `ilike`: `*` is any run of characters, `?` is one, everything else stands for itself.
//!
//! The pattern is cut at its stars. The first and the last piece are tied to the ends of the text, and the pieces between
//! are looked for from left to right, each behind the one before, so no text is read twice. A piece is found with the
//! Shift-And method (Baeza-Yates and Gonnet, 1992): a word operation per character and 64 characters of the piece,
//! whatever the text, which no pattern can make slow.
use std::collections::HashMap;

use memchr::memmem;

/// Whether the whole `text` has the shape of `pattern`.
///
/// `ignore_case` compares letters of every script without their case, as `MongoDB` does.
pub fn like(pattern: &str, text: &str, ignore_case: bool) -> bool {
    Pattern::new(pattern, ignore_case).matches(text)
}

/// A pattern made ready for many texts.
pub struct Pattern<'p> {
    text: &'p str,
    ignore_case: bool,
    ascii: Option<Ascii>,
}

impl<'p> Pattern<'p> {
    pub fn new(pattern: &'p str, ignore_case: bool) -> Self {
        let fold =
            |pattern: &str| if ignore_case { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
        let ascii = pattern.is_ascii().then(|| Ascii::new(&fold(pattern)));
        Self { text: pattern, ignore_case, ascii }
    }

    pub fn matches(&self, text: &str) -> bool {
        match &self.ascii {
            Some(ascii) if text.is_ascii() && self.ignore_case => ascii.matches(&text.to_ascii_lowercase()),
            Some(ascii) if text.is_ascii() => ascii.matches(text),
            _ => glob(self.text, text, if self.ignore_case { lower } else { |c| c }, &mut 0),
        }
    }
}

/// As [`like`], without the case of ASCII letters only, as Java's regular expressions do.
pub(super) fn like_ignore_ascii_case(pattern: &str, text: &str) -> bool {
    glob(pattern, text, |c| c.to_ascii_lowercase(), &mut 0)
}

fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// As [`glob`] of what is folded already, where a character is a byte. Most texts are so, and this is ten times as fast;
/// what looks for a piece without `?` is linear, too.
struct Ascii {
    first: String,
    between: Vec<Between>,
    /// `None` when there is no star: then `first` is all.
    last: Option<String>,
}

/// What stands between two stars.
enum Between {
    Plain(Box<memmem::Finder<'static>>),
    /// With a `?` in it.
    Shaped(Vec<char>),
}

impl Ascii {
    fn new(pattern: &str) -> Self {
        let Some((first, rest)) = pattern.split_once('*') else {
            return Self { first: pattern.to_owned(), between: vec![], last: None };
        };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = between.split('*').filter(|piece| !piece.is_empty()).map(|piece| {
            if piece.contains('?') {
                Between::Shaped(piece.chars().collect())
            } else {
                Between::Plain(Box::new(memmem::Finder::new(piece).into_owned()))
            }
        });
        Self { first: first.to_owned(), between: between.collect(), last: Some(last.to_owned()) }
    }

    fn matches(&self, text: &str) -> bool {
        let fits =
            |piece: &str, text: &str| piece.bytes().zip(text.bytes()).all(|(p, t)| p == b'?' || p == t);
        let Self { first, between, last: Some(last) } = self else {
            return self.first.len() == text.len() && fits(&self.first, text);
        };
        let Some(body) = text.len().checked_sub(last.len()).and_then(|end| text.get(first.len()..end)) else {
            return false;
        };
        fits(first, text)
            && fits(last, &text[text.len() - last.len()..])
            && between.iter().try_fold(body, |body, piece| body.get(piece.end_in(body)?..)).is_some()
    }
}

impl Between {
    /// Where the leftmost occurrence ends.
    fn end_in(&self, text: &str) -> Option<usize> {
        match self {
            Self::Plain(finder) => finder.find(text.as_bytes()).map(|at| at + finder.needle().len()),
            Self::Shaped(piece) => find(piece, &text.chars().collect::<Vec<_>>(), &mut 0),
        }
    }
}

/// `steps` counts word operations.
fn glob(pattern: &str, text: &str, fold: fn(char) -> char, steps: &mut usize) -> bool {
    let pattern: Vec<char> = pattern.chars().map(fold).collect();
    let text: Vec<char> = text.chars().map(fold).collect();
    let pieces: Vec<&[char]> = pattern.split(|c| *c == '*').collect();
    let [first, between @ .., last] = pieces.as_slice() else {
        return fits(&pattern, &text);
    };
    if text.len() < first.len() + last.len() {
        return false;
    }
    let (head, rest) = text.split_at(first.len());
    let (body, tail) = rest.split_at(rest.len() - last.len());
    fits(first, head)
        && fits(last, tail)
        && between.iter().try_fold(body, |body, piece| Some(&body[find(piece, body, steps)?..])).is_some()
}

/// Whether a piece without stars is exactly this text.
fn fits(piece: &[char], text: &[char]) -> bool {
    piece.len() == text.len() && piece.iter().zip(text).all(|(p, t)| *p == '?' || p == t)
}

/// Where the leftmost occurrence of `piece` ends.
fn find(piece: &[char], text: &[char], steps: &mut usize) -> Option<usize> {
    let Some(last) = piece.len().checked_sub(1) else {
        return Some(0);
    };
    let words = piece.len().div_ceil(64);
    let places = Places::of(piece, words);
    // bit i is set while the text read so far ends in the first i + 1 characters of the piece
    let mut prefixes = vec![0_u64; words];
    for (i, c) in text.iter().enumerate() {
        *steps += words;
        let mut carry = 1;
        for (prefix, place) in prefixes.iter_mut().zip(places.of_char(*c)) {
            let shifted = (*prefix << 1) | carry;
            carry = *prefix >> 63;
            *prefix = shifted & place;
        }
        if (prefixes[last / 64] >> (last % 64)) & 1 == 1 {
            return Some(i + 1);
        }
    }
    None
}

/// For each character, the places of a piece where it may stand, one bit each.
struct Places {
    by_char: HashMap<char, Vec<u64>>,
    /// Where anything may stand.
    any: Vec<u64>,
}

impl Places {
    fn of(piece: &[char], words: usize) -> Self {
        let mut any = vec![0; words];
        let mut by_char = HashMap::new();
        for (i, _) in piece.iter().enumerate().filter(|(_, c)| **c == '?') {
            any[i / 64] |= 1 << (i % 64);
        }
        for (i, c) in piece.iter().enumerate().filter(|(_, c)| **c != '?') {
            by_char.entry(*c).or_insert_with(|| any.clone())[i / 64] |= 1 << (i % 64);
        }
        Self { by_char, any }
    }

    fn of_char(&self, c: char) -> &[u64] {
        self.by_char.get(&c).unwrap_or(&self.any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_anchored_and_only_star_and_question_mark_are_special() {
        let rows = [
            ("*", "", true),
            ("**", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("b", "abc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*a", "a", false),
            ("ab*bc", "abc", false),
            ("*a?*c*", "xxabxxcxx", true),
            ("a.b+c(d)[e]^$\\", "a.b+c(d)[e]^$\\", true),
            ("a.b", "axb", false),
            ("?", "\u{1f600}", true),
            ("line1*", "line1\nline2", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(like(pattern, text, false), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_is_ignored_on_request() {
        assert!(!like("hello*", "Hello World", false) && like("HELLO *", "hello there", true));
        assert!(like("\u{e4}*", "\u{c4}rger", true) && !like_ignore_ascii_case("\u{e4}*", "\u{c4}rger"));
        assert!(like_ignore_ascii_case("x", "X"));
    }

    #[test]
    fn s26_like_is_linear() {
        let text = "a".repeat(100_000);
        let many_stars = format!("{}b*", "*a".repeat(2_000));
        let long_piece = format!("*{}b*", "a".repeat(4_000));
        let long_piece_with_wildcards = format!("*{}b*", "a?".repeat(2_000));
        for (pattern, words) in [(many_stars, 1), (long_piece, 63), (long_piece_with_wildcards, 63)] {
            let mut steps = 0;
            assert!(!glob(&pattern, &text, |c| c, &mut steps));
            assert!(steps <= text.len() * words, "{steps} steps");
            let (mut half, half_text) = (0, &text[..text.len() / 2]);
            assert!(!glob(&pattern, half_text, |c| c, &mut half));
            assert!(steps <= half * 2 + 2 * words, "{half} steps became {steps} for twice the text");
        }
    }

    /// The meaning, written down without regard to time.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => (0..=text.len()).any(|i| naive(rest, &text[i..])),
            (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([p, rest @ ..], [t, text @ ..]) => p == t && naive(rest, text),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn ascii_is_matched_as_any_text_is(
            pattern in "[aAbkK?*]{0,8}", text in "[aAbBkK]{0,12}", ignore_case in any::<bool>(),
        ) {
            let fold = if ignore_case { lower } else { |c| c };
            prop_assert_eq!(like(&pattern, &text, ignore_case), glob(&pattern, &text, fold, &mut 0));
        }

        #[test]
        fn like_means_what_the_plain_recursion_means(
            pattern in proptest::collection::vec(proptest::sample::select(vec!['a', 'b', '*', '?']), 0..8),
            text in proptest::collection::vec(proptest::sample::select(vec!['a', 'b']), 0..12),
        ) {
            let expected = naive(&pattern, &text);
            prop_assert_eq!(like(&String::from_iter(&pattern), &String::from_iter(&text), false), expected);
        }

        #[test]
        fn pieces_longer_than_a_word_are_found(
            before in 0_usize..200, piece in 60_usize..140, after in 0_usize..5, off in any::<bool>(),
        ) {
            let text = format!("{}{}c{}", "a".repeat(before), "ab".repeat(piece), "b".repeat(after));
            let pattern = format!("*{}{}*", "ab".repeat(piece), if off { "d" } else { "c" });
            prop_assert_eq!(like(&pattern, &text, false), !off);
        }
    }
}
