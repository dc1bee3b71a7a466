//! JSON for `--json`: a value and its text.

/// A JSON value.
pub(crate) enum Json {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// Whole numbers, exact below 2^53.
    pub(crate) fn int(number: u64) -> Json {
        Json::Number(number as f64)
    }

    /// A list of whole numbers.
    pub(crate) fn ints(numbers: &[usize]) -> Json {
        Json::List(numbers.iter().map(|n| Json::int(*n as u64)).collect())
    }

    /// The text, indented by two spaces a level; lists of plain values stay on one line.
    pub(crate) fn text(&self, indent: usize) -> String {
        let pad = "  ".repeat(indent + 1);
        let close = "  ".repeat(indent);
        match self {
            Json::Null => "null".to_string(),
            Json::Number(n) => format!("{n}"),
            Json::Text(t) => quoted(t),
            Json::List(items) => {
                let nested = |i: &Json| matches!(i, Json::List(_) | Json::Object(_));
                let texts: Vec<_> = items.iter().map(|i| i.text(indent + 1)).collect();
                match items.iter().any(nested) {
                    true => format!("[\n{pad}{}\n{close}]", texts.join(&format!(",\n{pad}"))),
                    false => format!("[{}]", texts.join(", ")),
                }
            }
            Json::Object(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| format!("{}: {}", quoted(name), value.text(indent + 1)))
                    .collect();
                format!("{{\n{pad}{}\n{close}}}", fields.join(&format!(",\n{pad}")))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_plain_lists_stay_short() {
        let value = Json::Object(vec![
            ("a", Json::Text("x\"\\\n".into())),
            ("b", Json::ints(&[1, 2])),
        ]);
        assert_eq!(
            value.text(0),
            "{\n  \"a\": \"x\\\"\\\\\\u000a\",\n  \"b\": [1, 2]\n}"
        );
    }
}
