//! The grammar of Ditto 3.8 (`RqlParserBase.scala`, `RqlPredicateParser.scala`), read in one pass without backtracking.
//!
//! White space is allowed at the very start, after a literal, and after a comma between the arguments of `and`/`or`.
use super::{Expr, Literal, Op, Property};

/// The longest expression in bytes: what Ditto takes in a URI.
pub const LENGTH_MAX: usize = 8 * 1024;
/// The deepest nesting of operators, so that nothing that walks an expression can exhaust the stack.
pub const DEPTH_MAX: usize = 32;
/// The most operators in one expression: each is evaluated for every thing searched.
pub const NODES_MAX: usize = 200;

/// Why a text is no filter. All are the caller's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// `at` counts characters from 1; `found` is `None` at the end of the text.
    #[error("expected {expected} at character {at}, found {}", shown(.found.as_ref()))]
    Syntax { at: usize, expected: &'static str, found: Option<char> },
    #[error("an expression has at most {LENGTH_MAX} bytes; split it into several")]
    TooLong,
    #[error("an expression nests at most {DEPTH_MAX} operators; flatten it")]
    TooDeep,
    #[error("an expression has at most {NODES_MAX} operators; use `in` for lists, or split it")]
    TooManyNodes,
}

fn shown(found: Option<&char>) -> String {
    found.map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"))
}

type Parsed<T> = Result<T, ParseError>;

/// Reads a filter, for example `and(eq(attributes/a,1),exists(features/lamp))`.
pub fn parse(text: &str) -> Parsed<Expr> {
    if text.len() > LENGTH_MAX {
        return Err(ParseError::TooLong);
    }
    let mut parser = Parser { text, at: 0, nodes: 0 };
    parser.skip_space();
    let expr = parser.query(1)?;
    if parser.peek().is_some() { parser.fail("the end") } else { Ok(expr) }
}

struct Parser<'t> {
    text: &'t str,
    /// Byte offset of the next character.
    at: usize,
    nodes: usize,
}

impl<'t> Parser<'t> {
    fn query(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ParseError::TooManyNodes);
        }
        let start = self.at;
        match self.take_while(|c| c.is_ascii_lowercase()) {
            "and" => Ok(Expr::And(self.queries(depth)?)),
            "or" => Ok(Expr::Or(self.queries(depth)?)),
            "not" => {
                self.expect('(', "`(`")?;
                let inner = self.query(depth + 1)?;
                self.expect(')', "`)`")?;
                Ok(Expr::Not(Box::new(inner)))
            }
            "exists" => {
                self.expect('(', "`(`")?;
                let property = self.property()?;
                self.expect(')', "`)`")?;
                Ok(Expr::Exists(property))
            }
            "in" => {
                let property = self.left_side()?;
                let mut literals = vec![self.literal()?];
                while self.eat(',') {
                    literals.push(self.literal()?);
                }
                self.expect(')', "`,` or `)`")?;
                Ok(Expr::In(property, literals))
            }
            name => {
                let Some(op) = Op::named(name) else {
                    self.at = start;
                    return self.fail("one of and, or, not, exists, in, eq, ne, gt, ge, lt, le, like, ilike");
                };
                let property = self.left_side()?;
                let literal = self.literal()?;
                self.expect(')', "`)`")?;
                Ok(Expr::Compare(op, property, literal))
            }
        }
    }

    /// `(query,query…)`
    fn queries(&mut self, depth: usize) -> Parsed<Vec<Expr>> {
        self.expect('(', "`(`")?;
        let mut all = vec![self.query(depth + 1)?];
        while self.eat(',') {
            self.skip_space();
            all.push(self.query(depth + 1)?);
        }
        self.expect(')', "`,` or `)`")?;
        Ok(all)
    }

    /// `(property,`
    fn left_side(&mut self) -> Parsed<Property> {
        self.expect('(', "`(`")?;
        let property = self.property()?;
        self.expect(',', "`,`")?;
        Ok(property)
    }

    fn property(&mut self) -> Parsed<Property> {
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| !matches!(c, ',' | ')' | '"' | '\\')));
            if !self.eat('\\') {
                return Ok(Property::parse(&text));
            }
            text.push(self.escaped('"')?);
        }
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let literal = match self.peek() {
            Some(quote @ ('"' | '\'')) => Literal::Text(self.quoted(quote)?),
            Some('+' | '-' | '0'..='9') => self.number()?,
            _ if self.eat_word("true") => Literal::Bool(true),
            _ if self.eat_word("false") => Literal::Bool(false),
            _ if self.eat_word("null") => Literal::Null,
            _ if self.eat_word("time:") => {
                let name = self.take_while(|c| !matches!(c, ',' | ')' | '"' | '\\'));
                if name.is_empty() {
                    return self.fail("a time such as time:now or time:now-1h");
                }
                Literal::Time(name.to_owned())
            }
            _ => return self.fail("a number, a quoted string, true, false, null or time:…"),
        };
        self.skip_space();
        Ok(literal)
    }

    fn quoted(&mut self, quote: char) -> Parsed<String> {
        self.expect(quote, "a quote")?;
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| c != quote && c != '\\'));
            if !self.eat('\\') {
                self.expect(quote, "the closing quote")?;
                return Ok(text);
            }
            text.push(self.escaped(quote)?);
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self, quote: char) -> Parsed<char> {
        let escaped = match self.peek() {
            Some(c) if c == quote || c == '\\' || c == '/' => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(),
            _ => return self.fail("an escape: the quote, \\, /, b, f, n, r, t or uXXXX"),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// `uXXXX`, or two of them when the first is half of a surrogate pair.
    fn unicode(&mut self) -> Parsed<char> {
        const LONE: &str = "a Unicode character, not half of a surrogate pair";
        let first = self.unit()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        if !self.eat('\\') {
            return self.fail(LONE);
        }
        let second = self.unit()?;
        let pair = [first, second].map(|unit| u16::try_from(unit).unwrap_or_default());
        match char::decode_utf16(pair).next() {
            Some(Ok(c)) => Ok(c),
            _ => self.fail(LONE),
        }
    }

    /// `uXXXX` as a UTF-16 unit.
    fn unit(&mut self) -> Parsed<u32> {
        self.expect('u', "uXXXX")?;
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return self.fail("four hexadecimal digits");
        };
        self.at += 4;
        Ok(unit)
    }

    /// `[+-]int` or `[+-]int.digits`; no exponent, no leading zero, no `-0` without fraction.
    fn number(&mut self) -> Parsed<Literal> {
        let start = self.at;
        let _sign = self.eat('+') || self.eat('-');
        match self.peek() {
            Some('0') => self.at += 1,
            Some('1'..='9') => _ = self.take_while(|c| c.is_ascii_digit()),
            _ => return self.fail("a digit"),
        }
        let whole = &self.text[start..self.at];
        let mut rest = self.text[self.at..].chars();
        if rest.next() == Some('.') && rest.next().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            _ = self.take_while(|c| c.is_ascii_digit());
            if let Some(double) = self.text[start..self.at].parse().ok().filter(|d: &f64| d.is_finite()) {
                return Ok(Literal::Double(double));
            }
        } else if let (Ok(long), false) = (whole.parse(), whole.starts_with("-0")) {
            return Ok(Literal::Long(long));
        }
        self.at = start;
        self.fail("a number that fits 64 bits")
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.at += wanted.len_utf8();
        }
        there
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let there = self.text[self.at..].starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn expect(&mut self, wanted: char, name: &'static str) -> Parsed<()> {
        if self.eat(wanted) { Ok(()) } else { self.fail(name) }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn skip_space(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\n' | '\r' | '\t' | '\u{c}'));
    }

    fn fail<T>(&self, expected: &'static str) -> Parsed<T> {
        let at = self.text[..self.at].chars().count() + 1;
        Err(ParseError::Syntax { at, expected, found: self.peek() })
    }
}

impl Op {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "like" => Self::Like,
            "ilike" => Self::Ilike,
            _ => return None,
        })
    }
}
