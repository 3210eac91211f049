//! Conditions in Ditto's filter language, written so that no name can break out of its place.
use std::fmt::Write;

use super::json::Pointer;

const METADATA: &str = "_metadata/twinops";

/// A pointer as an RQL property. `,` `)` `"` `\` and control characters become `\uXXXX`.
pub fn property(path: &Pointer) -> String {
    let mut out = String::new();
    for (i, segment) in path.segments().iter().enumerate() {
        if i > 0 {
            out.push('/');
        }
        for c in segment.replace('~', "~0").replace('/', "~1").chars() {
            match c {
                ',' | ')' | '(' | '"' | '\\' => {
                    let _infallible = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.push(c),
            }
        }
    }
    out
}

/// A string literal with its quotes.
pub fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Holds while nothing stands at `path`.
pub fn absent(path: &Pointer) -> String {
    format!("not(exists({}))", property(path))
}

/// Holds while no mark stands on the thing: the fence of an adoption.
pub fn unmarked() -> String {
    format!("not(exists({METADATA}))")
}

/// Holds while the mark names `uid`: the fence of deletion and of taking over.
pub fn marked(uid: &str) -> String {
    format!("eq({METADATA}/uid,{})", literal(uid))
}

/// Holds while the mark names `uid` and is not ahead of `generation`: the fence of every patch.
pub fn marked_up_to(uid: &str, generation: i64) -> String {
    format!("and({},le({METADATA}/generation,{generation}))", marked(uid))
}

/// Holds while the mark names `uid` and says that TwinOps created the thing.
pub fn marked_created(uid: &str) -> String {
    format!("and({},eq({METADATA}/origin,\"Created\"))", marked(uid))
}

/// Things of one owner: what a folder may prune.
pub fn owned_by(owner: &str) -> String {
    format!("eq({METADATA}/owner,{})", literal(owner))
}

/// Things under one policy.
pub fn under_policy(policy_id: &str) -> String {
    format!("eq(policyId,{})", literal(policy_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        let cases = [
            ("/attributes/a", "attributes/a"),
            ("/attributes/a,b", "attributes/a\\u002cb"),
            ("/attributes/x)", "attributes/x\\u0029"),
            ("/attributes/q\"", "attributes/q\\u0022"),
            ("/attributes/b\\", "attributes/b\\u005c"),
            ("/attributes/t~0", "attributes/t~0"),
        ];
        for (path, expected) in cases {
            assert_eq!(property(&Pointer::parse(path)), expected);
        }
        assert_eq!(literal("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(
            marked_up_to("u", 3),
            "and(eq(_metadata/twinops/uid,\"u\"),le(_metadata/twinops/generation,3))"
        );
    }
}
