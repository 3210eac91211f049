//! JSON as Ditto reads it. Source: Ditto 3.8, `DefaultDittoJsonHandler.java`.
use serde_json::Value;

use super::failure::Failure;

/// Digits of the longest integer that always fits into 64 bits.
const DIGITS_SAFE: usize = 18;

/// Reads a text as JSON; 400 `json.invalid` otherwise. An integer must fit into 64 bits: only a number with a fraction or
/// an exponent is a floating point number.
pub fn json(text: &[u8]) -> Result<Value, Failure> {
    let value = serde_json::from_slice(text).map_err(|error| Failure::bad_json(error.to_string()))?;
    match too_long(text) {
        None => Ok(value),
        Some(integer) => Err(Failure::bad_json(format!("the integer {integer} does not fit into 64 bits"))),
    }
}

/// The first integer of a well-formed text that does not fit.
fn too_long(text: &[u8]) -> Option<&str> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = text[at..].iter().position(|byte| !of_number(byte)).map_or(text.len(), |n| at + n);
                let number = &text[at..end];
                let whole = !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                if whole && number.len() > DIGITS_SAFE {
                    let number = std::str::from_utf8(number).ok()?;
                    if number.parse::<i64>().is_err() {
                        return Some(number);
                    }
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

/// Behind the quote that ends the string.
fn string_end(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            None => return at,
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_fit_into_64_bits_or_are_refused() {
        let rows = [
            ("9223372036854775807", true),
            ("-9223372036854775808", true),
            ("9223372036854775808", false),
            ("-9223372036854775809", false),
            ("18446744073709551615", false),
            ("100000000000000000000.0", true),
            ("100000000000000000000e0", true),
            ("[1,{\"a\":99999999999999999999}]", false),
            ("{\"99999999999999999999\":\"99999999999999999999\"}", true),
            ("\"a\\\"99999999999999999999\\\\\"", true),
            ("{bad", false),
        ];
        for (text, expected) in rows {
            let got = json(text.as_bytes()).map_err(|failure| failure.error);
            assert_eq!(got.is_ok(), expected, "{text}");
            assert!(got.is_ok() || got == Err("json.invalid".into()), "{text}");
        }
    }
}
