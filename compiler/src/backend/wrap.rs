//! Long lines, broken as a person would: code at the arguments of the longest call, comments at words.

use super::literal::COLUMNS;

/// Adds a statement's text at an indentation, in as many lines as it needs.
pub(super) fn line(out: &mut String, indent: usize, text: &str) {
    if indent + text.len() > COLUMNS
        && let Some((head, args, tail)) = longest_call(text)
    {
        push(out, indent, head);
        for (i, arg) in args.iter().enumerate() {
            let comma = if i + 1 < args.len() { "," } else { "" };
            line(out, indent + 4, &format!("{}{comma}", arg.trim()));
        }
        push(out, indent, tail);
    } else {
        push(out, indent, text);
    }
}

/// A text in lines of at most `width` columns, where its words allow it.
pub(super) fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn push(out: &mut String, indent: usize, text: &str) {
    out.extend(std::iter::repeat_n(' ', indent));
    out.push_str(text);
    out.push('\n');
}

/// The text up to and with the parenthesis that opens the longest group, the group's arguments, the rest.
fn longest_call(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (start, end) = groups(text).max_by_key(|(start, end)| end - start)?;
    let mut args = vec![];
    let mut depth = 0;
    let mut from = start + 1;
    for (i, c) in text[start + 1..end].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                args.push(&text[from..start + 1 + i]);
                from = start + 2 + i;
            }
            _ => {}
        }
    }
    args.push(&text[from..end]);
    Some((&text[..=start], args, &text[end..]))
}

/// Where the outermost parentheses open and close.
fn groups(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let (mut depth, mut start) = (0, 0);
    text.char_indices().filter_map(move |(i, c)| {
        match c {
            '(' => {
                if depth == 0 {
                    start = i;
                }
                depth += 1;
            }
            ')' => {
                depth -= 1;
                return (depth == 0).then_some((start, i));
            }
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_has_its_arguments_on_lines_of_their_own() {
        let mut out = String::new();
        let long = "a".repeat(50);
        line(&mut out, 0, &format!("x = f(p[1], g({long}, {long}), 2);"));
        let expected = format!(
            "x = f(\n    p[1],\n    g(\n        {long},\n        {long}\n    ),\n    2\n);\n"
        );
        assert_eq!(out, expected);
    }
}
