//! `option=sort(-thingId),size(10),cursor(…)`. Source: Ditto 3.8, `RqlOptionParser.scala`.
use super::super::failure::Failure;
use super::order::Sort;

/// Source: Ditto 3.8, `LIMITS_THINGS_SEARCH_DEFAULT_PAGE_SIZE` and `..._MAX_PAGE_SIZE`.
const PAGE: usize = 25;
const PAGE_MAX: usize = 200;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paging {
    #[default]
    Default,
    Size(usize),
    Limit {
        offset: usize,
        count: usize,
    },
}

impl Paging {
    /// How many to skip, how many to show.
    pub fn window(self) -> (usize, usize) {
        match self {
            Self::Default => (0, PAGE),
            Self::Size(size) => (0, size),
            Self::Limit { offset, count } => (offset, count),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub paging: Paging,
    pub cursor: Option<String>,
    pub sort: Option<Sort>,
}

impl Options {
    /// Words that are no option are 400 `rql.expression.invalid`, numbers out of range and options given
    /// twice `thing-search:search.option.invalid`.
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let Some(mut rest) = text else { return Ok(options) };
        loop {
            let (name, inner, after) = call(rest).ok_or_else(|| not_an_option(rest))?;
            options.take(name, inner)?;
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(options),
                None => return Err(not_an_option(after)),
            }
        }
    }

    fn take(&mut self, name: &str, inner: &str) -> Result<(), Failure> {
        match name {
            "size" => {
                let size = number(inner)?;
                in_range(size)?;
                match self.paging {
                    Paging::Default => self.paging = Paging::Size(size),
                    Paging::Size(_) => return Err(invalid("`size` is given twice")),
                    Paging::Limit { .. } => {}
                }
            }
            "limit" => {
                let (offset, count) = inner.split_once(',').ok_or_else(|| not_an_option(inner))?;
                let (offset, count) = (number(offset)?, number(count)?);
                in_range(count)?;
                self.paging = Paging::Limit { offset, count };
            }
            "cursor" if self.cursor.is_some() => return Err(invalid("`cursor` is given twice")),
            "cursor" => self.cursor = Some(inner.to_owned()),
            "sort" => self.sort = Some(Sort::parse(inner)?),
            _ => return Err(not_an_option(name)),
        }
        if self.cursor.is_some() && matches!(self.paging, Paging::Limit { .. }) {
            return Err(invalid("`cursor` and `limit` exclude each other"));
        }
        Ok(())
    }
}

/// `name(inner)rest`, split.
fn call(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('(')?;
    let close = open + text[open..].find(')')?;
    Some((&text[..open], &text[open + 1..close], &text[close + 1..]))
}

fn number(text: &str) -> Result<usize, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| not_an_option(text))
}

fn in_range(size: usize) -> Result<(), Failure> {
    if (1..=PAGE_MAX).contains(&size) { Ok(()) } else { Err(invalid("a page holds 1 to 200 things")) }
}

pub fn invalid(message: &str) -> Failure {
    Failure::new(400, "thing-search:search.option.invalid", message)
}

pub fn not_an_option(text: &str) -> Failure {
    Failure::new(
        400,
        "rql.expression.invalid",
        format!("`{text}` is no option: write size(n), sort(+path,-path), cursor(c)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let rows = [
            ("size(2)", None),
            ("sort(+thingId,-attributes/a),size(200)", None),
            ("limit(0,2)", None),
            ("size(1),limit(0,1)", None),
            ("", Some("rql.expression.invalid")),
            ("size(abc)", Some("rql.expression.invalid")),
            ("size(-1)", Some("rql.expression.invalid")),
            ("nonsense(1)", Some("rql.expression.invalid")),
            ("sort(thingId)", Some("rql.expression.invalid")),
            ("sort()", Some("rql.expression.invalid")),
            ("size(2", Some("rql.expression.invalid")),
            ("size(2)x", Some("rql.expression.invalid")),
            ("sort(+unknown)", Some("thing-search:search.option.invalid")),
            ("size(0)", Some("thing-search:search.option.invalid")),
            ("size(201)", Some("thing-search:search.option.invalid")),
            ("size(1),size(2)", Some("thing-search:search.option.invalid")),
            ("cursor(a),cursor(b)", Some("thing-search:search.option.invalid")),
            ("cursor(a),limit(0,1)", Some("thing-search:search.option.invalid")),
        ];
        for (text, expected) in rows {
            let got = Options::parse(Some(text)).err().map(|f| f.error.into_owned());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }
}
