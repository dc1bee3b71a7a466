//! What can go wrong, in the user's words: which node, what about it, and what to do.

use std::fmt;

/// The result of anything that reads the user's files.
pub type Result<T> = std::result::Result<T, Error>;

/// One problem: lower-case, no final stop, with a hint that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The node's name and operator (`conv1 (Conv)`), if the problem is a node's.
    pub node: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

/// One or more problems; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// In the order of the model's nodes.
    pub diagnostics: Vec<Diagnostic>,
}

impl Error {
    /// An error of one problem that belongs to no node.
    pub fn new(message: impl Into<String>) -> Error {
        Error {
            diagnostics: vec![Diagnostic {
                node: None,
                message: message.into(),
                hint: None,
            }],
        }
    }

    /// The same error with a hint on each problem that has none.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        let hint = hint.into();
        for diagnostic in &mut self.diagnostics {
            diagnostic.hint.get_or_insert_with(|| hint.clone());
        }
        self
    }

    /// The same error, blamed on a node where it blames none.
    pub fn at(mut self, node: &str) -> Error {
        for diagnostic in &mut self.diagnostics {
            diagnostic.node.get_or_insert_with(|| node.to_string());
        }
        self
    }

    /// All problems of several errors as one; `Ok` when there are none.
    pub fn collect(errors: impl IntoIterator<Item = Error>) -> Result<()> {
        let diagnostics: Vec<_> = errors.into_iter().flat_map(|e| e.diagnostics).collect();
        if diagnostics.is_empty() {
            Ok(())
        } else {
            Err(Error { diagnostics })
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Returns an [`Error`] built as by `format!`; `; hint: "..."` adds what to do.
#[macro_export]
macro_rules! bail {
    ($fmt:literal $(, $arg:expr)* ; hint: $hint:literal $(, $harg:expr)*) => {
        return Err($crate::Error::new(format!($fmt $(, $arg)*)).hint(format!($hint $(, $harg)*)))
    };
    ($fmt:literal $(, $arg:expr)* $(,)?) => {
        return Err($crate::Error::new(format!($fmt $(, $arg)*)))
    };
}
