//! Items as text, laid out as rustfmt would.

use proc_macro2::TokenStream;

use crate::backend::{one_line, wrap};

/// Items as rustfmt would lay them out; `note!("...")` becomes a comment.
pub(super) fn layout(items: TokenStream) -> String {
    let text = items.to_string();
    let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("not Rust: {e}\n{text}"));
    let items = file.items.into_iter().map(|item| {
        let file = syn::File {
            shebang: None,
            frontmatter: None,
            attrs: vec![],
            items: vec![item],
        };
        comments(&prettyplease::unparse(&file))
    });
    items.collect::<Vec<_>>().join("\n")
}

fn comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        let Some(rest) = code.strip_prefix("note!(") else {
            out += line;
            out.push('\n');
            continue;
        };
        // A long note is laid out on three lines.
        let quoted = match rest.strip_suffix(");") {
            Some(quoted) => quoted,
            None => {
                let quoted = lines.next().expect("a note has a text");
                lines.next();
                quoted
            }
        };
        let text: syn::LitStr = syn::parse_str(quoted).expect("a note is a string");
        let indent = &line[..line.len() - code.len()];
        for line in wrap::words(&one_line(&text.value()), 93 - indent.len()) {
            out += &format!("{indent}// {line}\n");
        }
    }
    out
}
