//! SQL text, as far as it must be read before SQLite reads it.
//!
//! Pure functions over bytes; used to see whether a statement is the last of its call.

/// The rest of `sql` behind white space, comments and empty statements.
pub(crate) fn skip_blank(mut sql: &str) -> &str {
    loop {
        let rest = sql.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', ';', '\u{feff}']);
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.find('\n').map_or("", |end| &comment[end + 1..])
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else {
            return rest;
        };
        sql = after;
    }
}

/// Whether `text` holds `word` (given in lower case), whatever its case.
pub(crate) fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_is_space_comment_and_semicolon() {
        assert_eq!(
            skip_blank(" ;\n-- note\n /* more */ ; select 1"),
            "select 1"
        );
        assert_eq!(skip_blank(" -- only a comment"), "");
        assert_eq!(skip_blank("/* open end"), "");
        assert_eq!(skip_blank("- 1"), "- 1");
    }
}
