//! Names of the model as names of the emitted file.

/// The nearest name that C and Rust take: lower-case letters, digits and single underscores. `prefix` leads
/// where the rest is empty or begins with a digit.
pub fn identifier(name: &str, prefix: &str) -> String {
    let mut id = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            id.push(c.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    let id = id.trim_end_matches('_');
    match id.chars().next() {
        None => prefix.to_string(),
        Some(c) if c.is_ascii_digit() => format!("{prefix}_{id}"),
        Some(_) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("MobileNet-v2.1", "model"), "mobilenet_v2_1");
        assert_eq!(identifier("/features/0;Conv:", "layer"), "features_0_conv");
        assert_eq!(identifier("0.25", "model"), "model_0_25");
        assert_eq!(identifier("", "model"), "model");
    }
}
