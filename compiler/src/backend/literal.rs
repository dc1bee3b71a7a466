//! Constants as text: byte strings, which compilers read far faster than lists, and lists of numbers.

use std::fmt::Write;

use crate::kernel::Scalar;
use crate::target::Language;

/// Columns that a line of an emitted file stays within.
pub(super) const COLUMNS: usize = 96;

/// An f32 of the given bits as a literal with the same bits.
pub(super) fn f32(bits: u32, language: Language) -> String {
    let value = f32::from_bits(bits);
    assert!(value.is_finite(), "multipliers are finite");
    match language {
        Language::C => hexadecimal(value),
        // The shortest decimal that reads back as the same f32.
        Language::Rust => format!("{value:?}f32"),
    }
}

/// `0x1.8p-3f`: the only exact notation of C99.
fn hexadecimal(value: f32) -> String {
    let bits = value.to_bits();
    let sign = if bits >> 31 == 1 { "-" } else { "" };
    let (lead, exponent) = match (bits >> 23 & 0xff) as i32 {
        0 => (0, -126),
        e => (1, e - 127),
    };
    let exponent = if value == 0.0 { 0 } else { exponent };
    let fraction = format!("{:06x}", (bits & 0x7f_ffff) << 1);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}0x{lead}{point}{fraction}p{exponent}f")
}

/// The value of a constant, from the text after `= ` to before `;`.
///
/// `reals` says whether f32 is printed as such or by its bits.
pub(super) fn constant(elem: Scalar, bytes: &[u8], reals: bool, language: Language) -> String {
    match (elem, language) {
        (Scalar::U8 | Scalar::I8, Language::C) => c_string(bytes),
        (Scalar::U8 | Scalar::I8, Language::Rust) => rust_string(bytes),
        _ => list(elem, bytes, reals, language),
    }
}

/// Adjacent string literals, a line each.
fn c_string(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    let mut column = COLUMNS;
    for (i, byte) in bytes.iter().enumerate() {
        if column + 4 >= COLUMNS {
            out.push_str(if i == 0 { "\n    \"" } else { "\"\n    \"" });
            column = 5;
        }
        let start = out.len();
        match byte {
            // `?` could begin a trigraph.
            b'"' | b'\\' | b'?' => out.extend(['\\', *byte as char]),
            b' '..=b'~' => out.push(*byte as char),
            // An octal escape ends after three digits or before what is no digit.
            _ if bytes.get(i + 1).is_some_and(|b| b.is_ascii_digit()) => {
                let _ = write!(out, "\\{byte:03o}");
            }
            _ => {
                let _ = write!(out, "\\{byte:o}");
            }
        }
        column += out.len() - start;
    }
    out.push_str(if bytes.is_empty() { "\"\"" } else { "\"" });
    out
}

/// A byte string whose lines are continued.
fn rust_string(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4);
    out.push_str("*b\"");
    let mut column = COLUMNS;
    for (i, byte) in bytes.iter().enumerate() {
        let first = column + 4 >= COLUMNS;
        if first {
            out.push_str("\\\n    ");
            column = 4;
        }
        let start = out.len();
        match byte {
            b'"' | b'\\' => out.extend(['\\', *byte as char]),
            // Before a digit, `\0` would look like the beginning of an octal escape.
            b'\0' if !bytes.get(i + 1).is_some_and(u8::is_ascii_digit) => out.push_str("\\0"),
            // A continued line loses the blanks that it begins with.
            b' ' if first => out.push_str("\\x20"),
            b' '..=b'~' => out.push(*byte as char),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
        column += out.len() - start;
    }
    out.push('"');
    out
}

fn list(elem: Scalar, bytes: &[u8], reals: bool, language: Language) -> String {
    let mut out = String::from(if language == Language::C { "{" } else { "[" });
    let mut column = COLUMNS;
    for word in bytes.chunks_exact(elem.bytes()) {
        let text = number(elem, word, reals, language);
        if column + text.len() + 2 > COLUMNS {
            out.push_str("\n   ");
            column = 3;
        }
        let _ = write!(out, " {text},");
        column += text.len() + 2;
    }
    out.push_str(if language == Language::C {
        "\n}"
    } else {
        "\n]"
    });
    out
}

fn number(elem: Scalar, word: &[u8], reals: bool, language: Language) -> String {
    let mut wide = [0; 8];
    wide[..word.len()].copy_from_slice(word);
    let unsigned = u64::from_le_bytes(wide);
    let unused = 64 - 8 * word.len();
    let signed = (unsigned << unused) as i64 >> unused;
    match (elem, language) {
        (Scalar::F32, Language::C) if reals => f32(unsigned as u32, language),
        (Scalar::F32, Language::Rust) if reals => format!("{:?}", f32::from_bits(unsigned as u32)),
        (Scalar::F32, _) => format!("{unsigned:#010x}"),
        (Scalar::U8 | Scalar::U16 | Scalar::U32, _) => unsigned.to_string(),
        // C has no negative literals: the minus is applied to a number that does not fit.
        (Scalar::I32, Language::C) if signed == i64::from(i32::MIN) => "INT32_MIN".to_string(),
        (Scalar::I64, Language::C) if signed == i64::MIN => "INT64_MIN".to_string(),
        (Scalar::I64, Language::C) => format!("INT64_C({signed})"),
        _ => signed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_swallow_digits_or_make_trigraphs() {
        let text = c_string(&[1, b'7', 1, b'x', b'?', b'?', b'=', 255, b'"', b'\\']);
        assert_eq!(text, "\n    \"\\0017\\1x\\?\\?=\\377\\\"\\\\\"");
    }

    #[test]
    fn byte_strings_read_back() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i * i / 7) as u8).collect();
        let bytes = [vec![b' '; 300], bytes].concat();
        let text = rust_string(&bytes);
        assert!(text.lines().all(|line| line.len() <= 100));
        let literal: syn::LitByteStr = syn::parse_str(&text[1..]).unwrap();
        assert_eq!(literal.value(), bytes);
        assert!(c_string(&bytes).lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn reals_keep_their_bits() {
        for (value, expected) in [
            (0.1875f32, "0x1.8p-3f"),
            (-1.0, "-0x1p0f"),
            (0.1, "0x1.99999ap-4f"),
            (f32::MIN_POSITIVE / 2.0, "0x0.8p-126f"),
            (0.0, "0x0p0f"),
        ] {
            assert_eq!(hexadecimal(value), expected);
            let rust = f32(value.to_bits(), Language::Rust);
            let back: f32 = rust.trim_end_matches("f32").parse().unwrap();
            assert_eq!(back.to_bits(), value.to_bits());
        }
    }
}
