//! The text of an expression; [`parse()`](super::parse()) reads it back as the same expression.
use std::fmt::{self, Display, Formatter, Write};

use super::{Expr, Literal, Op, Property};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(all) => list(f, "and", all),
            Self::Or(all) => list(f, "or", all),
            Self::Not(inner) => write!(f, "not({inner})"),
            Self::Exists(property) => write!(f, "exists({property})"),
            Self::Compare(op, property, literal) => write!(f, "{op}({property},{literal})"),
            Self::In(property, literals) => {
                write!(f, "in({property}")?;
                literals.iter().try_for_each(|literal| write!(f, ",{literal}"))?;
                f.write_char(')')
            }
        }
    }
}

fn list(f: &mut Formatter<'_>, name: &str, all: &[Expr]) -> fmt::Result {
    write!(f, "{name}(")?;
    for (i, expr) in all.iter().enumerate() {
        if i > 0 {
            f.write_char(',')?;
        }
        write!(f, "{expr}")?;
    }
    f.write_char(')')
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Like => "like",
            Self::Ilike => "ilike",
        })
    }
}

impl Display for Property {
    /// Without the leading slash, except where the first segment is empty.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let slash = |end: Option<&String>| if end.is_some_and(String::is_empty) { "/" } else { "" };
        f.write_str(slash(self.segments.first()))?;
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_char('/')?;
            }
            for c in segment.chars() {
                match c {
                    '~' => f.write_str("~0")?,
                    '/' => f.write_str("~1")?,
                    ',' | ')' => escape(f, c)?,
                    c => character(f, c)?,
                }
            }
        }
        f.write_str(slash(self.segments.last()))
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Double(value) if value.fract() == 0.0 => write!(f, "{value:.1}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Text(text) => {
                f.write_char('"')?;
                text.chars().try_for_each(|c| character(f, c))?;
                f.write_char('"')
            }
            Self::Time(name) => write!(f, "time:{name}"),
        }
    }
}

fn character(f: &mut Formatter<'_>, c: char) -> fmt::Result {
    if c == '"' || c == '\\' || c.is_control() { escape(f, c) } else { f.write_char(c) }
}

/// `\uXXXX`: everything escaped here is below U+0100.
fn escape(f: &mut Formatter<'_>, c: char) -> fmt::Result {
    write!(f, "\\u{:04x}", u32::from(c))
}
